import { expect, test } from 'vitest';
import { addItem as drizzle } from '../../examples/context/drizzle.ts';
import { addItem as knex } from '../../examples/context/knex.ts';
import { addItem as kysely } from '../../examples/context/kysely.ts';
import { addItem as mikroOrm } from '../../examples/context/mikro-orm.ts';
import { addItem as pg } from '../../examples/context/pg.ts';
import { addItem as postgres } from '../../examples/context/postgres.ts';
import { addItem as prisma } from '../../examples/context/prisma.ts';
import { addItem as sequelize } from '../../examples/context/sequelize.ts';
import { addItem as typeorm } from '../../examples/context/typeorm.ts';
import { generatedPrismaClient } from './support/orms.ts';
import { auditedDatabase, messagesOf, whoDidWhat } from './support/wal.ts';

const EXAMPLES: Record<string, (url: string) => Promise<void>> = {
  pg,
  postgres,
  prisma: async (url) => prisma(url, await generatedPrismaClient()),
  drizzle,
  kysely,
  knex,
  typeorm,
  sequelize,
  'mikro-orm': mikroOrm,
};

test.each(Object.entries(EXAMPLES))('the example for %s says who acted', async (_name, run) => {
  await using database = await auditedDatabase('create table item (name text primary key, n int default 0)');
  await run(database.url);
  const transactions = await database.transactions();
  expect(whoDidWhat(transactions)).toEqual([{ text: 'apple', actor: 'alice@example.com' }]);
  expect(messagesOf(transactions)).toEqual([{ id: 'alice@example.com', type: 'user', request_id: 'r-9' }]);
});
