import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { defineEntity, MikroORM, p } from '@mikro-orm/postgresql';
import { PrismaPg } from '@prisma/adapter-pg';
import { eq } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, type PgDatabase, type PgQueryResultHKT, pgTable, text } from 'drizzle-orm/pg-core';
import { drizzle as drizzleOnPostgresJs } from 'drizzle-orm/postgres-js';
import knex from 'knex';
import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import postgres from 'postgres';
import { DataTypes, Sequelize } from 'sequelize';
import { DataSource, type DataSourceOptions, EntitySchema } from 'typeorm';
import type { ShopPrismaClient } from '../../../examples/context/prisma/client-type.ts';
import { attachActor as attachDrizzle } from '../../../src/context/drizzle.ts';
import { attachActor as attachKnex } from '../../../src/context/knex.ts';
import { attachActor as attachKysely } from '../../../src/context/kysely.ts';
import { attachActor as attachMikroOrm } from '../../../src/context/mikro-orm.ts';
import { attachActor as attachPostgresJs } from '../../../src/context/postgres.ts';
import { attachActor as attachPrisma } from '../../../src/context/prisma.ts';
import { attachActor as attachSequelize } from '../../../src/context/sequelize.ts';
import { attachActor as attachTypeOrm } from '../../../src/context/typeorm.ts';

/** The same little work in every library, on a pool of one connection. The table is `item (name text, n int)`. */
export interface Orm {
  /** One insert, outside of an explicit transaction. */
  insert(name: string): Promise<unknown>;
  /** One update, outside of an explicit transaction. */
  update(name: string, n: number): Promise<unknown>;
  /** An explicit transaction that inserts each name; rolled back when `fail`, and then rejects. */
  transaction(names: readonly string[], fail?: boolean): Promise<unknown>;
  /** How many items there are. */
  count(): Promise<number>;
  close(): Promise<unknown>;
}

export const ORMS: Readonly<Record<string, (url: string) => Promise<Orm>>> = {
  prisma: openPrisma,
  drizzle: async (url) => {
    const db = attachDrizzle(drizzle(new pg.Pool({ connectionString: url, max: 1 })));
    return ormOfDrizzle(db, () => db.$client.end());
  },
  'drizzle on postgres.js': async (url) => {
    // Types are looked up by a statement that would be prepared; none of ours needs them.
    const sql = attachPostgresJs(postgres(url, { max: 1, prepare: false, fetch_types: false }));
    return ormOfDrizzle(drizzleOnPostgresJs(sql), () => sql.end());
  },
  kysely: openKysely,
  knex: openKnex,
  typeorm: openTypeOrm,
  sequelize: openSequelize,
  'mikro-orm': openMikroOrm,
};

class RolledBack extends Error {}

function failIf(fail: boolean | undefined): void {
  if (fail === true) throw new RolledBack('rolled back');
}

async function openPrisma(url: string): Promise<Orm> {
  const PrismaClient = await generatedPrismaClient();
  const prisma = new PrismaClient({
    adapter: attachPrisma(new PrismaPg({ connectionString: url, max: 1 })),
    // Many wait for one connection here; its own default is two seconds.
    transactionOptions: { maxWait: 60_000, timeout: 60_000 },
  });
  return {
    insert: (name) => prisma.item.create({ data: { name } }),
    update: (name, n) => prisma.item.update({ where: { name }, data: { n } }),
    transaction: (names, fail) =>
      prisma.$transaction(async (tx) => {
        for (const name of names) await tx.item.create({ data: { name } });
        failIf(fail);
      }),
    count: () => prisma.item.count(),
    close: () => prisma.$disconnect(),
  };
}

let generated: Promise<ShopPrismaClient> | undefined;

/** Runs `prisma generate` and loads what it made; once a process. */
export function generatedPrismaClient(): Promise<ShopPrismaClient> {
  generated ??= generatePrismaClient();
  return generated;
}

