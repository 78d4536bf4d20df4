import fs from 'node:fs';
import { dirname } from 'node:path';
import type { ControlRecord } from '../../core/output.ts';
import { AuditError, messageOf, systemCode } from '../../errors/audit-error.ts';
import { makeDirectory } from '../../ledger/file-ops.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { SinkMetrics } from './metrics.ts';
import type { DeadLetter, DeadLetterBox } from './sender.ts';

export interface DeadLetterPlan {
  readonly name: string;
  readonly deadLetterPath: string;
  readonly log: Logger;
  readonly metrics: Pick<SinkMetrics, 'deadLetters'>;
  control(record: ControlRecord): void;
}

/** Records that wait to be sent again: in the sink's file, and in what a replay took out of it and did not finish. */
export function countDeadLetters(path: string): number {
  return [path, replayingPath(path)].reduce((sum, each) => sum + countLines(each), 0);
}

/** Where a replay keeps the dead letters that it is sending. */
export function replayingPath(path: string): string {
  return path.replace(/\.ndjson$/, '.replaying.ndjson');
}

/** Read in pieces: the file may have grown larger than the memory. None: a replay may take it away at any time. */
function countLines(path: string): number {
  let fd: number;
  try {
    fd = fs.openSync(path, 'r');
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return 0;
    throw cause;
  }
  try {
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    let count = 0;
    for (let read = fs.readSync(fd, piece); read > 0; read = fs.readSync(fd, piece)) {
      for (let at = piece.indexOf(10); at !== -1 && at < read; at = piece.indexOf(10, at + 1)) count++;
    }
    return count;
  } finally {
    fs.closeSync(fd);
  }
}

const PIECE_BYTES = 1 << 18;

/** The action of the `capture` record that says records were refused. */
export const DEAD_LETTER_ACTION = 'dead_letter';
const OWN = Buffer.from(`"kind":"capture"`);
const OWN_ACTION = Buffer.from(`"action":"${DEAD_LETTER_ACTION}"`);

/** Refused records go to the sink's file, durable before the cursor passes them, and one record in the ledger tells of them. */
export function deadLetterBox(plan: DeadLetterPlan): DeadLetterBox {
  return (letters) => {
    append(plan.deadLetterPath, letters);
    plan.metrics.deadLetters += letters.length;
    const reasons: Record<string, number> = {};
    for (const { reason } of letters) reasons[reason] = (reasons[reason] ?? 0) + 1;
    plan.log.error(
      {
        event: 'sink_dead_letter',
        count: letters.length,
        reasons,
        file: plan.deadLetterPath,
        action: `Mend the cause, then run changetrail replay ${plan.name} --dead-letters.`,
      },
      `The receiver refused ${letters.length} record(s) for good; they are kept.`,
    );
    // A refused record about refused records makes no other one, or a receiver that takes none would fill the ledger.
    const told = letters.filter(({ line }) => !isOwn(line));
    if (told.length === 0) return;
    plan.control({
      kind: 'capture',
      action: DEAD_LETTER_ACTION,
      outcome: 'failure',
      object: { sink: plan.name },
      details: { count: told.length, reasons, first: told[0]!.index, last: told[told.length - 1]!.index },
    });
  };
}

function isOwn(line: Buffer): boolean {
  return line.subarray(0, 4096).includes(OWN) && line.subarray(0, 4096).includes(OWN_ACTION);
}

const LINE_FEED = Buffer.from('\n');

function endsTorn(fd: number): boolean {
  const { size } = fs.fstatSync(fd);
  const last = Buffer.alloc(1);
  return size > 0 && fs.readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== LINE_FEED[0];
}

function append(path: string, letters: readonly DeadLetter[]): void {
  const at = new Date().toISOString();
  const parts: Buffer[] = [];
  for (const { index, reason, line } of letters) {
    parts.push(Buffer.from(`{"at":"${at}","index":${index},"reason":${JSON.stringify(reason)},"record":`));
    parts.push(line.subarray(0, line.length - 1), Buffer.from('}\n'));
  }
  try {
    makeDirectory(dirname(path));
    const fd = fs.openSync(path, 'a+', 0o640);
    try {
      // A crash or a full disk may have torn the last line: what follows must not become a part of it.
      if (endsTorn(fd)) parts.unshift(LINE_FEED);
      fs.writeFileSync(fd, Buffer.concat(parts));
      fs.fdatasyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  } catch (cause) {
    if (cause instanceof AuditError) throw cause;
    throw new AuditError('AUD_LEDGER_WRITE', {
      message: `Cannot write ${path}: ${messageOf(cause)}.`,
      action: 'Free disk space or make the data directory writable, then start again.',
      retry: 'after_operator',
      cause,
    });
  }
}
