import { describe, expect, test } from 'vitest';
import { actorOptions } from '../../../src/actor/options.ts';
import { openLedger } from '../../../src/ledger/ledger.ts';
import { readUsedClaims } from '../../../src/pipeline/used-claims.ts';
import { temporaryDirectory } from '../../support/tmp.ts';

const START = Date.parse('2026-01-01T00:00:00Z');
const MINUTE = 60_000;
const CLAIMS = actorOptions.parse({ claims: { keys: [{ id: 'k', algorithm: 'HS256', key: 'x'.repeat(32) }] } }).claims;

const idOf = (n: number) => `claim${String(n).padStart(17, '0')}`;

interface Line {
  readonly tx: string;
  readonly at: number;
  readonly claim?: string;
  readonly source?: string;
  /** JSON of the row. */
  readonly after?: string;
}

/** The ids with their transactions that a ledger of these lines gives. */
async function used(lines: readonly Line[], segmentBytes = 1 << 20, options = CLAIMS): Promise<string[]> {
  await using dir = await temporaryDirectory();
  const ledger = openLedger(dir.path, { groupMs: 0, segmentBytes });
  for (const { tx, at, claim, source = 'shop', after = '{}' } of lines) {
    const time = new Date(START + at).toISOString();
    const out = ledger.writer.begin();
    const actor =
      claim === undefined ? '' : `,"actor":{"id":"a","assurance":"verified","via":"message","claim":"${claim}"}`;
    const origin = `"source":{"name":"${source}","engine":"postgres","database":"d","lsn":"0/1","tx":"${tx}","seq":0}`;
    out.bytes(
      Buffer.from(
        `,"id":"${source}:0/1:0","kind":"change","time":"${time}","captured":"${time}",${origin},"action":"insert","object":{"schema":"public","table":"t","key":${after}}${actor},"outcome":"success","after":${after}}`,
      ),
    );
    ledger.writer.end();
    await ledger.writer.flushed();
  }
  await ledger.close();
  return readUsedClaims(ledger.layout.segments, 'shop', options).map(({ id, tx }) => `${id} ${tx}`);
}

describe('claims that earlier runs used', () => {
  test('are read from the changes of the source, once a transaction, oldest first', async () => {
    const lines = [
      { tx: '1', at: 0, claim: idOf(1) },
      { tx: '1', at: 0, claim: idOf(1) },
      { tx: '2', at: 1, claim: idOf(2) },
      { tx: '3', at: 2 },
      { tx: '9', at: 2, claim: idOf(9), source: 'docs' },
      { tx: '4', at: 3, claim: idOf(4) },
    ];
    expect(await used(lines)).toEqual([`${idOf(1)} 1`, `${idOf(2)} 2`, `${idOf(4)} 4`]);
  });

  test('what a row says is no claim, and hides none', async () => {
    const fake = (claim: string) => `{"claim":"${claim}"}`;
    const lines = [
      { tx: '1', at: 0, after: fake(idOf(7)) },
      { tx: '2', at: 1, claim: idOf(2), after: fake(idOf(8)) },
      { tx: '3', at: 2, claim: idOf(3), after: fake(idOf(2)) },
    ];
    expect(await used(lines)).toEqual([`${idOf(2)} 2`, `${idOf(3)} 3`]);
  });

  test('are looked for as far back as one may be alive, and not in all the ledger', async () => {
    // A segment holds a few lines. A claim lives 15 minutes at most, and a little more for clocks.
    const lines = Array.from({ length: 120 }, (_, i) => ({ tx: String(i), at: i * MINUTE, claim: idOf(i) }));
    const found = await used(lines, 2_000);
    expect(found.at(-1)).toBe(`${idOf(119)} 119`);
    expect(found).toContain(`${idOf(103)} 103`);
    expect(found.length).toBeLessThan(40);
  });

  test('are not looked for where no key could have signed one', async () => {
    expect(await used([{ tx: '1', at: 0, claim: idOf(1) }], 1 << 20, actorOptions.parse({}).claims)).toEqual([]);
  });
});
