import { objectText } from './bounded-json.ts';
import type { Judged } from './judge.ts';
import type { ApplicationCounts, CountedAs } from './metrics.ts';
import { NOBODY, type Rendered } from './rendered.ts';
import type { ServerFacts } from './server-facts.ts';

/** Everything known about who made the next change. */
export interface Known {
  /** The application's word, or null. */
  readonly claim: Judged | null;
  /** The database's word, or null. */
  readonly server: ServerFacts | null;
  /** True when nobody but the database can have written `server`. */
  readonly sealed: boolean;
  /** Why the database's word is missing or not to be trusted, or null. */
  readonly serverReason: string | null;
  /** The writer that the row names, where it is better than what else is known. */
  readonly row: Rendered | null;
}

/** The text for a change's record and how the change is counted. */
export interface Composed {
  /** `,"actor":{…}` and `,"context":{…}` where there is one. */
  readonly bytes: Uint8Array;
  readonly as: CountedAs;
  /** True when all that is known is a database role that is no person and no job. */
  readonly roleOnly: boolean;
  /** The application's name, for the counts. */
  readonly application: string;
}

/** A composed fragment with all that it was made from: while that is the same, the next transaction copies it. */
export interface Ready extends Known {
  readonly composed: Composed;
  readonly application: ApplicationCounts;
}

/** What a fragment is looked up by keeps the last one made for it. */
export interface Keeper {
  ready: Ready | null;
}

interface Winner {
  readonly rendered: Rendered;
  readonly as: CountedAs;
  readonly via: string | null;
  readonly roleOnly: boolean;
}

const NO_ONE: Winner = { rendered: NOBODY, as: 'none', via: null, roleOnly: false };
const UNKNOWN_APPLICATION = '(unknown)';

/** The best rung that names somebody; the database's facts stand beside it, whoever wins. */
export function compose(known: Known): Composed {
  const { claim, server } = known;
  const winner = best(known);
  const reasons = [claim?.reason, known.serverReason].filter((reason) => reason != null);
  const cut = winner.rendered.cut;
  const parts = [
    winner.rendered.identity,
    `"assurance":"${winner.as}"`,
    winner.via === null ? '' : `"via":"${winner.via}"`,
    claim === null || claim.claim === null ? '' : `"claim":"${claim.claim}"`,
    reasons.length === 0 ? '' : `"reason":"${reasons.join(',')}"`,
    server === null ? '' : server.beside,
    server === null || known.sealed ? '' : '"db_assurance":"claimed"',
    claim === null || claim.unsigned.length === 0 ? '' : `"unsigned":${JSON.stringify(claim.unsigned)}`,
    cut.length === 0 ? '' : `"truncated":${JSON.stringify(cut)}`,
  ];
  const context = contextOf(winner.rendered, claim, server);
  return {
    bytes: Buffer.from(`,"actor":{${parts.filter((part) => part !== '').join(',')}}${context}`, 'utf8'),
    as: winner.as,
    roleOnly: winner.roleOnly,
    application: server?.application ?? UNKNOWN_APPLICATION,
  };
}

function best({ claim, server, sealed, row }: Known): Winner {
  if (claim !== null && claim.rendered.identity !== '') {
    const as = claim.verified ? 'verified' : 'claimed';
    return { rendered: claim.rendered, as, via: claim.via, roleOnly: false };
  }
  if (row !== null) return { rendered: row, as: 'inferred', via: 'row', roleOnly: false };
  if (server === null) return NO_ONE;
  const as = sealed && !server.fromSetting ? 'verified' : 'claimed';
  return { rendered: server.rendered, as, via: server.via, roleOnly: isRoleOnly(server) };
}

/** True when the role says nothing about who sat behind it. */
function isRoleOnly(server: ServerFacts): boolean {
  return !server.fromSetting && server.roleIs !== 'person' && server.roleIs !== 'job';
}

/** The contexts of all rungs; where two have the same key, the application's word of the transaction counts. */
function contextOf(winner: Rendered, claim: Judged | null, server: ServerFacts | null): string {
  const all = [server?.rendered.context, claim?.rendered.context ?? winner.context].filter(
    (context) => context !== undefined && context.size > 0,
  ) as ReadonlyMap<string, string>[];
  if (all.length === 0) return '';
  const first = all[0]!;
  return `,"context":${objectText(all.length === 1 ? first : new Map([...first, ...all[1]!]))}`;
}
