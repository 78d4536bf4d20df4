// The snippets of docs/guides/acting-user-anywhere.md, taken from the page and run in their own languages.
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { actorOptions } from '../../src/actor/options.ts';
import { ClaimVerifier } from '../../src/actor/verifier.ts';
import { parseClaim } from '../../src/context/claim.ts';
import { cachePath, withCacheLock } from '../support/cache.ts';
import { onPath, runCommand } from '../support/commands.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { watchedDatabase } from './support/change-stream.ts';
import { type AuditedDatabase, auditedDatabase } from './support/wal.ts';

const PAGE = readFileSync(fileURLToPath(new URL('../../docs/guides/acting-user-anywhere.md', import.meta.url)), 'utf8');
const SCHEMA = `create table users (id int primary key, email text); insert into users values (1, 'old@example.com')`;
const SLOW = process.env['CHANGETRAIL_SLOW'] === '1';
/** What a first run fetches and compiles takes a while. */
const TIMEOUT = { timeout: 600_000 };
const VERSIONS = {
  python: ['psycopg[binary]==3.2.9', 'sqlalchemy==2.0.41', 'django==5.2.1', 'pymongo==4.13.0', 'pyjwt[crypto]==2.10.1'],
  pgx: 'v5.7.5',
  jdbc: 'org.postgresql:postgresql:42.7.5',
  jackson: 'com.fasterxml.jackson.core:jackson-databind:2.19.0',
};

/** The n-th code block of a language below a heading of the page. */
function snippet(heading: string, language: string, n = 0): string {
  const section = PAGE.split(/^## /m).find((text) => text.startsWith(`${heading}\n`))!;
  return [...section.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))][n]![1]!;
}

function indent(text: string, by: string): string {
  return text.replace(/^(?=.)/gm, by);
}

/** Prepares a folder of the cache once; the folder's name tells what is in it. */
async function prepared(name: string, work: (folder: string) => Promise<unknown>): Promise<string> {
  const folder = cachePath('languages', name);
  await withCacheLock(name, async () => {
    if (existsSync(join(folder, '.done'))) return;
    mkdirSync(folder, { recursive: true });
    await work(folder);
    writeFileSync(join(folder, '.done'), '');
  });
  return folder;
}

async function python(program: string, args: readonly string[]): Promise<string> {
  const folder = await prepared('python', async (home) => {
    await runCommand('python3', ['-m', 'venv', home]);
    await runCommand(join(home, 'bin/pip'), ['install', '--quiet', ...VERSIONS.python]);
  });
  await using dir = await temporaryDirectory();
  writeFileSync(dir.join('main.py'), program);
  return await runCommand(join(folder, 'bin/python'), [dir.join('main.py'), ...args]);
}

/** One transaction: the message, then the update. */
async function expectSaid(database: AuditedDatabase, more: object = {}): Promise<void> {
  const [transaction, ...others] = await database.transactions();
  expect(others).toEqual([]);
  expect(transaction!.entries.map(({ what }) => what)).toEqual(['message', 'update']);
  expect(JSON.parse(transaction!.entries[0]!.text)).toEqual({ id: 'alice@example.com', type: 'user', ...more });
  expect((await database.query('select email from users')).rows).toEqual([{ email: 'new@example.com' }]);
}

describe.skipIf(!SLOW || !onPath('python3'))('Python', () => {
  test('psycopg', TIMEOUT, async () => {
    await using database = await auditedDatabase(SCHEMA);
    const program = `
import json, sys, types
import psycopg
conn = psycopg.connect(sys.argv[1], autocommit=True)
user, email, user_id = types.SimpleNamespace(email="alice@example.com"), "new@example.com", 1
${snippet('Python', 'python', 0)}`;
    await python(program, [database.url]);
    await expectSaid(database);
  });

  test('SQLAlchemy', TIMEOUT, async () => {
    await using database = await auditedDatabase(SCHEMA);
    const program = `
import contextvars, json, sys
from sqlalchemy import create_engine, event, text
engine = create_engine(sys.argv[1].replace("postgresql:", "postgres:").replace("postgres:", "postgresql+psycopg:"))
${snippet('Python', 'python', 1)}
acting.set({"id": "alice@example.com", "type": "user"})
with engine.begin() as conn:
    conn.execute(text("update users set email = 'new@example.com' where id = 1"))`;
    await python(program, [database.url]);
    await expectSaid(database);
  });

  test('Django', TIMEOUT, async () => {
    await using database = await auditedDatabase(SCHEMA);
    const program = `
import json, sys, types, urllib.parse
import django
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.urls import path
url = urllib.parse.urlparse(sys.argv[1])
def authentication(get_response):
    def middleware(request):
        request.user = types.SimpleNamespace(is_authenticated=request.GET.get("anonymous") is None, email="alice@example.com")
        return get_response(request)
    return middleware
${snippet('Python', 'python', 2)}
def view(request):
    with connection.cursor() as cursor:
        cursor.execute("select email from users where id = %s", [1])
        assert cursor.fetchone() is not None
        if request.GET.get("anonymous") is None:
            cursor.execute("update users set email = %s where id = %s", ["new@example.com", 1])
    return HttpResponse("done")
urlpatterns = [path("", view)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[__name__ + ".authentication", __name__ + ".ActingUser"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "ATOMIC_REQUESTS": True, "NAME": url.path[1:],
        "HOST": url.hostname, "PORT": url.port, "USER": url.username, "PASSWORD": url.password or ""}})
django.setup()
from django.test import Client
assert Client().get("/?anonymous=1").content == b"done"
assert Client().get("/").content == b"done"`;
    await python(program, [database.url]);
    await expectSaid(database, { client: '127.0.0.1' });
  });

  test('PyMongo', TIMEOUT, async () => {
    await using database = await watchedDatabase();
    await database.client
      .db()
      .collection('users')
      .insertOne({ _id: 1 as never, email: 'old@example.com' });
    const program = `
import sys, types
import pymongo
client = pymongo.MongoClient(sys.argv[1])
db = client.get_default_database()
user, email, user_id = types.SimpleNamespace(email="alice@example.com"), "new@example.com", 1
${snippet('MongoDB', 'python')}`;
    await python(program, [database.url]);
    const changes = (await database.changes()).filter(({ transaction }) => transaction !== null);
    expect(changes.map(({ operation, collection }) => `${operation} ${collection}`)).toEqual([
      'insert _changetrail_context',
      'delete _changetrail_context',
      'update users',
    ]);
    expect(changes[0]!.document).toMatchObject({ id: 'alice@example.com', type: 'user' });
    expect(new Set(changes.map(({ transaction }) => transaction)).size).toBe(1);
  });

  test('PyJWT signs a claim that verifies', TIMEOUT, async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    const program = `
import json, secrets, sys, time, types
import jwt
private_key, user = sys.argv[1], types.SimpleNamespace(email="alice@example.com")
${snippet('Signed', 'python')}
print(message)`;
    const { claim } = JSON.parse(await python(program, [pem])) as { claim: string };
    const parsed = parseClaim(claim)!;
    expect(parsed.payload.actor).toEqual({ id: 'alice@example.com', type: 'user' });
    const key = createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })).export({
      type: 'spki',
      format: 'pem',
    });
    const options = actorOptions.parse({ claims: { keys: [{ id: 'shop-2026', algorithm: 'EdDSA', key }] } });
    expect(new ClaimVerifier(options.claims, 'shop').signature(parsed)).toBeNull();
  });
});

