import type { ByteWriter } from './byte-writer.ts';
import { fragment } from './byte-writer.ts';

/**
 * The parts of a record that are the same for all changes of a transaction, as finished bytes. A change is then
 *
 *     {"v":1,"index":N  ‹head›SEQ‹source›SEQ  ‹action and object›KEY}  ‹actor›  ‹outcome›  changed … before … after}
 *
 * where ‹…› are constants of the transaction, the relation and the actor.
 */
export interface TransactionFragments {
  /** `,"id":"shop:0/1A2B3C8:` */
  readonly head: Uint8Array;
  /** `","kind":"change","time":"…","captured":"…","source":{…,"lsn":"…","tx":"…","seq":` */
  readonly source: Uint8Array;
}

export interface EnvelopeFields {
  /** The id without its last part (`shop:0/1A2B3C8`). */
  readonly id: string;
  readonly kind: 'change' | 'schema' | 'baseline';
  /** ISO 8601 in UTC, microseconds where the source has them. */
  readonly time: string;
  readonly captured: string;
  /** All of `source` but `seq`, in order. */
  readonly source: Readonly<Record<string, unknown>>;
}

export function transactionFragments(fields: EnvelopeFields): TransactionFragments {
  const id = JSON.stringify(fields.id).slice(0, -1);
  const source = JSON.stringify(fields.source).slice(0, -1);
  return {
    head: fragment(`,"id":${id}:`),
    source: fragment(
      `","kind":"${fields.kind}","time":"${fields.time}","captured":"${fields.captured}","source":${source},"seq":`,
    ),
  };
}

/** Writes the id, kind, times and source of a record; the caller goes on with `}` of source and the action. */
export function writeEnvelope(out: ByteWriter, transaction: TransactionFragments, seq: number, idSuffix = ''): void {
  out.bytes(transaction.head);
  out.integer(seq);
  if (idSuffix !== '') out.bytes(fragment(JSON.stringify(idSuffix).slice(1, -1)));
  out.bytes(transaction.source);
  out.integer(seq);
}

/** `},"action":"update","object":{"schema":"public","table":"users"` : the caller adds `,"key":…` and `}`. */
export function actionFragment(action: string, object: Readonly<Record<string, unknown>>): Uint8Array {
  return fragment(`},"action":${JSON.stringify(action)},"object":${JSON.stringify(object).slice(0, -1)}`);
}

export const OUTCOME_SUCCESS = fragment(',"outcome":"success"');

const MICROS_PER_SECOND = 1_000_000n;

/** ISO 8601 with six digits from microseconds since 1970. */
export function isoMicros(micros: bigint): string {
  let seconds = micros / MICROS_PER_SECOND;
  let rest = micros % MICROS_PER_SECOND;
  if (rest < 0n) {
    rest += MICROS_PER_SECOND;
    seconds -= 1n;
  }
  const text = new Date(Number(seconds) * 1000).toISOString();
  return `${text.slice(0, text.length - 4)}${String(rest).padStart(6, '0')}Z`;
}

export function isoMillis(ms: number): string {
  return new Date(ms).toISOString();
}
