import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import express from 'express';
import Fastify from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import { describe, expect, test } from 'vitest';
import { actorContext as expressContext } from '../../src/context/express.ts';
import { actorContext as fastifyContext } from '../../src/context/fastify.ts';
import { actorContext as honoContext } from '../../src/context/hono.ts';
import { type Actor, currentActor } from '../../src/context/index.ts';
import { actorContext as koaContext } from '../../src/context/koa.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

/** A server that answers each POST with the actor its handler saw, after reading the body and waiting a little. */
interface Server extends AsyncDisposable {
  readonly url: string;
}

function closing(server: { address(): unknown; close(done: () => void): unknown }): Server {
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

/** The authenticated user, set by a middleware behind ours. */
const user = (name: unknown) => (typeof name === 'string' ? { id: name, type: 'user' } : undefined);

type Users = { Variables: { user: Actor | undefined } };

const SERVERS: Record<string, () => Promise<Server>> = {
  async express() {
    const app = express();
    app.set('trust proxy', true);
    type Request = express.Request & { user?: Actor };
    app.use(
      expressContext({ actor: (request: Request) => request.user, context: (request) => ({ path: request.path }) }),
    );
    app.use(express.json());
    app.use((request: Request, _response, next) => {
      Object.assign(request, { user: user(request.headers['x-user']) });
      next();
    });
    app.post('/act', async (request, response) => {
      await pause();
      response.json({ body: request.body, actor: currentActor() });
    });
    const server = app.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    return closing(server);
  },
  async fastify() {
    const app = Fastify({ trustProxy: true });
    const users = new WeakMap<object, Actor | undefined>();
    fastifyContext(app, { actor: (request) => users.get(request), context: (request) => ({ path: request.url }) });
    app.addHook('preHandler', async (request) => {
      users.set(request, user(request.headers['x-user']));
    });
    app.post('/act', async (request) => {
      await pause();
      return { body: request.body, actor: currentActor() };
    });
    await app.listen({ port: 0, host: '127.0.0.1' });
    return { ...closing(app.server), [Symbol.asyncDispose]: () => app.close() };
  },
  async koa() {
    const app = new Koa();
    app.proxy = true;
    app.use(koaContext({ actor: (ctx) => ctx.state['user'], context: (ctx) => ({ path: ctx.path }) }));
    app.use(async (ctx, next) => {
      ctx.state['user'] = user(ctx.get('x-user') || undefined);
      await next();
    });
    app.use(async (ctx) => {
      const chunks: Buffer[] = [];
      for await (const chunk of ctx.req) chunks.push(chunk as Buffer);
      await pause();
      ctx.body = { body: JSON.parse(Buffer.concat(chunks).toString()), actor: currentActor() };
    });
    const server = app.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    return closing(server);
  },
  async hono() {
    const app = new Hono<Users>();
    app.use(
      honoContext<Users>({
        actor: (c) => c.get('user'),
        context: (c) => ({ path: c.req.path }),
        client: (c) => c.req.header('x-forwarded-for'),
      }),
    );
    app.use(async (c, next) => {
      c.set('user', user(c.req.header('x-user')));
      await next();
    });
    app.post('/act', async (c) => {
      const body = await c.req.json();
      await pause();
      return c.json({ body, actor: currentActor() });
    });
    const server = await new Promise<ReturnType<typeof serve>>((resolve) => {
      const started = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, () => resolve(started));
    });
    return closing(server as unknown as Parameters<typeof closing>[0]);
  },
};

async function act(
  server: Server,
  headers: Record<string, string>,
  body: unknown = {},
): Promise<{ body: unknown; actor: Actor }> {
  const response = await fetch(`${server.url}/act`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return (await response.json()) as { body: unknown; actor: Actor };
}

describe.each(Object.entries(SERVERS))('%s', (_name, start) => {
  test('fills actor, request id, client address, trace and own context, though the user is known later', async () => {
    await using server = await start();
    const headers = {
      'x-user': 'alice',
      'x-request-id': 'r-9',
      'x-forwarded-for': '203.0.113.7',
      traceparent: `00-${TRACE}-${SPAN}-01`,
    };
    const { actor, body } = await act(server, headers, { hello: 'world' });
    expect(body).toEqual({ hello: 'world' });
    expect(actor).toEqual({
      id: 'alice',
      type: 'user',
      client: '203.0.113.7',
      request_id: 'r-9',
      trace_id: TRACE,
      span_id: SPAN,
      path: '/act',
    });
  });

  test('makes up a request id, and leaves out what is not there or not valid', async () => {
    await using server = await start();
    const hostile = { 'x-request-id': "r'; drop table users --", traceparent: `00-${'0'.repeat(32)}-${SPAN}-01` };
    const { actor } = await act(server, hostile);
    expect(actor['request_id']).toMatch(/^[0-9a-f-]{36}$/);
    expect(Object.keys(actor)).not.toContain('trace_id');
    expect(Object.keys(actor)).not.toContain('id');
  });

  test('keeps 100 concurrent requests apart, also when they read a large body', async () => {
    await using server = await start();
    const text = 'x'.repeat(50_000);
    await Promise.all(
      Array.from({ length: 100 }, async (_, n) => {
        const { actor } = await act(server, { 'x-user': `user-${n}`, 'x-request-id': `r-${n}` }, { text });
        expect(actor).toMatchObject({ id: `user-${n}`, request_id: `r-${n}` });
      }),
    );
  });
});

test('without options the address of the socket is the client, as IPv4 where it is one', async () => {
  const app = new Hono().use(honoContext()).post('/act', (c) => c.json({ actor: currentActor() }));
  const node = await new Promise<ReturnType<typeof serve>>((resolve) => {
    const started = serve({ fetch: app.fetch, port: 0 }, () => resolve(started));
  });
  await using server = closing(node as unknown as Parameters<typeof closing>[0]);
  expect((await act(server, {})).actor.client).toBe('127.0.0.1');
});
