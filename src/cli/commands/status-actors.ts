import type { ActorCounts, ActorSnapshot } from '../../actor/metrics.ts';
import type { Palette } from '../pretty.ts';

/** How many tables and applications are named; the rest is a number. */
const NAMED = 20;

/** `status --actors`: how changes were attributed, and what writes without an actor: the list a team works down. */
export function actorLines(name: string, snapshot: ActorSnapshot, p: Palette): string[] {
  const changes = sum(snapshot.total);
  if (changes === 0) return [`actors   ${p.bold(name)}  no changes yet`];
  const lines = [`actors   ${p.bold(name)}  ${shares(snapshot.total)} of ${changes} changes`];
  const tables = Object.entries(snapshot.tables)
    .map(([table, counts]) => ({ name: table, without: withoutActor(counts), all: sum(counts), counts }))
    .filter((table) => table.without > 0);
  lines.push(...list('tables that are written without an actor', tables, p));
  const applications = Object.entries(snapshot.applications)
    .map(([application, counts]) => ({ name: application, without: counts.without_actor, all: counts.changes }))
    .filter((application) => application.without > 0);
  lines.push(...list('applications that write without an actor', applications, p));
  const reasons = Object.entries(snapshot.reasons).sort(([, a], [, b]) => b - a);
  if (reasons.length > 0) {
    lines.push('         not taken as they were:');
    for (const [reason, count] of reasons.slice(0, NAMED)) lines.push(`           ${reason}  ${count}`);
  }
  return lines;
}

interface Writer {
  readonly name: string;
  readonly without: number;
  readonly all: number;
}

function list(title: string, writers: readonly Writer[], p: Palette): string[] {
  if (writers.length === 0) return [];
  const sorted = writers.toSorted((a, b) => b.without - a.without);
  const width = Math.max(...sorted.slice(0, NAMED).map((writer) => writer.name.length));
  const rows = sorted
    .slice(0, NAMED)
    .map((writer) => `           ${writer.name.padEnd(width)}  ${p.yellow(`${writer.without}`)} of ${writer.all}`);
  const more = sorted.length > NAMED ? [`           and ${sorted.length - NAMED} more (--json names all)`] : [];
  return [`         ${title}:`, ...rows, ...more];
}

function shares(counts: ActorCounts): string {
  const all = sum(counts);
  const share = (count: number) => `${((100 * count) / all).toFixed(count === 0 || count === all ? 0 : 1)} %`;
  const roles = counts.role_only === 0 ? '' : ` (${share(counts.role_only)} only by a database role)`;
  return `verified ${share(counts.verified)}, claimed ${share(counts.claimed)}, inferred ${share(counts.inferred)}, none ${share(counts.none)}${roles}`;
}

function sum(counts: ActorCounts): number {
  return counts.verified + counts.claimed + counts.inferred + counts.none;
}

function withoutActor(counts: ActorCounts): number {
  return counts.none + counts.role_only;
}
