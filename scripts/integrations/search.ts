import { setupRequests } from '../../src/sinks/elasticsearch/template.ts';

// What `integrations/elasticsearch` and `integrations/opensearch` hold: the templates of the sink's own `setup`, as files,
// and one dashboard as saved objects, which Kibana and OpenSearch Dashboards share the form of.

const DATA_STREAM = 'logs-changetrail.records-default';
const PATTERN_ID = 'changetrail-records';

const SERVERS = {
  elasticsearch: { distribution: 'elasticsearch', version: '9.0.0' },
  opensearch: { distribution: 'opensearch', version: '3.0.0' },
} as const;

export interface Panel {
  readonly id: string;
  readonly title: string;
  /** KQL and DQL are the same here. */
  readonly query: string;
  readonly chart: 'metric' | 'histogram' | 'table' | 'pie';
  /** Field of the buckets; absent for a number. */
  readonly field?: string;
  /** Columns of 48, and the height. */
  readonly width: number;
  readonly height: number;
}

/** The questions of the overview, in reading order. */
export const PANELS: readonly Panel[] = [
  { id: 'changes', title: 'Changes', query: 'changetrail.kind: change', chart: 'metric', width: 12, height: 8 },
  { id: 'gaps', title: 'Gaps in the history', query: 'changetrail.kind: gap', chart: 'metric', width: 12, height: 8 },
  {
    id: 'unattributed',
    title: 'Changes nobody is known for',
    query: 'changetrail.kind: change and changetrail.actor.assurance: none',
    chart: 'metric',
    width: 12,
    height: 8,
  },
  { id: 'denied', title: 'Denied', query: 'changetrail.outcome: denied', chart: 'metric', width: 12, height: 8 },
  {
    id: 'over-time',
    title: 'Changes over time',
    query: 'changetrail.kind: change',
    chart: 'histogram',
    field: '@timestamp',
    width: 48,
    height: 12,
  },
  {
    id: 'actors',
    title: 'Who changes most',
    query: 'changetrail.kind: change',
    chart: 'table',
    field: 'user.id',
    width: 16,
    height: 14,
  },
  {
    id: 'tables',
    title: 'What changes most',
    query: 'changetrail.kind: change',
    chart: 'table',
    field: 'changetrail.object.table',
    width: 16,
    height: 14,
  },
  {
    id: 'assurance',
    title: 'How sure the actor is',
    query: 'changetrail.kind: change',
    chart: 'pie',
    field: 'changetrail.actor.assurance',
    width: 16,
    height: 14,
  },
  {
    id: 'ddl',
    title: 'Definitions changed',
    query: 'changetrail.kind: schema',
    chart: 'table',
    field: 'event.action',
    width: 24,
    height: 10,
  },
  {
    id: 'readers',
    title: 'Who read the trail',
    query: 'changetrail.kind: access',
    chart: 'table',
    field: 'user.id',
    width: 24,
    height: 10,
  },
];

/** Path from the project's root → content. */
export function searchIntegrations(): Record<string, string> {
  const files: Record<string, string> = {};
  for (const [name, server] of Object.entries(SERVERS)) {
    const options = { dataStream: DATA_STREAM, format: 'ecs', retentionDays: null } as const;
    for (const { path, body } of setupRequests(server, options)) {
      const file = path.includes('_index_template') ? 'index-template' : 'lifecycle-policy';
      files[`integrations/${name}/${file}.json`] = `${JSON.stringify(body, null, 2)}\n`;
    }
    const lines = savedObjects().map((object) => JSON.stringify(object));
    files[`integrations/${name}/dashboard.ndjson`] = `${lines.join('\n')}\n`;
  }
  return files;
}

interface SavedObject {
  readonly id: string;
  readonly type: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly references: readonly { readonly id: string; readonly name: string; readonly type: string }[];
}

function savedObjects(): SavedObject[] {
  const pattern: SavedObject = {
    id: PATTERN_ID,
    type: 'index-pattern',
    attributes: { title: DATA_STREAM, timeFieldName: '@timestamp' },
    references: [],
  };
  return [pattern, ...PANELS.map(visualization), changesSearch(), dashboard()];
}

const SOURCE_REFERENCE = 'kibanaSavedObjectMeta.searchSourceJSON.index';

function searchSource(query: string): { searchSourceJSON: string } {
  return {
    searchSourceJSON: JSON.stringify({
      query: { query, language: 'kuery' },
      filter: [],
      indexRefName: SOURCE_REFERENCE,
    }),
  };
}

const onPattern = [{ id: PATTERN_ID, name: SOURCE_REFERENCE, type: 'index-pattern' }];

