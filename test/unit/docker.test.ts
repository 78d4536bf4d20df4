// What can be known of image and compose file without a Docker engine.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { validate } from 'dockerfile-utils';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { CATALOGS } from '../../src/cli/registry.ts';
import { loadConfiguration } from '../../src/config/load.ts';

const root = join(import.meta.dirname, '../..');
const composeFile = join(root, 'docker/compose.yaml');

interface Service {
  readonly image?: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: object;
  readonly environment?: Readonly<Record<string, string>>;
}

const compose = parse(readFileSync(composeFile, 'utf8')) as {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
};

describe('Dockerfile', () => {
  const text = readFileSync(join(root, 'docker/Dockerfile'), 'utf8');

  test('has only valid instructions', () => {
    expect(validate(text).map((problem) => problem.message)).toEqual([]);
  });

  test('copies only files that are there and not ignored', () => {
    const ignored = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n').filter(Boolean);
    const sources = [...text.matchAll(/^COPY (?!--from)(.+)$/gm)].flatMap((match) => match[1]!.split(' ').slice(0, -1));
    expect(sources.length).toBeGreaterThan(5);
    for (const source of sources) {
      expect(existsSync(join(root, source)), source).toBe(true);
      expect(ignored).not.toContain(source.replace(/^\.\//, ''));
    }
  });

  test('ends as a user without rights, in several stages', () => {
    const lastStage = text.slice(text.lastIndexOf('\nFROM '));
    expect(lastStage).toMatch(/^USER node$/m);
    expect(text.match(/^FROM /gm)!.length).toBe(3);
  });

  test('starts the program that package.json names', () => {
    const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { bin: { changetrail: string } };
    expect(text).toContain(`/app/${bin.changetrail}`);
  });
});

describe('compose file', () => {
  test('mounts only files that are there, and declares its volumes', () => {
    for (const service of Object.values(compose.services)) {
      for (const volume of service.volumes ?? []) {
        const source = volume.split(':')[0]!;
        if (source.startsWith('.')) expect(existsSync(resolve(dirname(composeFile), source)), source).toBe(true);
        else expect(Object.keys(compose.volumes)).toContain(source);
      }
    }
  });

  test('waits for health checks that exist', () => {
    for (const service of Object.values(compose.services)) {
      for (const [name, { condition }] of Object.entries(service.depends_on ?? {})) {
        expect(condition).toBe('service_healthy');
        expect(compose.services[name]?.healthcheck).toBeDefined();
      }
    }
  });

  test('builds the Dockerfile, and its configuration is one the product takes', async () => {
    const service = compose.services['changetrail']!;
    expect(existsSync(resolve(dirname(composeFile), service.build!.context, service.build!.dockerfile))).toBe(true);
    const configuration = await loadConfiguration(join(root, 'docker/changetrail.yaml'), CATALOGS, service.environment);
    expect(Object.keys(configuration.sources)).toEqual(['shop', 'docs']);
  });
});
