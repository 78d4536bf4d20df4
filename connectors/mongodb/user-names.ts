// The server names users by a hash, SHA-256 of `user@database`. A name is kept for ever once it was seen: a dropped user's
// hash could not be named otherwise.
import { hash } from 'node:crypto';
import type { MongoClient } from 'mongodb';
import type { ActorFact } from '../../src/core/actor.ts';
import { unlessForbidden } from './client.ts';

/** The hash of no name at all: what every write has when authentication is off. */
const NOBODY_UID = hash('sha256', '', 'hex');

/** Bytes of a uid. */
export const UID_BYTES = 32;

/** Why a write has no user. */
export type Unattributed =
  | 'authentication_off'
  | 'not_attributable'
  | 'oplog_rolled'
  | 'oplog_view_missing'
  | 'oplog_view_unreadable'
  | 'oplog_view_off';

/** One frozen fact a reason and a user, so that the actor stage can keep what it made of it. */
const REASONS = new Map<Unattributed, ActorFact>();

export function unattributed(reason: Unattributed): ActorFact {
  let fact = REASONS.get(reason);
  if (fact === undefined) {
    fact = { via: 'lsid', value: Object.freeze({ reason }) };
    REASONS.set(reason, fact);
  }
  return fact;
}

export class UserNames {
  readonly #names = new Set<string>();
  readonly #byUid = new Map<string, string>();
  readonly #facts = new Map<string, ActorFact>();
  /** Set when a name was added since `list` was last asked for. */
  changed = false;

  constructor(names: readonly string[]) {
    for (const name of names) this.add(name);
    this.changed = false;
  }

  add(name: string): void {
    if (this.#names.has(name)) return;
    this.#names.add(name);
    this.changed = true;
    const uid = Buffer.from(hash('sha256', name, 'hex'), 'hex').toString('latin1');
    this.#byUid.set(uid, name);
    this.#facts.delete(uid);
  }

  list(): string[] {
    this.changed = false;
    return [...this.#names].sort();
  }

  /** What the uid at `place` says; the same object for the same user, until its name is learnt. */
  fact(bytes: Buffer, place: number): ActorFact {
    const uid = bytes.toString('latin1', place, place + UID_BYTES);
    let fact = this.#facts.get(uid);
    if (fact === undefined) {
      fact = this.#make(uid);
      this.#facts.set(uid, fact);
    }
    return fact;
  }

  /** False for a user whose name might be learnt by asking the server. */
  knows(bytes: Buffer, place: number): boolean {
    const { value } = this.fact(bytes, place);
    return value?.['user'] !== undefined || value?.['reason'] !== undefined;
  }

  #make(uid: string): ActorFact {
    const hex = Buffer.from(uid, 'latin1').toString('hex');
    if (hex === NOBODY_UID) return unattributed('authentication_off');
    const user = this.#byUid.get(uid);
    return { via: 'lsid', value: Object.freeze(user === undefined ? { uid: hex } : { uid: hex, user }) };
  }
}

/**
 * The users that the server lists, as `user@database`: of all databases where the user may ask that, else of those where it
 * may. Null when it may ask for none.
 */
export async function listUsers(client: MongoClient, databases: readonly string[]): Promise<string[] | null> {
  const all = await unlessForbidden(client.db('admin').command({ usersInfo: { forAllDBs: true } }));
  if (all !== null) return namesOf(all['users']);
  const names: string[] = [];
  let answered = false;
  for (const database of new Set(['admin', ...databases])) {
    const some = await unlessForbidden(client.db(database).command({ usersInfo: 1 }));
    if (some === null) continue;
    answered = true;
    names.push(...namesOf(some['users']));
  }
  return answered ? names : null;
}

function namesOf(users: readonly { user: string; db: string }[]): string[] {
  return users.map(({ user, db }) => `${user}@${db}`);
}
