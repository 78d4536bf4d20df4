import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { aggregations, PANELS } from '../../scripts/integrations/search.ts';
import { toEcs } from '../../src/record/mappings/ecs.ts';
import { Receiver, receiverMissing } from '../support/receivers.ts';
import { sampleRecords } from '../support/sample-records.ts';

const STREAM = 'logs-changetrail.records-default';
const file = (name: string) => readFileSync(new URL(`../../integrations/opensearch/${name}`, import.meta.url), 'utf8');

interface Saved {
  readonly id: string;
  readonly type: string;
  readonly attributes: { readonly title: string; readonly visState?: string; readonly panelsJSON?: string };
  readonly references: readonly { readonly id: string; readonly name: string; readonly type: string }[];
}

interface Hit {
  readonly _id: string;
  readonly fields?: Readonly<Record<string, readonly string[]>>;
}

/** The parts of OpenSearch's answers that are looked at. */
interface Answer {
  readonly items: readonly { readonly create: { readonly error?: unknown } }[];
  readonly hits: { readonly total: { readonly value: number }; readonly hits: readonly Hit[] };
  readonly aggregations: { readonly found: { readonly buckets: readonly unknown[] } };
}

// A JVM that takes half a minute to start: only on request, as with the elasticsearch sink.
describe.skipIf(process.env['CHANGETRAIL_SINKS'] !== 'all' || (await receiverMissing('opensearch')))(
  'OpenSearch takes what integrations/opensearch has',
  () => {
    let server: Receiver;
    const call = async (method: string, path: string, body?: string) => {
      const init = { method, ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } }) };
      const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, init);
      return { status: answer.status, body: (await answer.json()) as Answer };
    };

    beforeAll(async () => {
      server = await Receiver.start('opensearch');
      const made = await call('PUT', '/_index_template/changetrail', file('index-template.json'));
      expect(made).toMatchObject({ status: 200 });
      const documents = sampleRecords().flatMap((record) => [{ create: { _id: record.id } }, toEcs(record)]);
      const lines = documents.map((document) => `${JSON.stringify(document)}\n`).join('');
      const { body } = await call('POST', `/${STREAM}/_bulk?refresh=true`, lines);
      expect(body.items.map((item) => item.create.error).filter(Boolean)).toEqual([]);
    });
    afterAll(() => server?.[Symbol.asyncDispose]());

    test('every kind of record is in the data stream, with its time to the microsecond', async () => {
      const format = 'strict_date_optional_time_nanos';
      const search = JSON.stringify({ size: 100, docvalue_fields: [{ field: '@timestamp', format }] });
      const { body } = await call('POST', `/${STREAM}/_search`, search);
      expect(body.hits.total.value).toBe(sampleRecords().length);
      const found = body.hits.hits.find(({ _id }) => _id === 'shop:0/1A2B3C8:0');
      expect(found?.fields?.['@timestamp']).toEqual(['2026-11-24T10:00:00.123456Z']);
    });

    test('values of before and after are searchable without a field of their own each', async () => {
      const query = { query: { term: { 'changetrail.after.email': 'b@example.com' } } };
      const { body } = await call('POST', `/${STREAM}/_search`, JSON.stringify(query));
      expect(body.hits.hits.map(({ _id }) => _id)).toEqual(['shop:0/1A2B3C8:1']);
    });

    test.each(PANELS.map((panel) => [panel.id, panel] as const))('panel %s counts something', async (_id, panel) => {
      const must = panel.query.split(' and ').map((part) => {
        const [field, value] = part.split(': ') as [string, string];
        return { term: { [field]: value } };
      });
      const [, bucket] = aggregations(panel.chart, panel.field) as { type: string }[];
      const { field } = panel;
      const kinds = {
        terms: { terms: { field, size: 20 } },
        date_histogram: { date_histogram: { field, fixed_interval: '1h', min_doc_count: 1 } },
      } as const;
      const aggs = bucket === undefined ? {} : { aggs: { found: kinds[bucket.type as keyof typeof kinds] } };
      const request = JSON.stringify({ size: 0, query: { bool: { must } }, ...aggs });
      const { status, body } = await call('POST', `/${STREAM}/_search`, request);
      expect(status, JSON.stringify(body)).toBe(200);
      expect(body.hits.total.value).toBeGreaterThan(0);
      if (bucket !== undefined) expect(body.aggregations.found.buckets.length).toBeGreaterThan(0);
    });
  },
);

test.each(['elasticsearch', 'opensearch'])('the saved objects of %s refer to nothing that is not there', (name) => {
  const url = new URL(`../../integrations/${name}/dashboard.ndjson`, import.meta.url);
  const objects = readFileSync(url, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Saved);
  const known = new Set(objects.map(({ type, id }) => `${type}/${id}`));
  for (const { references } of objects) for (const { type, id } of references) expect(known).toContain(`${type}/${id}`);
  const dashboard = objects.find(({ type }) => type === 'dashboard');
  const panels = JSON.parse(dashboard?.attributes.panelsJSON ?? '[]') as { panelRefName: string }[];
  expect(panels.map(({ panelRefName }) => panelRefName)).toEqual(
    dashboard?.references.map((reference) => reference.name),
  );
  for (const { attributes } of objects) if (attributes.visState !== undefined) JSON.parse(attributes.visState);
});
