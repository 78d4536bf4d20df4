// What somebody took out of the publications and put back between two looks: all is in order at both, but what was written in
// between was not sent. The catalog's rows tell: they are other ones afterwards.
import type { CaptureContext } from './capture-context.ts';
import type { ControlClient } from './client.ts';
import { type PublicationMark, type PublicationMarks, tableMark } from './publications.ts';
import { recordShortfall, type Shortfall, shortfallOfPublication, shortfallOfTable } from './shortfalls.ts';
import { currentLsn, type Surroundings } from './surroundings.ts';
import type { WantedTable } from './tables.ts';

export interface Looks {
  /** Null: there was none that is known of. */
  readonly before: PublicationMarks | null;
  readonly now: PublicationMarks;
  readonly publications: readonly string[];
  /** Tables that were captured before. */
  readonly tables: readonly WantedTable[];
  /** What was found to be left out, now or earlier: it is said with its own cause. */
  readonly said: readonly Shortfall[];
}

/** What may not have been sent at some time between two looks, although nothing is left out now. */
export function alteredMeanwhile({ before, now, publications, tables, said }: Looks): Shortfall[] {
  if (before === null) return [];
  const found: Shortfall[] = [];
  for (const publication of publications) {
    const ofAll = said.some((one) => one.publication === publication && one.table === null);
    if (!ofAll && isOther(before[publication], now[publication])) found.push(shortfallOfPublication(publication));
    for (const table of tables) {
      const key = tableMark(publication, table.oid);
      const isThis = (one: Shortfall) => one.table?.schema === table.schema && one.table.table === table.table;
      if (isOther(before[key], now[key]) && !said.some(isThis)) found.push(shortfallOfTable(publication, table));
    }
  }
  return found;
}

/** Another row that says the same; of one that says something else the difference is said. */
function isOther(before: PublicationMark | undefined, now: PublicationMark | undefined): boolean {
  return before !== undefined && now !== undefined && before[0] !== now[0] && before[1] === now[1];
}

/** Records it; `found`: what is left out now, `seen`: up to where all was in order. */
export async function recordMeanwhile(
  client: ControlClient,
  around: Surroundings,
  { found, seen }: { readonly found: readonly Shortfall[]; readonly seen: string },
  context: CaptureContext,
): Promise<void> {
  const { published, known } = context;
  const altered = alteredMeanwhile({
    before: published.marks,
    now: around.marks,
    publications: around.publications,
    tables: around.selection.wanted.filter(({ oid }) => known.get(oid) !== undefined),
    said: [...found, ...[...published.lost.values()].map(({ shortfall }) => shortfall)],
  });
  if (altered.length === 0) return;
  const at = await currentLsn(client);
  for (const shortfall of altered) recordShortfall(shortfall, seen, at, context);
}

/** What the next look compares with. */
export function keepMarks(marks: PublicationMarks, { published, remember }: CaptureContext): void {
  if (JSON.stringify(published.marks) === JSON.stringify(marks)) return;
  published.marks = marks;
  remember();
}
