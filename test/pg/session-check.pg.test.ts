// What `doctor` says of the session context.
import { writeFileSync } from 'node:fs';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { CheckItem } from '../../src/core/connector.ts';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';
import { runCli } from '../support/run-cli.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/tmp.ts';

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`the session context in doctor on PostgreSQL ${major}`, () => {
    let database: TestDatabase;
    let dir: TemporaryDirectory;
    const role = `doctor_${major}_${Date.now()}`;

    beforeAll(async () => {
      dir = await temporaryDirectory();
      const server = await providePostgres({ major });
      database = await server.createDatabase();
      await database.query(`create table a (id int primary key); create table b (id int primary key);
        create role ${pg.escapeIdentifier(role)} login replication`);
    });

    afterAll(async () => {
      await database?.query(`drop owned by ${pg.escapeIdentifier(role)}; drop role ${pg.escapeIdentifier(role)}`);
      await database?.drop();
      await dir?.[Symbol.asyncDispose]();
    });

    /** Runs a command with these actor settings and as this user. */
    async function run(args: readonly string[], settings: readonly string[] = [], user?: string) {
      const url = new URL(database.url);
      if (user !== undefined) url.username = user;
      const file = dir.join('changetrail.yaml');
      const actors = { settings: settings.map((name) => ({ name })) };
      writeFileSync(file, stringify({ sources: { shop: { type: 'postgres', url: url.href } }, actors }));
      return runCli([...args, '--config', file]);
    }

    async function findings(settings: readonly string[] = [], user?: string): Promise<CheckItem[]> {
      const { stdout } = await run(['doctor', '--json'], settings, user);
      const { findings: all } = JSON.parse(stdout) as { findings: CheckItem[] };
      return all.filter(({ name }) => name === 'session context');
    }

    test('from not there to complete, and everything that makes it less', async () => {
      expect(await findings()).toEqual([
        expect.objectContaining({ level: 'ok', detail: expect.stringMatching(/^not installed/) }),
      ]);
      expect(await findings(['app.user_id'])).toEqual([
        expect.objectContaining({ level: 'warning', detail: expect.stringContaining('names app.user_id') }),
      ]);

      expect((await run(['setup', '--session-context', '--apply'], ['app.user_id'])).code).toBe(0);
      expect(await findings(['app.user_id'])).toEqual([
        expect.objectContaining({ level: 'ok', detail: '2 tables say who is in session; new tables get it at once' }),
      ]);

      const [other] = await findings(['app.user_id', 'app.tenant']);
      expect(other).toMatchObject({
        level: 'warning',
        detail: expect.stringContaining('settings than those configured'),
      });
      expect(other!.fix).toBe('changetrail setup --session-context');

      await database.query('alter table b disable trigger changetrail_session_context');
      const [disabled, ...rest] = await findings(['app.user_id']);
      expect(disabled).toMatchObject({
        level: 'warning',
        detail: expect.stringContaining('on public.b: their changes'),
      });
      expect(rest).toEqual([]);
      await database.query(disabled!.fix!);
      expect(await findings(['app.user_id'])).toMatchObject([{ level: 'ok' }]);

      const [locked] = await findings(['app.user_id'], role);
      expect(locked).toMatchObject({
        level: 'warning',
        detail: expect.stringContaining('cannot be told from a forgery'),
      });
      await database.query(locked!.fix!);
      expect(await findings(['app.user_id'], role)).toMatchObject([{ level: 'ok' }]);

      await database.query('drop event trigger changetrail_session_context');
      expect(await findings(['app.user_id'])).toMatchObject([
        { level: 'ok', detail: expect.stringContaining('from capture') },
      ]);
    });
  });
}
