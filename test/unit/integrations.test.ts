import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parser as logql } from '@grafana/lezer-logql';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { grafanaDashboard } from '../../scripts/integrations/grafana.ts';
import { searchIntegrations } from '../../scripts/integrations/search.ts';
import { KINDS } from '../../src/record/schema.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (path: string) => readFileSync(join(root, 'integrations', path), 'utf8');

function files(folder: string): string[] {
  return readdirSync(join(root, 'integrations', folder), { recursive: true })
    .map(String)
    .filter((name) => statSync(join(root, 'integrations', folder, name)).isFile());
}

describe('integrations', () => {
  test('every JSON and YAML file parses', () => {
    for (const file of files('.')) {
      if (file.endsWith('.json')) expect(() => JSON.parse(read(file)), file).not.toThrow();
      if (file.endsWith('.yaml')) expect(() => parse(read(file), { strict: true }), file).not.toThrow();
      if (file.endsWith('.ndjson')) for (const line of read(file).trimEnd().split('\n')) JSON.parse(line);
    }
  });

  test('generated ones are what their generators make', () => {
    expect(JSON.parse(read('grafana/dashboard.json'))).toEqual(grafanaDashboard());
    for (const [path, text] of Object.entries(searchIntegrations()))
      expect(readFileSync(join(root, path), 'utf8')).toBe(text);
  });

  test('name only kinds that there are', () => {
    const known = new Set<string>(KINDS);
    const texts = files('.')
      .filter((file) => !/LICENSE|README/.test(file))
      .map(read);
    const named = texts.flatMap((text) =>
      [...text.matchAll(/\bkind(?::\s*|=\\*"?)([a-z]+)/g)].map(([, kind]) => kind!),
    );
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((kind) => !known.has(kind) && kind !== 'event' && kind !== 'state')).toEqual([]);
  });
});

describe('Grafana', () => {
  interface Model {
    readonly panels: readonly {
      readonly id: number;
      readonly gridPos: Readonly<Record<'x' | 'y' | 'w' | 'h', number>>;
    }[];
  }

  test('panels have ids of their own, stay in 24 columns and do not overlap', () => {
    const { panels } = grafanaDashboard() as Model;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const [at, { gridPos: a }] of panels.entries()) {
      expect(a.x + a.w).toBeLessThanOrEqual(24);
      for (const { gridPos: b } of panels.slice(at + 1)) {
        const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
        expect(apart).toBe(true);
      }
    }
  });

  test('alert rules have the form that Loki’s ruler reads', () => {
    const rule = z.strictObject({
      alert: z.string().regex(/^[A-Z][A-Za-z]+$/),
      expr: z.string().min(1),
      for: z
        .string()
        .regex(/^\d+[smhd]$/)
        .optional(),
      labels: z.strictObject({ severity: z.enum(['info', 'warning', 'critical']) }),
      annotations: z.strictObject({ summary: z.string(), description: z.string().optional() }),
    });
    const group = z.strictObject({ name: z.string(), interval: z.string(), rules: z.array(rule).min(1) });
    const rules = z
      .strictObject({ namespace: z.string(), groups: z.array(group).min(1) })
      .parse(parse(read('grafana/alerts.yaml')));
    const names = rules.groups.flatMap((found) => found.rules.map(({ alert }) => alert));
    expect(new Set(names).size).toBe(names.length);
    for (const { expr } of rules.groups.flatMap((found) => found.rules)) expect(logqlFaults(expr), expr).toEqual([]);
  });

  test('every query of the dashboard is LogQL by Grafana’s own grammar', () => {
    const { panels } = grafanaDashboard() as { panels: { targets?: { expr: string }[] }[] };
    const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    expect(queries.length).toBeGreaterThan(5);
    for (const query of queries) expect(logqlFaults(query), query).toEqual([]);
  });

  test('the check itself finds faults', () => {
    expect(logqlFaults('sum by (source) (count_over_time({kind="gap"} | outcome="denied" [$__range])) > 0')).toEqual(
      [],
    );
    for (const query of [
      'sum(count_over_time({kind="gap"}[5m])',
      '{kind=gap}',
      '{kind="gap"} | = "x"',
      'rate({a="b"})',
    ]) {
      expect(logqlFaults(query), query).not.toEqual([]);
    }
  });
});

/** Where a query is not LogQL. Grafana fills its variables in before Loki sees the query. */
function logqlFaults(query: string): number[] {
  const faults: number[] = [];
  logql.parse(query.replaceAll(/\$__(range|auto|interval)/g, '5m')).iterate({
    enter: ({ type, from }) => {
      if (type.isError) faults.push(from);
    },
  });
  return faults;
}

describe('Splunk app', () => {
  const folder = 'splunk/changetrail';
  const stanzas = (file: string) => {
    const found = new Map<string, Map<string, string>>();
    let current = new Map<string, string>();
    for (const line of read(`${folder}/${file}`).split('\n')) {
      if (line === '' || line.startsWith('#')) continue;
      const header = /^\[(.*)\]$/.exec(line);
      if (header !== null) {
        current = new Map();
        expect(found.has(header[1]!), `${file}: ${line} twice`).toBe(false);
        found.set(header[1]!, current);
        continue;
      }
      const setting = /^([^=\s][^=]*?) = (.*)$/.exec(line);
      expect(setting, `${file}: ${line}`).not.toBeNull();
      expect(current.has(setting![1]!), `${file}: ${line} twice`).toBe(false);
      current.set(setting![1]!, setting![2]!);
    }
    return found;
  };

  test('its .conf files are stanzas of settings, none twice', () => {
    for (const file of files(folder)) if (/\.(conf|meta)$/.test(file)) expect(stanzas(file).size).toBeGreaterThan(0);
  });

  test('knows the sourcetype of the sink, and its alerts are off until somebody wants them', () => {
    expect(stanzas('default/props.conf').has('changetrail:record')).toBe(true);
    for (const search of stanzas('default/savedsearches.conf').values()) {
      expect(search.get('search')).toContain('`changetrail`');
      expect(search.get('enableSched') ?? '0').toBe('0');
    }
  });

  test('every event type that has tags exists', () => {
    const types = stanzas('default/eventtypes.conf');
    for (const name of stanzas('default/tags.conf').keys())
      expect(types.has(name.replace('eventtype=', ''))).toBe(true);
  });
});

test('the shippers read the ledger’s segments and neither skip long lines nor give up', () => {
  const fluent = parse(read('fluent-bit/fluent-bit.yaml'));
  const [input] = fluent.pipeline.inputs;
  expect(input).toMatchObject({ name: 'tail', read_from_head: true, skip_long_lines: false });
  expect(input.path).toMatch(/ledger\/segments\/\*\.ndjson$/);
  expect(fluent.pipeline.outputs[0].retry_limit).toBe('no_limits');
  expect(parse(read('fluent-bit/parsers.yaml')).parsers.map(({ name }: { name: string }) => name)).toContain(
    input.parser,
  );
  const vector = parse(read('vector/vector.yaml'));
  expect(vector.sources.changetrail).toMatchObject({ type: 'file', read_from: 'beginning' });
  for (const { inputs } of [
    ...Object.values<{ inputs: string[] }>(vector.transforms),
    ...Object.values<{ inputs: string[] }>(vector.sinks),
  ]) {
    for (const name of inputs) expect({ ...vector.sources, ...vector.transforms }).toHaveProperty(name);
  }
  expect(vector.sinks.siem.buffer.when_full).toBe('block');
});

test('Datadog’s processors have what each type needs, and facets lie on attributes of a record', () => {
  const { processors } = JSON.parse(read('datadog/pipeline.json')) as { processors: Record<string, unknown>[] };
  const needs: Record<string, string[]> = {
    'attribute-remapper': ['sources', 'target', 'source_type', 'target_type'],
    'string-builder-processor': ['template', 'target'],
  };
  // The sink leaves a time out that Datadog does not take; a remapper would put it back.
  expect(processors.map(({ type }) => type)).not.toContain('date-remapper');
  for (const processor of processors) {
    for (const key of needs[String(processor['type'])] ?? ['an unknown type']) expect(processor).toHaveProperty(key);
  }
  const { facets } = JSON.parse(read('datadog/facets.json')) as { facets: { path: string }[] };
  expect(facets.every(({ path }) => path.startsWith('@'))).toBe(true);
});