function visualization({ id, title, query, chart, field }: Panel): SavedObject {
  const visState = { title, type: chart, params: PARAMS[chart], aggs: aggregations(chart, field) };
  return {
    id: `changetrail-${id}`,
    type: 'visualization',
    attributes: {
      title: `Changetrail: ${title}`,
      visState: JSON.stringify(visState),
      uiStateJSON: '{}',
      description: '',
      version: 1,
      kibanaSavedObjectMeta: searchSource(query),
    },
    references: onPattern,
  };
}

const COUNT = { id: '1', enabled: true, type: 'count', schema: 'metric', params: {} };

/** The aggregations of a visualization; exported for the test that runs them. */
export function aggregations(chart: Panel['chart'], field: string | undefined): object[] {
  if (field === undefined) return [COUNT];
  if (chart === 'histogram') {
    const params = { field, useNormalizedEsInterval: true, interval: 'auto', drop_partials: false, min_doc_count: 1 };
    return [COUNT, { id: '2', enabled: true, type: 'date_histogram', schema: 'segment', params }];
  }
  const params = { field, size: 20, order: 'desc', orderBy: '1', otherBucket: false, missingBucket: false };
  return [COUNT, { id: '2', enabled: true, type: 'terms', schema: chart === 'pie' ? 'segment' : 'bucket', params }];
}

const AXIS = { show: true, style: {}, scale: { type: 'linear' }, labels: { show: true, truncate: 100 }, title: {} };

const PARAMS: Readonly<Record<Panel['chart'], object>> = {
  metric: {
    addTooltip: true,
    addLegend: false,
    type: 'metric',
    metric: { percentageMode: false, colorSchema: 'Green to Red', metricColorMode: 'None', labels: { show: false } },
  },
  histogram: {
    type: 'histogram',
    grid: { categoryLines: false },
    categoryAxes: [{ id: 'CategoryAxis-1', type: 'category', position: 'bottom', ...AXIS }],
    valueAxes: [{ id: 'ValueAxis-1', name: 'LeftAxis-1', type: 'value', position: 'left', ...AXIS }],
    seriesParams: [
      { show: true, type: 'histogram', mode: 'stacked', data: { label: 'Count', id: '1' }, valueAxis: 'ValueAxis-1' },
    ],
    addTooltip: true,
    addLegend: false,
    legendPosition: 'right',
    times: [],
    addTimeMarker: false,
  },
  table: { perPage: 10, showPartialRows: false, showMetricsAtAllLevels: false, showTotal: false, totalFunc: 'sum' },
  pie: { type: 'pie', addTooltip: true, addLegend: true, legendPosition: 'right', isDonut: true },
};

function changesSearch(): SavedObject {
  const columns = [
    'user.id',
    'changetrail.actor.assurance',
    'event.action',
    'changetrail.object.table',
    'event.outcome',
  ];
  return {
    id: 'changetrail-search',
    type: 'search',
    attributes: {
      title: 'Changetrail: records',
      description: '',
      columns,
      sort: [['@timestamp', 'desc']],
      version: 1,
      kibanaSavedObjectMeta: searchSource(''),
    },
    references: onPattern,
  };
}

const COLUMNS = 48;

function dashboard(): SavedObject {
  const members = [
    ...PANELS.map(({ id, width, height }) => ({ id: `changetrail-${id}`, type: 'visualization', width, height })),
    { id: 'changetrail-search', type: 'search', width: COLUMNS, height: 20 },
  ];
  let x = 0;
  let y = 0;
  let rowHeight = 0;
  const panels = members.map(({ width, height }, at) => {
    if (x + width > COLUMNS) {
      x = 0;
      y += rowHeight;
      rowHeight = 0;
    }
    const gridData = { x, y, w: width, h: height, i: String(at) };
    x += width;
    rowHeight = Math.max(rowHeight, height);
    return { version: '7.10.0', gridData, panelIndex: String(at), embeddableConfig: {}, panelRefName: `panel_${at}` };
  });
  return {
    id: 'changetrail-overview',
    type: 'dashboard',
    attributes: {
      title: 'Changetrail',
      description: 'Who changed what, when, and where the trail has holes.',
      panelsJSON: JSON.stringify(panels),
      optionsJSON: JSON.stringify({ useMargins: true, hidePanelTitles: false }),
      timeRestore: true,
      timeFrom: 'now-24h',
      timeTo: 'now',
      version: 1,
      kibanaSavedObjectMeta: {
        searchSourceJSON: JSON.stringify({ query: { query: '', language: 'kuery' }, filter: [] }),
      },
    },
    references: members.map(({ id, type }, at) => ({ id, name: `panel_${at}`, type })),
  };
}