describe.skipIf(!SLOW || !onPath('go'))('Go', () => {
  test('pgx', TIMEOUT, async () => {
    await using database = await auditedDatabase(SCHEMA);
    const folder = await prepared('go', async (home) => {
      writeFileSync(
        join(home, 'go.mod'),
        `module snippet\n\ngo 1.23\n\nrequire github.com/jackc/pgx/v5 ${VERSIONS.pgx}\n`,
      );
    });
    const program = `package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func main() {
	ctx := context.Background()
	pool, failed := pgxpool.New(ctx, os.Args[1])
	if failed != nil {
		panic(failed)
	}
	user := struct{ Email string }{"alice@example.com"}
	email, id := "new@example.com", 1
${indent(snippet('Go', 'go'), '\t')}
	if err != nil {
		panic(err)
	}
}
`;
    writeFileSync(join(folder, 'main.go'), program);
    const env = { ...process.env, GOFLAGS: '-mod=mod', GOWORK: 'off' };
    await runCommand('go', ['run', '.', database.url], { cwd: folder, env });
    await expectSaid(database);
  });
});

describe.skipIf(!SLOW || !onPath('mvn') || !onPath('java'))('Java', () => {
  test('JDBC', TIMEOUT, async () => {
    await using database = await auditedDatabase(SCHEMA);
    const folder = await prepared('java', async (home) => {
      const dependency = (text: string) => {
        const [group, artifact, version] = text.split(':');
        return `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency>`;
      };
      const dependencies = [VERSIONS.jdbc, VERSIONS.jackson].map(dependency).join('');
      writeFileSync(
        join(home, 'pom.xml'),
        `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>s</groupId><artifactId>s</artifactId><version>1</version><dependencies>${dependencies}</dependencies></project>`,
      );
      const output = `-DoutputDirectory=${join(home, 'libs')}`;
      await runCommand('mvn', ['-q', '-B', '-f', join(home, 'pom.xml'), 'dependency:copy-dependencies', output]);
    });
    const url = new URL(database.url);
    const program = `import com.fasterxml.jackson.databind.ObjectMapper;
import java.sql.DriverManager;
import java.util.Map;

class Main {
  record User(String email) {}

  public static void main(String[] args) throws Exception {
    var objectMapper = new ObjectMapper();
    var user = new User("alice@example.com");
    try (var connection = DriverManager.getConnection(args[0], args[1], "")) {
      connection.setAutoCommit(false);
${indent(snippet('Java', 'java'), '      ')}
      try (var update = connection.createStatement()) {
        update.execute("update users set email = 'new@example.com' where id = 1");
      }
      connection.commit();
    }
  }
}
`;
    writeFileSync(join(folder, 'Main.java'), program);
    const jdbc = `jdbc:postgresql://${url.host}${url.pathname}`;
    await runCommand('java', ['-cp', `${folder}/libs/*`, join(folder, 'Main.java'), jdbc, url.username]);
    await expectSaid(database);
  });
});

test('every language of the page is run here, or is said not to be', () => {
  const languages = [...PAGE.matchAll(/```(\w+)\n/g)].map(([, language]) => language!);
  const run = ['python', 'go', 'java'];
  const said = ['ruby', 'php', 'csharp'];
  expect([...new Set(languages)].filter((language) => ![...run, ...said, 'sql'].includes(language))).toEqual([]);
  expect(PAGE).toContain('Those for Ruby, PHP and C# follow the documentation of their libraries and were not run.');
});
