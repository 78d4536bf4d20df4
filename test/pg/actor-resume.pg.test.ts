import { generateKeyPairSync } from 'node:crypto';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { createSigner } from '../../src/context/signer.ts';
import { type AuditRecord, type Capture, startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';
import { until } from '../support/wait.ts';

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const PEM = publicKey.export({ type: 'spki', format: 'pem' });
const signer = createSigner({ keyId: 'k', privateKey });

const emit = (content: object) =>
  `select pg_logical_emit_message(true, 'changetrail', ${pg.escapeLiteral(JSON.stringify(content))})`;

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(
    `capture on PostgreSQL ${major} that ends in the middle of a transaction`,
    () => {
      test('goes on with the actor, also a signed one and one that changed on the way', async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await database.query('create table big (id int primary key, v text)');
        await using capture = await startCapture({
          url: database.url,
          configuration: { actors: { claims: { keys: [{ id: 'k', algorithm: 'EdDSA', key: PEM }] } } },
        });
        const rows = 15_000;
        let inTheMiddle = 0;
        for (let round = 0; round < 5 && inTheMiddle === 0; round++) {
          const first = round * 2 * rows;
          const fill = (from: number) =>
            `insert into big select g, repeat('x', 100) from generate_series(${from}, ${from + rows - 1}) g`;
          const alice = emit({ claim: signer.sign(JSON.stringify({ id: `alice${round}` })) });
          const bob = emit({ id: `bob${round}` });
          await database.query(`begin; ${alice}; ${fill(first)}; ${bob}; ${fill(first + rows)}; commit`);
          await until(() => ofBig(capture) > first, { what: 'the first changes of the transaction' });
          await capture.abort();
          const held = ofBig(capture) - first;
          if (held > 0 && held < 2 * rows) inTheMiddle++;
          await capture.start();
          const changes = (await capture.changes('big')).slice(first);
          expect(changes).toHaveLength(2 * rows);
          const wrong = changes.find((one, at) => {
            const half = at < rows;
            const { id, assurance } = one.actor!;
            const right = half ? [`alice${round}`, 'verified'] : [`bob${round}`, 'claimed'];
            return keyOf(one) !== first + at || one.source.seq !== at || id !== right[0] || assurance !== right[1];
          });
          expect(wrong).toBeUndefined();
        }
        expect(inTheMiddle, 'no round was cut in the middle').toBeGreaterThan(0);
      }, 600_000);
    },
  );

  describe.skipIf(await postgresMissing(major))(`the row’s writer on PostgreSQL ${major}`, () => {
    test('is inferred on insert and update, never on delete, and never over a better rung', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query(
        'create table t (id int primary key, updated_by text); create table u (id int primary key, updated_by text)',
      );
      await using capture = await startCapture({
        url: database.url,
        configuration: { actors: { columns: [{ tables: ['public.t'], column: 'updated_by', type: 'customer' }] } },
      });
      await database.query(`
        insert into t values (1, 'alice'), (2, null); update t set updated_by = 'bob' where id = 1;
        insert into u values (1, 'alice'); delete from t where id = 1;
        begin; select pg_logical_emit_message(true, 'changetrail', '{"id":"carol"}'); insert into t values (3, 'alice'); commit`);
      const seen = (await capture.changes()).map(({ object, action, actor }) => [object.table, action, actor]);
      expect(seen).toEqual([
        ['t', 'insert', { id: 'alice', type: 'customer', assurance: 'inferred', via: 'row' }],
        ['t', 'insert', { assurance: 'none' }],
        ['t', 'update', { id: 'bob', type: 'customer', assurance: 'inferred', via: 'row' }],
        ['u', 'insert', { assurance: 'none' }],
        ['t', 'delete', { assurance: 'none' }],
        ['t', 'insert', { id: 'carol', assurance: 'claimed', via: 'message' }],
      ]);
    });
  });
}

function ofBig(capture: Capture): number {
  return capture.records().filter((one) => one.kind === 'change' && one.object.table === 'big').length;
}

function keyOf(record: AuditRecord): number {
  return (record.object.key as { id: number }).id;
}
