import type { CheckItem } from '../../core/connector.ts';
import type { Delivery, RecordBatch } from '../../core/sink.ts';
import { adviceFor } from '../../pipeline/delivery/advice.ts';
import type { SinkHost } from './host.ts';

/** A single record that says it is a test: kind `capture`, action `test`, an id of its own. It is in no ledger. */
export function testBatch(host: SinkHost): RecordBatch {
  const now = new Date(host.now()).toISOString();
  const record = {
    v: 1,
    index: 0,
    id: `changetrail:test:${host.name}:${host.now()}`,
    kind: 'capture',
    time: now,
    captured: now,
    source: { name: 'changetrail', engine: 'changetrail' },
    action: 'test',
    object: { sink: host.name },
    outcome: 'success',
  };
  const bytes = Buffer.from(`${JSON.stringify(record)}\n`);
  return { first: 0, count: 1, bytes, ends: Uint32Array.of(bytes.length) };
}

/** The answer to a test event as `doctor` shows it. */
export function checkItem(name: string, answer: Delivery): CheckItem {
  switch (answer.outcome) {
    case 'accepted':
      return { name, level: 'ok', detail: 'The receiver took a test event.' };
    case 'throttled':
      return { name, level: 'warning', detail: 'The receiver is there but takes nothing now; it is tried again.' };
    case 'partial':
      return failed(name, answer.failed[0]?.reason ?? 'refused');
    case 'too_large':
      return failed(name, 'it says that a small test event is too large');
    default:
      return failed(name, answer.reason);
  }
}

function failed(name: string, reason: string): CheckItem {
  return {
    name,
    level: 'error',
    detail: `The receiver did not take a test event: ${reason}.`,
    fix: adviceFor(reason),
  };
}
