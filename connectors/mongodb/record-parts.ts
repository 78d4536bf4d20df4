// The parts of a record that are the same for all records of a batch, a transaction or a moment, as finished bytes.
import { type ByteWriter, fragment } from '../../src/record/byte-writer.ts';
import { isoMillis } from '../../src/record/envelope.ts';
import { ISO_BYTES, writeInteger, writeIso } from './bson/scalars.ts';
import type { ClusterTime } from './cluster-time.ts';
import type { Namespace } from './namespaces.ts';

const KIND_CHANGE = fragment('","kind":"change","time":"');
const KIND_SCHEMA = fragment('","kind":"schema","time":"');
const SEQ_AFTER_QUOTE = fragment('","seq":');
const NOTHING = new Uint8Array(0);
const COLON = 0x3a;
const DOT = 0x2e;
/** Two numbers of 32 bits with a dot between them. */
const TS_BYTES = 21;

export class RecordParts {
  /** `,"id":"docs:` */
  readonly #id: Uint8Array;
  readonly #name: string;
  /** `","captured":"2026-11-24T10:00:00.126Z","source":{"name":"docs","engine":"mongodb",` */
  #captured: Uint8Array = NOTHING;
  #timeMs = Number.NaN;
  readonly #isoTime = Buffer.alloc(ISO_BYTES);
  #time: Uint8Array = this.#isoTime;
  readonly #ts = Buffer.alloc(TS_BYTES);
  #tsEnd = 0;
  /** `","tx":"…` or nothing. */
  #tx: Uint8Array = NOTHING;

  constructor(name: string) {
    this.#name = JSON.stringify(name);
    this.#id = fragment(`,"id":${this.#name.slice(0, -1)}:`);
  }

  /** Once a batch. */
  setCaptured(ms: number): void {
    this.#captured = fragment(`","captured":"${isoMillis(ms)}","source":{"name":${this.#name},"engine":"mongodb",`);
  }

  /** Once a group of events with the same cluster time. `tx` is ASCII or empty. */
  setGroup(time: ClusterTime, wallMs: number, tx: string): void {
    const ts = this.#ts;
    const dot = writeInteger(time.seconds, ts, 0);
    ts[dot] = DOT;
    this.#tsEnd = writeInteger(time.increment, ts, dot + 1);
    this.#tx = tx === '' ? NOTHING : fragment(`","tx":"${tx}`);
    if (wallMs === this.#timeMs) return;
    this.#timeMs = wallMs;
    this.#time = writeIso(wallMs, this.#isoTime, 0) ? this.#isoTime : fragment(isoMillis(wallMs));
  }

  /** Writes everything from the id to the end of `source`'s members, without its brace. */
  write(
    out: ByteWriter,
    namespace: Namespace,
    seq: number,
    kind: 'change' | 'schema',
    idSuffix = '',
    member = '',
  ): void {
    out.bytes(this.#id);
    out.range(this.#ts, 0, this.#tsEnd);
    out.byte(COLON);
    out.integer(seq);
    if (idSuffix !== '') out.ascii(idSuffix);
    out.bytes(kind === 'change' ? KIND_CHANGE : KIND_SCHEMA);
    out.bytes(this.#time);
    out.bytes(this.#captured);
    out.bytes(namespace.source);
    out.range(this.#ts, 0, this.#tsEnd);
    out.bytes(this.#tx);
    out.bytes(SEQ_AFTER_QUOTE);
    out.integer(seq);
    if (member !== '') out.ascii(member);
  }
}
