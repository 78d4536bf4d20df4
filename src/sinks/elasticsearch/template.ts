// The index template, lifecycle and mappings for the records' data stream: what `changetrail setup` installs.
import type { Format } from '../../record/mappings/index.ts';

export interface SearchServer {
  readonly distribution: 'elasticsearch' | 'opensearch';
  /** `8.15.0` */
  readonly version: string;
}

/** A request that `setup` prints, and sends when told to. */
export interface SetupRequest {
  readonly path: string;
  readonly body: object;
}

export interface TemplateOptions {
  readonly dataStream: string;
  readonly format: Format;
  /** Days after which an index is removed; null: never. */
  readonly retentionDays: number | null;
}

const keyword = { type: 'keyword', ignore_above: 1024 } as const;
/** The longest indexed part of a term is 32,766 bytes. */
const long = { type: 'keyword', ignore_above: 8191 } as const;
const date = { type: 'date_nanos' } as const;

/** The requests in order: the lifecycle before the template that names it. */
export function setupRequests(server: SearchServer, options: TemplateOptions): SetupRequest[] {
  const name = options.dataStream;
  const lifecycle = lifecycleRequest(server, options);
  return [
    ...(lifecycle === null ? [] : [lifecycle]),
    {
      path: `/_index_template/${encodeURIComponent(name)}`,
      body: {
        index_patterns: [name],
        data_stream: {},
        // Above Elastic's built-in templates for logs-*-* (100).
        priority: 500,
        template: {
          settings: {
            ...(server.distribution === 'elasticsearch' && lifecycle !== null ? { 'index.lifecycle.name': name } : {}),
            'index.mapping.total_fields.limit': 2000,
          },
          mappings: mappings(server, options.format),
        },
        _meta: { description: 'Changetrail records' },
      },
    },
  ];
}

/** How values of any shape are mapped: `values` are searched, `details` are where long texts can stand. */
interface OpenTypes {
  readonly values: object;
  readonly details: object;
}

/** OpenSearch refuses a document with a text of more than 32,766 bytes in a flat_object; Elasticsearch leaves it unindexed. */
function openTypes(server: SearchServer): OpenTypes {
  if (server.distribution === 'opensearch') {
    return { values: { type: 'flat_object' }, details: { type: 'object', enabled: false } };
  }
  const flattened = { type: 'flattened', ignore_above: 8191 };
  return { values: flattened, details: flattened };
}

function mappings(server: SearchServer, format: Format): object {
  const types = openTypes(server);
  return {
    // A field nobody thought of must not make a record be refused: unknown texts become keywords.
    dynamic_templates: [{ texts: { match_mapping_type: 'string', mapping: keyword } }],
    date_detection: false,
    properties: { '@timestamp': date, ...(format === 'ecs' ? ecsProperties(types) : nativeProperties()) },
  };
}

function ecsProperties(types: OpenTypes): object {
  return {
    message: { type: 'match_only_text' },
    ecs: { properties: { version: keyword } },
    event: {
      properties: {
        id: long,
        sequence: { type: 'long' },
        kind: keyword,
        category: keyword,
        type: keyword,
        action: keyword,
        outcome: keyword,
        created: date,
        module: keyword,
        dataset: keyword,
        provider: keyword,
      },
    },
    client: { properties: { address: keyword, ip: { type: 'ip', ignore_malformed: true } } },
    source: { properties: { address: keyword, ip: { type: 'ip', ignore_malformed: true } } },
    changetrail: { properties: ownProperties(types) },
  };
}

/** As they stand, keys and values can be anything and not only objects: they are kept and not indexed. */
const UNINDEXED = { type: 'object', enabled: false } as const;

function nativeProperties(): object {
  const types: OpenTypes = { values: UNINDEXED, details: UNINDEXED };
  return {
    v: { type: 'byte' },
    index: { type: 'long' },
    id: long,
    time: date,
    captured: date,
    ...ownProperties(types),
  };
}

function ownProperties({ values, details }: OpenTypes): object {
  return {
    kind: keyword,
    action: keyword,
    outcome: keyword,
    changed: long,
    object: { properties: { key: values, old_key: values } },
    actor: { properties: { on_behalf_of: values } },
    context: values,
    missing: values,
    details,
    before: values,
    after: values,
  };
}

function lifecycleRequest(server: SearchServer, { dataStream, retentionDays }: TemplateOptions): SetupRequest | null {
  if (server.distribution === 'opensearch') return opensearchLifecycle(dataStream, retentionDays);
  const rollover = { max_primary_shard_size: '50gb', max_age: '30d' };
  return {
    path: `/_ilm/policy/${encodeURIComponent(dataStream)}`,
    body: {
      policy: {
        phases: {
          hot: { actions: { rollover } },
          ...(retentionDays === null ? {} : { delete: { min_age: `${retentionDays}d`, actions: { delete: {} } } }),
        },
      },
    },
  };
}

function opensearchLifecycle(dataStream: string, retentionDays: number | null): SetupRequest {
  const transitions =
    retentionDays === null ? [] : [{ state_name: 'delete', conditions: { min_index_age: `${retentionDays}d` } }];
  return {
    path: `/_plugins/_ism/policies/${encodeURIComponent(dataStream)}`,
    body: {
      policy: {
        description: 'Changetrail records',
        default_state: 'hot',
        states: [
          {
            name: 'hot',
            actions: [{ rollover: { min_primary_shard_size: '50gb', min_index_age: '30d' } }],
            transitions,
          },
          ...(retentionDays === null ? [] : [{ name: 'delete', actions: [{ delete: {} }], transitions: [] }]),
        ],
        ism_template: [{ index_patterns: [`.ds-${dataStream}-*`], priority: 500 }],
      },
    },
  };
}
