import { EventEmitter } from 'node:events';
import { describe, expect, test, vi } from 'vitest';
import { bindActor, currentActor, withActor, withActorFrom, withoutActor } from '../../src/context/index.ts';

const pause = () => new Promise((resolve) => setImmediate(resolve));

describe('withActor', () => {
  test('holds for everything that is called and awaited, and for nothing after it', async () => {
    const seen = await withActor({ id: 'alice' }, async () => {
      await pause();
      return currentActor();
    });
    expect(seen).toEqual({ id: 'alice' });
    expect(currentActor()).toBeUndefined();
    expect(withActor({ id: 'alice' }, () => 7)).toBe(7);
    expect(() =>
      withActor({ id: 'alice' }, () => {
        throw new TypeError('own');
      }),
    ).toThrow('own');
    expect(currentActor()).toBeUndefined();
  });

  test('keeps concurrent work apart', async () => {
    const work = Array.from({ length: 50 }, (_, n) =>
      withActor({ id: `user-${n}` }, async () => {
        for (let turn = 0; turn < n % 7; turn++) await pause();
        return currentActor()?.id === `user-${n}`;
      }),
    );
    expect((await Promise.all(work)).every(Boolean)).toBe(true);
  });

  test('replaces the outer identity as a whole when it has an id, and inherits the rest', () => {
    const outer = {
      id: 'alice',
      type: 'user',
      name: 'Alice',
      session: 's',
      client: '10.0.0.7',
      app: 'api',
      request_id: 'r',
    };
    withActor(outer, () => {
      withActor({ id: 'nightly', type: 'job', request_id: undefined, batch: 7 }, () => {
        expect(currentActor()).toEqual({ id: 'nightly', type: 'job', client: '10.0.0.7', app: 'api', batch: 7 });
      });
      withActor({ reason: 'ticket 881', app: 'admin' }, () => {
        expect(currentActor()).toEqual({ ...outer, reason: 'ticket 881', app: 'admin' });
      });
      expect(currentActor()).toEqual(outer);
    });
  });

  test('takes a copy: what is done to the object later changes nothing', () => {
    const actor: { id: string } = { id: 'alice' };
    withActor(actor, () => {
      actor.id = 'mallory';
      expect(currentActor()?.id).toBe('alice');
    });
  });

  test('refuses what is no actor, and keys the message needs', () => {
    for (const wrong of [null, undefined, 'alice', ['alice'], { claim: 'x' }, { id: 'a', truncated: [] }]) {
      expect(() => withActor(wrong as never, () => 1)).toThrow(TypeError);
    }
  });

  test('starts a query that would wait to be awaited', async () => {
    const lazy = () => {
      const query = {
        // biome-ignore lint/suspicious/noThenProperty: what the query builders do.
        then: (resolve: (actor: unknown) => void) => resolve(currentActor()?.id),
      };
      return query as PromiseLike<unknown>;
    };
    expect(await withActor({ id: 'alice' }, lazy)).toBe('alice');
    expect(await withoutActor(lazy)).toBeUndefined();
  });
});

test('withActorFrom asks each time, and knows the outer actor while there is none', () => {
  let user: { id: string } | undefined;
  withActor({ app: 'api' }, () =>
    withActorFrom(
      () => user,
      () => {
        expect(currentActor()).toEqual({ app: 'api' });
        user = { id: 'alice' };
        expect(currentActor()).toEqual({ app: 'api', id: 'alice' });
        withActor({ reason: 'r' }, () => expect(currentActor()).toEqual({ app: 'api', id: 'alice', reason: 'r' }));
      },
    ),
  );
});

test('withoutActor runs with nobody acting', () => {
  withActor({ id: 'alice' }, () => {
    expect(withoutActor(() => currentActor())).toBeUndefined();
    expect(currentActor()?.id).toBe('alice');
  });
});

test('bindActor ties a callback to where it was made, also to nobody', () => {
  const emitter = new EventEmitter();
  const seen: unknown[] = [];
  withActor({ id: 'alice' }, () =>
    emitter.on(
      'it',
      bindActor(() => seen.push(currentActor()?.id)),
    ),
  );
  emitter.on(
    'it',
    bindActor(() => seen.push(currentActor()?.id)),
  );
  withActor({ id: 'bob' }, () => emitter.emit('it'));
  expect(seen).toEqual(['alice', undefined]);
});

test('two copies of the library in one process share the actor', async () => {
  vi.resetModules();
  const copy = (await import('../../src/context/scope.ts')) as { currentActor(): unknown };
  expect(copy.currentActor).not.toBe(currentActor);
  withActor({ id: 'alice' }, () => expect(copy.currentActor()).toEqual({ id: 'alice' }));
});
