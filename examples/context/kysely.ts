import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { withActor } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { attachActor } from '../../src/context/kysely.ts'; // 'changetrail/context/kysely'

export async function addItem(url: string): Promise<void> {
  const pool = new pg.Pool({ connectionString: url });
  const db = new Kysely<{ item: { name: string } }>({ dialect: new PostgresDialect(attachActor({ pool })) });
  await withActor({ id: 'alice@example.com', type: 'user', request_id: 'r-9' }, () =>
    db.insertInto('item').values({ name: 'apple' }).execute(),
  );
  await db.destroy();
}
