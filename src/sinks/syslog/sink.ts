import type { CheckItem, CheckReport } from '../../core/connector.ts';
import type { Delivery, FailedRecord, RecordBatch, Sink, SinkLimits } from '../../core/sink.ts';
import { messageOf, systemCode } from '../../errors/audit-error.ts';
import { checkItem, testBatch } from '../shared/check.ts';
import type { SinkHost } from '../shared/host.ts';
import { Dialer } from './connection.ts';
import { octetCounted, syslogEncoder } from './encode.ts';
import type { SyslogOptions } from './options.ts';
import { PlainChannel } from './plain.ts';
import { type RelpAnswer, RelpChannel } from './relp.ts';

/** Room for the header and the structured data. */
const HEADER_BYTES = 768;
const TAKEN = 200;

interface Channel {
  send(messages: readonly Buffer[], signal: AbortSignal): Promise<readonly RelpAnswer[]>;
  close(): void;
}

/** @throws AUD_SINK_OPTIONS */
export function createSyslogSink(options: SyslogOptions, host: SinkHost): Sink {
  return new SyslogSink(options, host);
}

class SyslogSink implements Sink {
  readonly limits: SinkLimits;
  readonly #options: SyslogOptions;
  readonly #host: SinkHost;
  readonly #dialer: Dialer;
  readonly #channel: Channel;
  readonly #encode: (batch: RecordBatch) => Buffer[];
  #warned = false;

  constructor(options: SyslogOptions, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.limits = {
      maxBatchRecords: 2000,
      maxBatchBytes: 1 << 20,
      maxRecordBytes: options.max_message_bytes - HEADER_BYTES,
      maxAgeMs: 200,
      maxInFlight: 1,
    };
    this.#dialer = new Dialer(options, host);
    this.#channel = openChannel(options, this.#dialer);
    this.#encode = syslogEncoder(options);
  }

  async check(signal: AbortSignal): Promise<CheckReport> {
    const answer = await this.#send(testBatch(this.#host), signal);
    const items = [checkItem(this.#dialer.origin, answer)];
    const doubt = doubtOf(this.#options);
    if (doubt !== null) items.push(doubt);
    return { items };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    this.#warnOnce();
    return this.#send(batch, signal);
  }

  async close(): Promise<void> {
    this.#channel.close();
  }

  #warnOnce(): void {
    if (this.#warned) return;
    this.#warned = true;
    const doubt = doubtOf(this.#options);
    if (doubt === null) return;
    this.#host.log.warn({ event: 'sink_without_acknowledgement', action: doubt.fix }, doubt.detail);
  }

  async #send(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    const messages = this.#encode(batch);
    if (messages.some(({ length }) => length > this.#options.max_message_bytes)) return { outcome: 'too_large' };
    const timeout = AbortSignal.timeout(this.#options.timeout_ms);
    try {
      return syslogDelivery(await this.#channel.send(messages, AbortSignal.any([signal, timeout])));
    } catch (error) {
      signal.throwIfAborted();
      return { outcome: 'unavailable', reason: timeout.aborted ? 'no answer in time' : trouble(error) };
    }
  }
}

/** What a transport without acknowledgements can lose, as `doctor` and the log say it; null for RELP, which has them. */
function doubtOf({ transport, confirm }: SyslogOptions): CheckItem | null {
  if (transport === 'relp' || transport === 'relp_tls') return null;
  const detail =
    confirm === 'close'
      ? 'Syslog has no acknowledgement: that the receiver read a batch to its end is known, not that it kept it. What it had in memory when it died is lost.'
      : 'Syslog has no acknowledgement, and `confirm: none` asks for no other sign: what is on the way when a connection breaks is lost.';
  return {
    name: 'acknowledgement',
    level: 'warning',
    detail,
    fix: 'Use transport relp_tls where the receiver has RELP.',
  };
}

function openChannel(options: SyslogOptions, dialer: Dialer): Channel {
  if (options.transport === 'relp' || options.transport === 'relp_tls') return new RelpChannel(dialer);
  const plain = new PlainChannel(dialer, options.confirm === 'close');
  return {
    async send(messages, signal) {
      await plain.send(octetCounted(messages), signal);
      return [];
    },
    close: () => plain.close(),
  };
}

/**
 * What RELP's answers mean; none at all is plain syslog's. A code other than 200 is the receiver's trouble with itself (a
 * full queue), not with the message: it is sent again.
 */
export function syslogDelivery(answers: readonly RelpAnswer[]): Delivery {
  const failed: FailedRecord[] = answers.flatMap(({ code }, at) =>
    code === TAKEN ? [] : [{ at, retry: true, reason: `relp_${code}` }],
  );
  if (failed.length === 0) return { outcome: 'accepted' };
  if (failed.length === answers.length) return { outcome: 'unavailable', reason: failed[0]!.reason };
  return { outcome: 'partial', failed };
}

function trouble(error: unknown): string {
  const code = systemCode(error);
  if (code === undefined) return messageOf(error);
  return /CERT|SELF_SIGNED|TLS|SSL|UNABLE_TO/.test(code) ? `TLS: ${code}` : code;
}
