import pg from 'pg';
import { withActor } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { attachActor } from '../../src/context/pg.ts'; // 'changetrail/context/pg'

export async function addItem(url: string): Promise<void> {
  const pool = attachActor(new pg.Pool({ connectionString: url }));
  await withActor({ id: 'alice@example.com', type: 'user', request_id: 'r-9' }, () =>
    pool.query('insert into item (name) values ($1)', ['apple']),
  );
  await pool.end();
}
