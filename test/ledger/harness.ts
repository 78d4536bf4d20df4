// Real ledgers for tests: written by the product, small or large, with everything that makes them tamper-evident.
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ControlRecord } from '../../src/core/output.ts';
import { type Integrity, startIntegrity } from '../../src/ledger/integrity.ts';
import { type IntegrityOptions, integrityOptions } from '../../src/ledger/integrity-options.ts';
import { type LedgerOptions, type OpenLedger, openLedger } from '../../src/ledger/ledger.ts';
import type { TreeOptions } from '../../src/ledger/tree.ts';
import { inlineEngine } from '../../src/ledger/tree-engine.ts';
import { readTreeState } from '../../src/ledger/tree-state.ts';
import type { VerifyReport } from '../../src/ledger/verify/report.ts';
import { type VerifyOptions, verifyLedger } from '../../src/ledger/verify/verify.ts';
import { controlRecordText } from '../../src/pipeline/control-record.ts';
import { memoryLog } from '../support/memory-log.ts';

export interface TestTrail {
  readonly ledger: OpenLedger;
  readonly integrity: Integrity;
  /** Appends `count` changes of the source `shop`; resolves when they are durable. */
  append(count: number, padding?: number): Promise<void>;
  control(record: ControlRecord, source?: string): void;
  close(): Promise<void>;
}

export interface TrailOptions {
  readonly ledger?: LedgerOptions;
  /** As in the configuration. */
  readonly integrity?: Partial<Record<keyof IntegrityOptions, unknown>>;
  /** Run the tree in a thread as the product does; default in this one. */
  readonly thread?: boolean;
  /** What does the tree's work in this thread. */
  readonly engine?: TreeOptions['engine'];
  /** Longest time between a durable record and a head over it, in milliseconds; default as the product’s. */
  readonly publishMs?: number;
  readonly now?: () => number;
}

const OTHER = { name: 'changetrail', engine: 'changetrail' } as const;

/** Opens (or goes on with) the data directory. The caller closes. */
export async function openTrail(data: string, options: TrailOptions = {}): Promise<TestTrail> {
  const ledger = openLedger(data, { groupMs: 0, ...options.ledger });
  const now = options.now ?? Date.now;
  const control = (record: ControlRecord, source?: string) => {
    const out = ledger.writer.begin();
    const origin = source === undefined ? OTHER : ({ name: source, engine: 'postgres' } as const);
    out.bytes(Buffer.from(controlRecordText(record, origin, ledger.writer.next, now()), 'utf8'));
    ledger.writer.end();
  };
  try {
    const integrity = await startIntegrity({
      ledger,
      options: integrityOptions.parse({ head_interval: '1h', ...options.integrity }),
      log: memoryLog().log,
      control,
      now,
      ...(options.thread === true ? {} : { engine: options.engine ?? inlineEngine }),
      ...(options.publishMs === undefined ? {} : { publishMs: options.publishMs }),
    });
    return {
      ledger,
      integrity,
      control,
      async append(count, padding = 20) {
        const text = 'x'.repeat(padding);
        for (let i = 0; i < count; i++) {
          const index = ledger.writer.next;
          const time = new Date(now()).toISOString();
          const place = `0/${(index + 1).toString(16).toUpperCase()}`;
          const out = ledger.writer.begin();
          out.ascii(
            `,"id":"shop:${place}:0","kind":"change","time":"${time}","captured":"${time}","source":{"name":"shop","engine":"postgres","database":"shop","lsn":"${place}","tx":"${index}","seq":0},"action":"insert","object":{"schema":"public","table":"t","key":{"id":${index}}},"outcome":"success","after":{"id":${index},"text":"${text}"}}`,
          );
          ledger.writer.end();
          if (ledger.writer.full) await ledger.writer.drained();
        }
        await ledger.writer.flushed();
      },
      async close() {
        try {
          await integrity.close();
        } finally {
          await ledger.close();
        }
      },
    };
  } catch (error) {
    await ledger.close().catch(() => undefined);
    throw error;
  }
}

/** Exactly `records` changes, published and closed; returns the public key. */
export async function buildLedger(data: string, records: number, options: TrailOptions = {}): Promise<string> {
  const trail = await openTrail(data, options);
  await trail.append(records);
  await trail.close();
  return publicKey(data);
}

export function publicKey(data: string): string {
  return readTreeState(join(data, 'tree.json'))!.keys.at(-1)!;
}

export function checkpointOf(data: string): Buffer {
  return readFileSync(join(data, 'ledger', 'checkpoint'));
}

/** Verifies without other threads and without waiting for anybody. */
export function verify(directory: string, options: Partial<VerifyOptions> = {}): Promise<VerifyReport> {
  return verifyLedger({ directory, keys: [], threads: 0, patienceMs: 0, ...options });
}

export function copyOf(from: string, to: string): string {
  cpSync(from, to, { recursive: true });
  return to;
}