async function generatePrismaClient(): Promise<ShopPrismaClient> {
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  // Inside of the checkout, so that the generated code finds the package it imports.
  const folder = join(root, '.cache', `prisma-${randomUUID()}`);
  await mkdir(folder, { recursive: true });
  await cp(join(root, 'examples/context/prisma/schema.prisma'), join(folder, 'schema.prisma'));
  try {
    // The command would download the schema engine, a program for migrations that generating does not use.
    const env = { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, CHECKPOINT_DISABLE: '1' };
    const cli = join(root, 'node_modules/prisma/build/index.js');
    await promisify(execFile)(process.execPath, [cli, 'generate', '--schema', 'schema.prisma'], { cwd: folder, env });
    const client: { PrismaClient: ShopPrismaClient } = await import(
      pathToFileURL(join(folder, 'generated/client.ts')).href
    );
    return client.PrismaClient;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const itemTable = pgTable('item', { name: text().primaryKey(), n: integer().default(0) });

function ormOfDrizzle(db: PgDatabase<PgQueryResultHKT>, close: () => Promise<unknown>): Orm {
  return {
    insert: (name) => db.insert(itemTable).values({ name }),
    update: (name, n) => db.update(itemTable).set({ n }).where(eq(itemTable.name, name)),
    transaction: (names, fail) =>
      db.transaction(async (tx) => {
        for (const name of names) await tx.insert(itemTable).values({ name });
        failIf(fail);
      }),
    count: () => db.$count(itemTable),
    close,
  };
}

async function openKysely(url: string): Promise<Orm> {
  // The pool as a function, which is the less simple of the two forms; the example has the other.
  const pool = async () => new pg.Pool({ connectionString: url, max: 1 });
  const dialect = new PostgresDialect(attachKysely({ pool }));
  const db = new Kysely<{ item: { name: string; n?: number } }>({ dialect });
  return {
    insert: (name) => db.insertInto('item').values({ name }).execute(),
    update: (name, n) => db.updateTable('item').set({ n }).where('name', '=', name).execute(),
    transaction: (names, fail) =>
      db.transaction().execute(async (tx) => {
        for (const name of names) await tx.insertInto('item').values({ name }).execute();
        failIf(fail);
      }),
    count: async () => {
      const counted = await db
        .selectFrom('item')
        .select(({ fn }) => fn.countAll().as('count'))
        .executeTakeFirstOrThrow();
      return Number(counted.count);
    },
    close: () => db.destroy(),
  };
}

async function openKnex(url: string): Promise<Orm> {
  const db = attachKnex(knex({ client: 'pg', connection: url, pool: { min: 0, max: 1 } }));
  return {
    insert: async (name) => db('item').insert({ name }),
    update: async (name, n) => db('item').update({ n }).where({ name }),
    transaction: (names, fail) =>
      db.transaction(async (tx) => {
        for (const name of names) await tx('item').insert({ name });
        failIf(fail);
      }),
    count: async () => Number((await db('item').count({ count: '*' }))[0]?.count),
    close: () => db.destroy(),
  };
}

async function openTypeOrm(url: string): Promise<Orm> {
  const Item = new EntitySchema<{ name: string; n?: number }>({
    name: 'item',
    columns: { name: { type: 'text', primary: true }, n: { type: 'int', default: 0 } },
  });
  const options: DataSourceOptions = { type: 'postgres', url, entities: [Item], extra: { max: 1 } };
  const db = attachTypeOrm(await new DataSource(options).initialize());
  return {
    insert: (name) => db.getRepository(Item).insert({ name }),
    update: (name, n) => db.getRepository(Item).update({ name }, { n }),
    transaction: (names, fail) =>
      db.transaction(async (tx) => {
        for (const name of names) await tx.insert(Item, { name });
        failIf(fail);
      }),
    count: () => db.getRepository(Item).count(),
    close: () => db.destroy(),
  };
}

async function openSequelize(url: string): Promise<Orm> {
  const db = attachSequelize(new Sequelize(url, { logging: false, pool: { max: 1 } }));
  const Item = db.define(
    'item',
    { name: { type: DataTypes.TEXT, primaryKey: true }, n: DataTypes.INTEGER },
    { tableName: 'item', timestamps: false },
  );
  return {
    insert: (name) => Item.create({ name }),
    update: (name, n) => Item.update({ n }, { where: { name } }),
    transaction: (names, fail) =>
      db.transaction(async (transaction) => {
        for (const name of names) await Item.create({ name }, { transaction });
        failIf(fail);
      }),
    count: () => Item.count(),
    close: () => db.close(),
  };
}

async function openMikroOrm(url: string): Promise<Orm> {
  const Item = defineEntity({ name: 'item', properties: { name: p.text().primary(), n: p.integer().default(0) } });
  const orm = await attachMikroOrm(
    await MikroORM.init({ clientUrl: url, entities: [Item], pool: { min: 0, max: 1 }, debug: false }),
  );
  return {
    insert: (name) => orm.em.fork().insert(Item, { name, n: 0 }),
    update: (name, n) => orm.em.fork().nativeUpdate(Item, { name }, { n }),
    transaction: (names, fail) =>
      orm.em.fork().transactional(async (em) => {
        // The unit of work writes all of it when the transaction ends.
        for (const name of names) em.persist(em.create(Item, { name, n: 0 }));
        await em.flush();
        failIf(fail);
      }),
    count: () => orm.em.fork().count(Item),
    close: () => orm.close(),
  };
}
