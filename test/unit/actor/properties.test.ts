import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ActorFact } from '../../../src/core/actor.ts';
import { bytesOf, read, stageWith } from './harness.ts';

const VIAS: readonly ActorFact['via'][] = ['message', 'session', 'lsid', 'bemi', 'sequin', 'sequin_clear'];

describe('whatever is written', () => {
  test('the stage gives a valid, bounded piece of a record and never throws', () => {
    const { stage } = stageWith({ settings: [{ name: 'a.b', path: 'c' }], ids: [{ match: '*', type: 'user' }] });
    const nasty = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.json({ maxDepth: 8 }).map(bytesOf),
      fc.string({ unit: 'binary', maxLength: 300 }).map(bytesOf),
      fc
        .dictionary(
          fc.oneof(
            fc.constantFrom('id', 'type', 'on_behalf_of', 'claim', '__proto__', 'toString', ''),
            fc.string({ unit: 'binary' }),
          ),
          fc.oneof(fc.jsonValue({ maxDepth: 6 }), fc.string({ unit: 'binary', minLength: 0, maxLength: 5000 })),
        )
        .map(bytesOf),
      fc.json().map((json) => bytesOf(`${'0'.repeat(64)} 1 ${json}`)),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(...VIAS), nasty), { maxLength: 5 }), (facts) => {
        stage.begin({ id: '1', timeMs: 0 });
        for (const [via, text] of facts) stage.observe({ via, text });
        const bytes = stage.fragment();
        expect(bytes.length).toBeLessThan(128 * 1024);
        read(bytes);
        stage.count('s', 't', 1);
      }),
      { numRuns: 500 },
    );
  });

  test('a context that fits is kept as it was said', () => {
    const { begin, say, change } = stageWith();
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue({ maxDepth: 5 })), (said) => {
        const entries = Object.entries(said).filter(([key]) => key !== 'claim');
        const context = JSON.parse(JSON.stringify(Object.fromEntries(entries)));
        begin();
        say('message', {
          ...context,
          id: 'alice',
          type: 'x',
          name: 'x',
          session: 'x',
          client: 'x',
          app: 'x',
          on_behalf_of: 'x',
        });
        for (const key of ['id', 'type', 'name', 'session', 'client', 'app', 'on_behalf_of']) delete context[key];
        expect(change().context ?? {}).toEqual(context);
      }),
    );
  });
});

/** One step of a transaction as a connector sees it, for a model that is as simple as can be. */
type Step =
  | { readonly kind: 'message' | 'sequin' | 'bemi' | 'session'; readonly who: string }
  | { readonly kind: 'clear' | 'change' };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('message' as const, 'sequin' as const, 'bemi' as const, 'session' as const),
    who: fc.constantFrom('a', 'b', 'c', ''),
  }),
  fc.record({ kind: fc.constantFrom('clear' as const, 'change' as const, 'change' as const) }),
);

/** Who is expected: the last word that counts, found by looking back through the steps of the transaction. */
function expected(before: readonly Step[]): string {
  const last = before.at(-1);
  if (last?.kind === 'bemi' && last.who !== '') return `bemi:${last.who}`;
  const onceEmpty = last?.kind === 'bemi';
  const session = before.findLast((one) => one.kind === 'session' && one.who !== '');
  const database = session !== undefined && 'who' in session ? `session:${session.who}` : 'none';
  if (onceEmpty) return database;
  const said = before.findLastIndex((one) => one.kind === 'message');
  const cleared = before.findLastIndex((one) => one.kind === 'clear');
  const annotated = before.findLastIndex((one) => one.kind === 'sequin');
  const wins = annotated > cleared && annotated > said ? annotated : said;
  // An annotation older than the message counts again only when there is no message.
  const chosen = wins >= 0 ? before[wins] : annotated > cleared ? before[annotated] : undefined;
  if (chosen === undefined || !('who' in chosen) || chosen.who === '') return database;
  return `${chosen.kind}:${chosen.who}`;
}

describe('any sequence of facts and changes', () => {
  test('gives each change the actor that a look back through its own transaction gives', () => {
    const { begin, say, change } = stageWith();
    fc.assert(
      fc.property(fc.array(fc.array(step, { maxLength: 12 }), { minLength: 1, maxLength: 6 }), (transactions) => {
        transactions.forEach((steps, number) => {
          begin(String(number));
          // A Bemi message holds until a change; the look back takes only the step before.
          const seen: Step[] = [];
          for (const one of steps) {
            if (seen.at(-1)?.kind === 'bemi' && one.kind !== 'change') continue;
            if (one.kind === 'clear') say('sequin_clear', '');
            else if (one.kind === 'session' && one.who !== '')
              say('session', `${'0'.repeat(64)} 1 {"user":"${one.who}"}`);
            else if (one.kind === 'message') say('message', { id: one.who });
            else if (one.kind === 'sequin' || one.kind === 'bemi') say(one.kind, { user_id: one.who });
            else if (one.kind === 'change') {
              const { actor } = change();
              expect(actor['via'] === undefined ? 'none' : `${actor['via']}:${actor['id']}`).toBe(expected(seen));
            }
            seen.push(one);
          }
        });
      }),
      { numRuns: 1000 },
    );
  });
});
