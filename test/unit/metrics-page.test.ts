import { expect, test } from 'vitest';
import { ActorMetrics } from '../../src/actor/metrics.ts';
import { startMetricsPage, type TrailFigures } from '../../src/pipeline/metrics-page.ts';

test('the page shows changes by table and assurance, what writes without an actor, and what was not taken as it was', async () => {
  const actors = new ActorMetrics();
  actors.count('public', 'users', 3, 'claimed', false);
  actors.count('public', 'users', 2, 'verified', true);
  actors.count('public', 'we"ird\n', 4, 'none', false);
  Object.assign(actors.application('legacy'), { changes: 9, without_actor: 6 });
  actors.reason('claim_replayed');
  const figures: TrailFigures = {
    ledgerNext: 9,
    ledgerFailed: false,
    sources: new Map(),
    actors: new Map([['shop', actors.snapshot()]]),
    sinks: new Map(),
  };
  const page = await startMetricsPage('127.0.0.1:0', () => figures);
  try {
    const response = await fetch(`http://127.0.0.1:${page.address.port}/metrics`);
    const lines = (await response.text()).split('\n').filter((line) => /^changetrail_(?:actor|application)/.test(line));
    const users = (assurance: string, count: number) =>
      `changetrail_actor_changes{source="shop",table="public.users",assurance="${assurance}"} ${count}`;
    expect(lines).toEqual(
      expect.arrayContaining([
        users('verified', 2),
        users('claimed', 3),
        users('none', 0),
        'changetrail_actor_changes{source="shop",table="public.we\\"ird\\n",assurance="none"} 4',
        'changetrail_actor_role_only_changes{source="shop",table="public.users"} 2',
        'changetrail_application_changes_without_actor{source="shop",application="legacy"} 6',
        'changetrail_actor_reasons{source="shop",reason="claim_replayed"} 1',
      ]),
    );
    // The shares of all assurances together are all changes, each once.
    const counts = lines.filter((line) => line.startsWith('changetrail_actor_changes'));
    expect(counts.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)).toBe(9);
  } finally {
    await page.close();
  }
});
