// A witness cosigns each head that continues the last one it saw, and refuses any other. https://c2sp.org/tlog-witness
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeDirectory, replaceFile } from '../ledger/file-ops.ts';
import { checkSignature, type Head, parseNote, parseVerifierKey, withSignatures } from '../ledger/note.ts';
import type { Anchor, AnchorAnswer, AnchoredLedger } from './anchor.ts';
import { anchorFailed } from './errors.ts';
import type { WitnessAnchorOptions } from './options.ts';

const TIMEOUT_MS = 10_000;
const CONFLICT = 409;
const UNPROCESSABLE = 422;
const MAX_ANSWER_CHARS = 65_536;

/** `directory` keeps what size each witness cosigned last; lost, the witness says it itself. @throws AUD_KEY_INVALID */
export function witnessAnchor(options: WitnessAnchorOptions, directory: string): Anchor {
  const key = parseVerifierKey(options.vkey);
  const name = `witness ${key.name}`;
  const state = join(directory, `witness-${key.id}.json`);
  const url = `${options.url.replace(/\/$/, '')}/add-checkpoint`;

  async function post(old: number, head: Head, ledger: AnchoredLedger, signal: AbortSignal) {
    const proof = ledger.consistency(old, head.size).map((hash) => `${hash.toString('base64')}\n`);
    try {
      const response = await fetch(url, {
        method: 'POST',
        body: `old ${old}\n${proof.join('')}\n${head.noteText}`,
        redirect: 'error',
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
      return { status: response.status, text: (await response.text()).slice(0, MAX_ANSWER_CHARS) };
    } catch (error) {
      throw anchorFailed(name, error);
    }
  }

  /** The lines of the answer that are this witness's valid cosignature of the head. */
  function cosignatures(head: Head, text: string): string[] {
    const lines = text.split('\n').filter((line) => line.startsWith('\u2014 '));
    const signed = parseNote(withSignatures(head.noteText, lines));
    if (checkSignature(signed, key) !== 'valid') throw anchorFailed(name, 'its answer holds no valid cosignature');
    return signed.signatures.filter(({ id }) => id === key.id).map(({ line }) => line);
  }

  return {
    name,
    latest: async () => undefined,
    async put(head, ledger, signal): Promise<AnchorAnswer> {
      let old = Math.min(readSize(state, ledger.origin), head.size);
      for (let attempt = 0; attempt < 3; attempt++) {
        const { status, text } = await post(old, head, ledger, signal);
        if (status === 200) {
          const signatures = cosignatures(head, text);
          makeDirectory(directory);
          replaceFile(state, `${JSON.stringify({ origin: ledger.origin, size: head.size })}\n`);
          return { answer: 'held', signatures };
        }
        if (status === UNPROCESSABLE) return { answer: 'fork', size: old };
        const held = /^\d+\n?$/.test(text) ? Number(text) : null;
        if (status !== CONFLICT || held === null) throw anchorFailed(name, `it answered ${status}`);
        if (held > head.size) return { answer: 'ahead', size: held };
        // It holds the size that was named: so it has another root for it.
        if (held === old) return { answer: 'fork', size: held };
        old = held;
      }
      throw anchorFailed(name, 'it names another size each time; does another process submit heads of this ledger?');
    },
  };
}

function readSize(path: string, origin: string): number {
  if (!existsSync(path)) return 0;
  try {
    const state = JSON.parse(readFileSync(path, 'utf8')) as { origin?: unknown; size?: unknown };
    return state.origin === origin && typeof state.size === 'number' ? state.size : 0;
  } catch {
    // The witness corrects a wrong size.
    return 0;
  }
}
