import type { VerifyReport } from '../ledger/verify/report.ts';

const SHOWN = 20;
const number = new Intl.NumberFormat('en-US');

/** The first word of an answer for people. */
export const VERDICTS: Readonly<Record<VerifyReport['verdict'], string>> = {
  verified: 'VERIFIED',
  tampered: 'TAMPERED',
  incomplete: 'CANNOT TELL',
};

/** The answer of verify for people: the verdict first, then what it rests on, then what it cannot say. */
export function verifyText(report: VerifyReport, tookMs: number): string {
  const lines = [verdict(report, tookMs), ...basis(report), ...problems(report), ...gaps(report), ...exposure(report)];
  return `${lines.join('\n')}\n`;
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${number.format(count)} ${count === 1 ? one : many}`;
}

function verdict({ verdict, compared, tampered, missing }: VerifyReport, tookMs: number): string {
  const word = VERDICTS[verdict];
  if (verdict === 'verified') return `${word}  ${counted(compared, 'record')} in ${(tookMs / 1000).toFixed(1)} s`;
  if (verdict === 'tampered') {
    const also = missing === 0 ? '' : `, and ${counted(missing, 'thing')} missing`;
    return `${word}  ${counted(tampered, 'finding')}${also}`;
  }
  return `${word}  ${counted(missing, 'thing is', 'things are')} missing or could not be read; nothing contradicts the signature`;
}

function basis(report: VerifyReport): string[] {
  const { origin, size, signed_by, key_from, removed, sources } = report;
  if (size === null) return [];
  const key = {
    given: 'the key that was given',
    directory: 'a key that this directory itself names (give --key to prove more)',
    record: 'a key that a record brought, which the given key vouches for',
  }[key_from];
  const lines = [`  ledger    ${origin}, ${counted(size, 'record')} under the signed head`];
  if (signed_by.length > 0) lines.push(`  key       ${key}`);
  if (removed !== null) {
    const last = number.format(removed.records - 1);
    lines.push(`  removed   records 0 to ${last}, as the retention record ${number.format(removed.index)} says`);
  }
  for (const { name, changes, first, last, starts, stops, gaps: count } of sources) {
    const span = first === null && last === null ? '' : `, ${first ?? '–'} to ${last ?? '–'}`;
    lines.push(
      `  source    ${name}: ${counted(changes, 'change')}${span}; ${counted(starts, 'start')}, ${counted(stops, 'stop')}, ${counted(count, 'gap')}`,
    );
  }
  return [...lines, ...headLines(report)];
}

function headLines({ heads, outside }: VerifyReport): string[] {
  const lines: string[] = [];
  if (heads.count > 0) {
    const foreign = heads.foreign > 0 ? `; ${number.format(heads.foreign)} of them by keys that are not known` : '';
    lines.push(
      `  heads     ${number.format(heads.checked)} of ${counted(heads.count, 'earlier head')} in records compared with the tree${foreign}`,
    );
  }
  for (const { name, size, agrees } of outside) {
    const answer =
      size === null
        ? 'could not be compared'
        : `head of ${counted(size, 'record')} ${agrees ? 'agrees' : 'does not agree'}`;
    lines.push(`  outside   ${name}: ${answer}`);
  }
  return lines;
}

function problems({ findings, tampered, missing }: VerifyReport): string[] {
  const lines = findings.slice(0, SHOWN).map(({ level, message, index, segment }) => {
    const place = [segment, index === undefined ? undefined : `index ${index}`].filter((part) => part !== undefined);
    return `  ${level === 'tampered' ? '✗' : '?'} ${message}${place.length === 0 ? '' : ` (${place.join(', ')})`}`;
  });
  const more = tampered + missing - lines.length;
  if (more > 0) lines.push(`  … and ${number.format(more)} more (--json shows up to 1,000)`);
  return lines;
}

function gaps({ gaps: all }: VerifyReport): string[] {
  const lines = all.slice(0, SHOWN).map(({ source, from, to, cause, index }) => {
    return `  gap       ${source}: ${from ?? '?'} to ${to ?? 'now'}, ${cause ?? 'no cause given'} (index ${index})`;
  });
  if (all.length > SHOWN) lines.push(`  … and ${counted(all.length - SHOWN, 'more gap')} (--json shows all)`);
  return lines;
}

function exposure({ verdict, size, outside, exposed_from, unsigned, leftovers, heads }: VerifyReport): string[] {
  const lines: string[] = [];
  if (unsigned > 0) {
    lines.push(
      `  note      ${counted(unsigned, 'record is', 'records are')} newer than the signed head: this answer does not cover them`,
    );
  }
  if (leftovers.strange.length > 0) {
    lines.push(`  note      no part of the ledger, not looked at: ${leftovers.strange.slice(0, 5).join(', ')}`);
  }
  if (verdict === 'tampered' || size === null || exposed_from === null) return lines;
  if (outside.length === 0) {
    const sent =
      heads.newest === null ? '' : `; the newest one sent to the sinks covers ${counted(heads.newest.size, 'record')}`;
    lines.push(
      '  exposure  No head from outside was given. Whoever holds the signing key could have rewritten or cut everything unseen:',
      `            give a head that your SIEM or an anchor holds with --head${sent}.`,
    );
  } else {
    lines.push(
      `  exposure  Records ${number.format(exposed_from)} to ${number.format(size - 1)} are newer than the newest head from outside that agrees:`,
      '            whoever holds the signing key could have changed or cut them unseen.',
    );
  }
  return lines;
}
