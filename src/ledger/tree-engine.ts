// The tree's work, in a thread of its own (hashing and small files must not hold capture up) or, for tests, in this one.
import { Worker } from 'node:worker_threads';
import { beside } from '../beside.ts';
import { AuditError, type Retry } from '../errors/audit-error.ts';
import { CODES, type ErrorCode } from '../errors/codes.ts';
import { type FollowerStart, type Integrated, TreeFollower } from './tree-follower.ts';
import type { TreeState } from './tree-state.ts';
import type { DurableEnd } from './writer.ts';

/** Calls are answered in order; after a rejection the engine is of no more use. */
export interface TreeEngine {
  advance(end: DurableEnd): Promise<void>;
  integrate(end: DurableEnd): Promise<Integrated>;
  publish(noteText: string): Promise<void>;
  save(path: string, state: Omit<TreeState, 'synced'>, entries: number): Promise<number>;
  /** Idempotent. */
  close(): Promise<void>;
}

export type EngineCall =
  | { readonly call: 'advance' | 'integrate'; readonly end: DurableEnd }
  | { readonly call: 'publish'; readonly noteText: string }
  | {
      readonly call: 'save';
      readonly path: string;
      readonly state: Omit<TreeState, 'synced'>;
      readonly entries: number;
    };

/** A failure as it crosses threads, where classes are lost. */
export interface EngineFailure {
  readonly code: string;
  readonly message: string;
  readonly action: string | undefined;
  readonly retry: Retry;
}

export type EngineReply =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly failure: EngineFailure };

/** Does one call; the one place that knows what each means. */
export function serve(follower: TreeFollower, call: EngineCall): unknown {
  switch (call.call) {
    case 'advance':
      return follower.advance(call.end);
    case 'integrate':
      return follower.integrate(call.end);
    case 'publish':
      return follower.publish(call.noteText);
    case 'save':
      return follower.save(call.path, call.state, call.entries);
  }
}

/** The engine in this thread. @throws as TreeFollower.open */
export async function inlineEngine(start: FollowerStart): Promise<TreeEngine> {
  const follower = TreeFollower.open(start);
  const ask = async <T>(call: EngineCall) => serve(follower, call) as T;
  return engine(ask, async () => undefined);
}

/** Room for young objects. The tree makes short-lived texts only: more room is more memory touched, for nothing. */
const YOUNG_MB = 3;

/** The engine in a worker thread. @throws as TreeFollower.open */
export async function threadEngine(start: FollowerStart): Promise<TreeEngine> {
  const worker = new Worker(beside(import.meta.url, 'tree-worker'), {
    workerData: start,
    name: 'changetrail-tree',
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
  });
  const waiting: { resolve: (value: unknown) => void; reject: (error: AuditError) => void }[] = [];
  let ended: AuditError | null = null;
  const fail = (error: AuditError) => {
    ended ??= error;
    for (const { reject } of waiting.splice(0)) reject(error);
  };
  worker.on('message', (reply: EngineReply) => {
    const next = waiting.shift()!;
    if (reply.ok) next.resolve(reply.value);
    else next.reject(revived(reply.failure));
  });
  worker.on('error', (cause) =>
    fail(new AuditError('AUD_INTERNAL', { message: `Defect in the tree: ${cause}.`, cause })),
  );
  worker.on('exit', () => fail(new AuditError('AUD_INTERNAL', { message: 'The thread of the tree ended.' })));
  const answer = () => new Promise<unknown>((resolve, reject) => waiting.push({ resolve, reject }));
  const ask = async <T>(call: EngineCall): Promise<T> => {
    if (ended !== null) throw ended;
    worker.postMessage(call);
    return (await answer()) as T;
  };
  const close = async () => {
    await worker.terminate();
  };
  try {
    // The first message says that the tree was opened, or why not.
    await answer();
  } catch (error) {
    await close();
    throw error;
  }
  return engine(ask, close);
}

function engine(ask: <T>(call: EngineCall) => Promise<T>, close: () => Promise<void>): TreeEngine {
  return {
    advance: (end) => ask({ call: 'advance', end }),
    async integrate(end) {
      const { root, ...rest } = await ask<Integrated>({ call: 'integrate', end });
      return { ...rest, root: Buffer.from(root) };
    },
    publish: (noteText) => ask({ call: 'publish', noteText }),
    save: (path, state, entries) => ask({ call: 'save', path, state, entries }),
    close,
  };
}

export function failureOf(error: unknown): EngineFailure {
  if (error instanceof AuditError) {
    const { code, message, action, retry } = error;
    return { code, message, action, retry };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'AUD_INTERNAL', message: `Defect in the tree: ${message}`, action: undefined, retry: 'never' };
}

function revived({ code, message, action, retry }: EngineFailure): AuditError {
  const known = code in CODES ? (code as ErrorCode) : 'AUD_INTERNAL';
  return new AuditError(known, { message, retry, ...(action === undefined ? {} : { action }) });
}
