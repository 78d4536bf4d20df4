// The way out after a rollback or fork: a new ledger under a new name, whose first record names the old one.
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { AuditError } from '../errors/audit-error.ts';
import { Keyring, newOrigin } from '../keys/keyring.ts';
import { localSigner } from '../keys/private-key.ts';
import { AppendFile, makeDirectory, moveFile, removeFile, replaceFile } from './file-ops.ts';
import { checkFormat, dataLayout, segmentPath } from './layout.ts';
import { DirectoryLock } from './lock.ts';
import { checkpointText, type Head, parseHead, signNote } from './note.ts';
import { readCheckpoint } from './tree.ts';
import { TreeFollower } from './tree-follower.ts';
import { readTreeState, writeTreeState } from './tree-state.ts';

export interface NewLedger {
  readonly origin: string;
  readonly vkey: string;
  /** Where the old ledger stands now. */
  readonly archived: string;
  /** Size of the old one's last head that is known, or null. */
  readonly lastKnown: number | null;
}

export interface BeginAnewOptions {
  readonly origin?: string;
  /** A head of the old ledger kept elsewhere, newer than what is here. */
  readonly outside?: Head;
  readonly reason?: string;
  now(): number;
}

/** Name of the directory that a new ledger is made in until it is whole. */
const NEXT = 'ledger.next';

/**
 * Makes a new ledger with one record, then puts it in the place of the old one, which is kept beside it. The key of the ring
 * is a new one. After a crash the old ledger is still in its place, or the new one is whole.
 * @throws AUD_LEDGER_LOCKED, AUD_LEDGER_MISSING, AUD_LEDGER_WRITE
 */
export async function beginAnew(data: string, options: BeginAnewOptions): Promise<NewLedger> {
  checkFormat(data);
  lastKnownHead(data);
  const lock = DirectoryLock.acquire(data);
  try {
    return await replaceLedger(data, options);
  } finally {
    lock.release();
  }
}

async function replaceLedger(data: string, options: BeginAnewOptions): Promise<NewLedger> {
  const layout = dataLayout(data);
  const nowMs = options.now();
  const old = lastKnownHead(data, options.outside);
  const archived = join(data, `ledger.${new Date(nowMs).toISOString().replace(/[:.]/g, '-')}`);
  const origin = options.origin ?? newOrigin();
  const key = new Keyring(layout.keys).add(origin, nowMs);
  const next = join(data, NEXT);
  removeFile(next);
  const offset = writeOnly(next, firstRecord(old, options, archived));
  const end = { next: 1, segment: 0, offset };
  const tree = TreeFollower.open({ ledger: next, segments: join(next, 'segments'), synced: 0, signed: null, end });
  const text = checkpointText({ origin, ...tree.integrate(end) });
  const head = await signNote(text, [localSigner(key)]);
  replaceFile(join(next, 'checkpoint'), head);
  // The old state would call the new ledger a rollback, old cursors count records of the old one.
  if (existsSync(layout.ledger)) moveFile(layout.ledger, archived);
  else makeDirectory(archived);
  for (const path of [layout.treeState, layout.cursors, layout.anchors]) {
    if (existsSync(path)) moveFile(path, join(archived, basename(path)));
  }
  moveFile(next, layout.ledger);
  writeTreeState(layout.treeState, { synced: 0, head, keys: [key.vkey] });
  return { origin, vkey: key.vkey, archived, lastKnown: old?.size ?? null };
}

/** The only record, as a segment; returns its bytes. */
function writeOnly(ledger: string, record: object): number {
  const segments = join(ledger, 'segments');
  makeDirectory(segments);
  const file = AppendFile.create(segmentPath(segments, 0));
  try {
    file.write(Buffer.from(`${JSON.stringify(record)}\n`, 'utf8'));
    file.syncNow();
    return file.size;
  } finally {
    file.close();
  }
}

/** The newest head of the ledger in the data directory that can be read, or `outside` where that is newer. @throws AUD_LEDGER_MISSING */
export function lastKnownHead(data: string, outside?: Head): Head | null {
  const layout = dataLayout(data);
  if (!existsSync(layout.ledger) && !existsSync(layout.treeState)) {
    throw new AuditError('AUD_LEDGER_MISSING', {
      message: `There is no ledger in ${data}.`,
      action: 'Name the data directory with --data.',
    });
  }
  const state = readTreeState(layout.treeState);
  const known: Head[] = outside === undefined ? [] : [outside];
  for (const read of [
    () => readCheckpoint(layout.ledger),
    () => (state?.head == null ? null : parseHead(state.head)),
  ]) {
    try {
      const head = read();
      if (head !== null) known.push(head);
    } catch {
      // A checkpoint that cannot be read may be why a new ledger is begun.
    }
  }
  return known.reduce<Head | null>(
    (newest, head) => (newest === null || head.size > newest.size ? head : newest),
    null,
  );
}

function firstRecord(old: Head | null, { reason, now }: BeginAnewOptions, archived: string): object {
  const time = new Date(now()).toISOString();
  return {
    v: 1,
    index: 0,
    id: 'changetrail:gap:0',
    kind: 'gap',
    time,
    captured: time,
    source: { name: 'changetrail', engine: 'changetrail' },
    action: 'recover',
    object: {},
    outcome: 'unknown',
    details: {
      cause: 'ledger_begun_anew',
      reason: reason ?? null,
      old_origin: old?.origin ?? null,
      old_size: old?.size ?? null,
      old_root: old?.root.toString('base64') ?? null,
      old_checkpoint: old?.noteText ?? null,
      archived: basename(archived),
    },
  };
}
