// The parts of a record that are the same for all records of a batch, a transaction or a moment, as finished bytes.
import { type ByteWriter, fragment } from '../../src/record/byte-writer.ts';
import { isoMillis } from '../../src/record/envelope.ts';
import { type ClusterTime, timeText } from './cluster-time.ts';
import type { Namespace } from './namespaces.ts';

const KIND_CHANGE = fragment('","kind":"change","time":"');
const KIND_SCHEMA = fragment('","kind":"schema","time":"');
const CAPTURED = fragment('","captured":"');
const TX = fragment('","tx":"');
const SEQ_AFTER_QUOTE = fragment('","seq":');
const COLON = 0x3a;

export class RecordParts {
  /** `,"id":"docs:` */
  readonly #id: Uint8Array;
  /** `","source":{"name":"docs","engine":"mongodb",` */
  readonly #source: Uint8Array;
  #captured = '';
  #time = '';
  #timeMs = Number.NaN;
  #ts = '';
  #tx = '';

  constructor(name: string) {
    const json = JSON.stringify(name);
    this.#id = fragment(`,"id":${json.slice(0, -1)}:`);
    this.#source = fragment(`","source":{"name":${json},"engine":"mongodb",`);
  }

  /** Once a batch. */
  setCaptured(ms: number): void {
    this.#captured = isoMillis(ms);
  }

  /** Once a group of events with the same cluster time. `tx` is ASCII or empty. */
  setGroup(time: ClusterTime, wallMs: number, tx: string): void {
    this.#ts = timeText(time);
    this.#tx = tx;
    if (wallMs === this.#timeMs) return;
    this.#timeMs = wallMs;
    this.#time = isoMillis(wallMs);
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
    out.ascii(this.#ts);
    out.byte(COLON);
    out.integer(seq);
    if (idSuffix !== '') out.ascii(idSuffix);
    out.bytes(kind === 'change' ? KIND_CHANGE : KIND_SCHEMA);
    out.ascii(this.#time);
    out.bytes(CAPTURED);
    out.ascii(this.#captured);
    out.bytes(this.#source);
    out.bytes(namespace.source);
    out.ascii(this.#ts);
    if (this.#tx !== '') {
      out.bytes(TX);
      out.ascii(this.#tx);
    }
    out.bytes(SEQ_AFTER_QUOTE);
    out.integer(seq);
    if (member !== '') out.ascii(member);
  }
}
