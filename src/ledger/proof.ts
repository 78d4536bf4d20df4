// Proof that one record is in a ledger, for somebody who has the record, the proof and the public key. https://c2sp.org/tlog-proof
import { AuditError } from '../errors/audit-error.ts';
import { EMPTY_ROOT, HASH_BYTES, leafHash, rootFromInclusion, sha256 } from './merkle.ts';
import { checkSignature, type Head, parseHead, parseVerifierKey } from './note.ts';
import type { TileReader } from './tiles.ts';

const HEADER = 'c2sp.org/tlog-proof@v1';

export interface RecordProof {
  readonly index: number;
  readonly hashes: readonly Buffer[];
  readonly head: Head;
}

/** `data.verdict`: `tampered` where the parts contradict one another, `incomplete` where nothing can be said. */
function invalid(why: string, verdict: 'tampered' | 'incomplete'): AuditError {
  const what = verdict === 'tampered' ? 'The proof does not hold' : 'The proof cannot be checked';
  return new AuditError('AUD_LEDGER_PROOF', { message: `${what}: ${why}.`, data: { verdict } });
}

/** The text of a proof that the record `index` is under the head. */
export function proofText(index: number, head: Head, tiles: TileReader): string {
  const hashes = tiles.inclusion(index, head.size).map((hash) => `${hash.toString('base64')}\n`);
  return `${HEADER}\nindex ${index}\n${hashes.join('')}\n${head.noteText}`;
}

/** @throws AUD_LEDGER_PROOF */
export function parseProof(text: string): RecordProof {
  const cut = text.indexOf('\n\n');
  const [header, indexLine, ...lines] = text.slice(0, cut).split('\n');
  const index = /^index (0|[1-9]\d*)$/.exec(indexLine ?? '')?.[1];
  if (cut === -1 || header !== HEADER || index === undefined) throw invalid('it is not a tlog-proof', 'incomplete');
  const hashes = lines.map((line) => {
    const hash = Buffer.from(line, 'base64');
    if (hash.length !== HASH_BYTES || hash.toString('base64') !== line)
      throw invalid('a line of it is not a hash', 'incomplete');
    return hash;
  });
  return { index: Number(index), hashes, head: parseHead(text.slice(cut + 2)) };
}

/**
 * Checks that `line`, the bytes of the record without a line feed, is the record that the proof is about.
 * @throws AUD_LEDGER_PROOF, AUD_KEY_INVALID
 */
export function checkProof(text: string, line: Buffer, keys: readonly string[]): RecordProof {
  const proof = parseProof(text);
  const answers = keys.map((key) => checkSignature(proof.head.note, parseVerifierKey(key)));
  if (answers.includes('invalid')) throw invalid('the signature of its checkpoint is not valid', 'tampered');
  if (!answers.includes('valid')) throw invalid('its checkpoint is not signed by the given key', 'incomplete');
  const root = rootFromInclusion(leafHash(sha256(line)), proof.index, proof.head.size, proof.hashes) ?? EMPTY_ROOT;
  if (!root.equals(proof.head.root))
    throw invalid('the record is not the one at this index under this head', 'tampered');
  return proof;
}
