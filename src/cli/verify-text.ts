import type { VerifyReport } from '../ledger/verify/verify.ts';

const SHOWN = 20;
const number = new Intl.NumberFormat('en-US');

/** The answer of verify for people: the verdict first, then what it rests on, then what it cannot say. */
export function verifyText(report: VerifyReport, tookMs: number): string {
  const lines = [verdict(report, tookMs), ...basis(report), ...problems(report), ...gaps(report), ...exposure(report)];
  return `${lines.join('\n')}\n`;
}

function verdict({ verdict, compared, tampered, missing }: VerifyReport, tookMs: number): string {
  const seconds = (tookMs / 1000).toFixed(1);
  if (verdict === 'verified') return `VERIFIED  ${number.format(compared)} records in ${seconds} s`;
  if (verdict === 'tampered') return `TAMPERED  ${number.format(tampered)} findings`;
  return `CANNOT TELL  ${number.format(missing)} things are missing`;
}

function basis(report: VerifyReport): string[] {
  const { origin, size, signed_by, key_from, removed, sources, heads, outside } = report;
  if (size === null) return [];
  const key = {
    given: 'the key that was given',
    directory: 'a key that this directory itself names (give --key to prove more)',
    record: 'a key that a record brought, which the given key vouches for',
  }[key_from];
  const lines = [`  ledger    ${origin}, ${number.format(size)} records under the signed head`];
  if (signed_by.length > 0) lines.push(`  key       ${key}`);
  if (removed !== null) {
    lines.push(`  removed   records 0 to ${removed.records - 1}, as the retention record ${removed.index} says`);
  }
  for (const { name, changes, first, last, starts, stops, gaps: count } of sources) {
    lines.push(
      `  source    ${name}: ${number.format(changes)} changes, ${first ?? '–'} to ${last ?? '–'}; ${starts} starts, ${stops} stops, ${count} gaps`,
    );
  }
  if (heads.count > 0) {
    const foreign = heads.foreign > 0 ? `, ${heads.foreign} by keys that are not known` : '';
    lines.push(
      `  heads     ${number.format(heads.checked)} of ${number.format(heads.count)} earlier heads checked, all of this history${foreign}`,
    );
  }
  for (const { name, size: covered, agrees } of outside) {
    lines.push(
      `  outside   ${name}: ${covered === null ? 'not checked' : `head of ${number.format(covered)} records ${agrees ? 'agrees' : 'does not agree'}`}`,
    );
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
  if (all.length > SHOWN) lines.push(`  … and ${all.length - SHOWN} more gaps (--json shows all)`);
  return lines;
}

function exposure({ verdict, size, outside, unsigned, leftovers, heads }: VerifyReport): string[] {
  const lines: string[] = [];
  if (unsigned > 0)
    lines.push(`  note      ${number.format(unsigned)} records are newer than the head and not covered by this answer`);
  if (leftovers.strange.length > 0)
    lines.push(`  note      no part of the ledger, not looked at: ${leftovers.strange.slice(0, 5).join(', ')}`);
  if (verdict === 'tampered' || size === null) return lines;
  const newest = outside.filter(({ agrees }) => agrees).reduce((most, head) => Math.max(most, head.size ?? 0), 0);
  if (outside.length === 0) {
    lines.push(
      '  exposure  No head from outside was given. Whoever holds the signing key could have rewritten or cut everything unseen:',
      `            compare with a head your SIEM or an anchor holds (--head)${heads.newest === null ? '' : `; the newest sent to the sinks covers ${number.format(heads.newest.size)} records`}.`,
    );
  } else if (newest < size) {
    lines.push(
      `  exposure  Records ${number.format(newest)} to ${number.format(size - 1)} are newer than the newest head from outside: the holder of the key could have changed or cut them.`,
    );
  }
  return lines;
}
