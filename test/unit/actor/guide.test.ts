import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { actorOptions } from '../../../src/actor/options.ts';
import { stageWith } from './harness.ts';

const GUIDE = readFileSync(join(import.meta.dirname, '../../../docs/guides/actors.md'), 'utf8');
const blocks = (language: string) =>
  [...GUIDE.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map((block) => block[1]!);

describe('docs/guides/actors.md', () => {
  test('its configuration is valid', () => {
    const found = blocks('yaml').map((text) => (parse(text) as { actors: unknown }).actors);
    expect(found.length).toBeGreaterThanOrEqual(3);
    for (const actors of found) actorOptions.parse(actors);
  });

  test('its message is read as it says', () => {
    const message = /'changetrail', '(\{.*?\})'/.exec(blocks('sql')[0]!)![1]!;
    const { begin, say, change } = stageWith();
    begin();
    say('message', message);
    expect(change()).toEqual({
      actor: { id: 'alice@example.com', type: 'user', assurance: 'claimed', via: 'message' },
      context: { request_id: 'r-9' },
    });
  });

  test('every reason that the stage gives for a claim is explained', () => {
    const source = readFileSync(join(import.meta.dirname, '../../../src/actor/verifier.ts'), 'utf8');
    const reasons = [...source.matchAll(/^ {2}\| '(\w+)'/gm)].map((match) => `claim_${match[1]}`);
    expect(reasons.length).toBeGreaterThan(5);
    for (const reason of [...reasons, 'claim_malformed', 'session_forged', 'message_invalid'])
      expect(GUIDE).toContain(reason);
  });

  test('every option is explained by a description and an example', () => {
    const seen: string[] = [];
    const walk = (name: string, schema: unknown) => {
      const { description, properties, items, example } = schema as Record<string, unknown>;
      if (name !== '') {
        seen.push(name);
        expect(description, name).toBeTypeOf('string');
        expect(example, name).toBeDefined();
      }
      for (const [key, inner] of Object.entries((properties ?? {}) as object))
        walk(name === '' ? key : `${name}.${key}`, inner);
      if (items !== undefined && (items as { properties?: object }).properties !== undefined) {
        for (const [key, inner] of Object.entries((items as { properties: object }).properties))
          walk(`${name}[].${key}`, inner);
      }
    };
    walk('', actorOptions.toJSONSchema({ io: 'input' }));
    expect(seen).toContain('claims.keys[].algorithm');
  });
});
