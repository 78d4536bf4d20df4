import postgres from 'postgres';
import { withActor } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { attachActor } from '../../src/context/postgres.ts'; // 'changetrail/context/postgres'

export async function addItem(url: string): Promise<void> {
  const sql = attachActor(postgres(url));
  await withActor(
    { id: 'alice@example.com', type: 'user', request_id: 'r-9' },
    () => sql`insert into item (name) values (${'apple'})`,
  );
  await sql.end();
}
