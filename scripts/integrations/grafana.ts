// The Grafana dashboard for records in Loki. The labels are those of the loki sink: source, kind, action; everything else
// is structured metadata, or in the line.

const DATASOURCE = { type: 'loki', uid: '${datasource}' };
const STREAM = '{source=~"$source"}';
const CHANGES = '{source=~"$source", kind="change"}';

interface Panel {
  readonly title: string;
  readonly type: 'stat' | 'timeseries' | 'table' | 'logs';
  readonly expr: string;
  readonly width: number;
  readonly height: number;
  readonly legend?: string;
  /** A number that should be 0. */
  readonly alarming?: boolean;
}

const PANELS: readonly Panel[] = [
  { title: 'Changes', type: 'stat', expr: `sum(count_over_time(${CHANGES} [$__range]))`, width: 6, height: 4 },
  {
    title: 'Gaps in the history',
    type: 'stat',
    expr: 'sum(count_over_time({source=~"$source", kind="gap"} [$__range]))',
    width: 6,
    height: 4,
    alarming: true,
  },
  {
    title: 'Changes nobody is known for',
    type: 'stat',
    expr: `sum(count_over_time(${CHANGES} | assurance="none" [$__range]))`,
    width: 6,
    height: 4,
  },
  {
    title: 'Denied',
    type: 'stat',
    expr: `sum(count_over_time(${STREAM} | outcome="denied" [$__range]))`,
    width: 6,
    height: 4,
    alarming: true,
  },
  {
    title: 'Changes by action',
    type: 'timeseries',
    expr: `sum by (action) (count_over_time(${CHANGES} [$__auto]))`,
    legend: '{{action}}',
    width: 24,
    height: 8,
  },
  {
    title: 'Who changes most',
    type: 'table',
    expr: `topk(20, sum by (actor) (count_over_time(${CHANGES} [$__range])))`,
    width: 12,
    height: 8,
  },
  {
    title: 'What changes most',
    type: 'table',
    expr: `topk(20, sum by (object) (count_over_time(${CHANGES} [$__range])))`,
    width: 12,
    height: 8,
  },
  { title: 'Definitions changed', type: 'logs', expr: '{source=~"$source", kind="schema"}', width: 12, height: 10 },
  { title: 'Who read the trail', type: 'logs', expr: '{kind="access"}', width: 12, height: 10 },
  { title: 'Records', type: 'logs', expr: STREAM, width: 24, height: 14 },
];

const COLUMNS = 24;

/** The dashboard's model, as Grafana 10 and later import it. */
export function grafanaDashboard(): object {
  return {
    uid: 'changetrail',
    title: 'Changetrail',
    tags: ['audit', 'changetrail'],
    schemaVersion: 39,
    editable: true,
    refresh: '30s',
    time: { from: 'now-24h', to: 'now' },
    timezone: 'utc',
    templating: {
      list: [
        { name: 'datasource', label: 'Loki', type: 'datasource', query: 'loki', current: {}, hide: 0 },
        {
          name: 'source',
          label: 'Source',
          type: 'query',
          datasource: DATASOURCE,
          query: { label: 'source', stream: '', type: 1, refId: 'source' },
          includeAll: true,
          allValue: '.+',
          multi: true,
          refresh: 2,
          sort: 1,
          current: { selected: true, text: ['All'], value: ['$__all'] },
        },
      ],
    },
    annotations: {
      list: [
        {
          name: 'Gaps',
          enable: true,
          datasource: DATASOURCE,
          expr: '{kind="gap"}',
          iconColor: 'red',
          titleFormat: 'Gap',
          textFormat: '{{source}}',
        },
      ],
    },
    panels: placed(),
  };
}

function placed(): object[] {
  let x = 0;
  let y = 0;
  let rowHeight = 0;
  return PANELS.map((panel, at) => {
    if (x + panel.width > COLUMNS) {
      x = 0;
      y += rowHeight;
      rowHeight = 0;
    }
    const gridPos = { x, y, w: panel.width, h: panel.height };
    x += panel.width;
    rowHeight = Math.max(rowHeight, panel.height);
    return { id: at + 1, title: panel.title, type: panel.type, datasource: DATASOURCE, gridPos, ...content(panel) };
  });
}

function content({ type, expr, legend, alarming }: Panel): object {
  const queryType = type === 'timeseries' || type === 'logs' ? 'range' : 'instant';
  const targets = [
    {
      refId: 'A',
      datasource: DATASOURCE,
      editorMode: 'code',
      expr,
      queryType,
      ...(legend === undefined ? {} : { legendFormat: legend }),
    },
  ];
  if (type === 'logs') {
    const options = {
      showTime: true,
      wrapLogMessage: true,
      enableLogDetails: true,
      sortOrder: 'Descending',
      dedupStrategy: 'none',
    };
    return { targets, options };
  }
  if (type === 'table') {
    const hide = { excludeByName: { Time: true }, renameByName: { 'Value #A': 'Changes' } };
    return {
      targets,
      transformations: [{ id: 'organize', options: hide }],
      fieldConfig: { defaults: {}, overrides: [] },
    };
  }
  if (type === 'timeseries') {
    const custom = { drawStyle: 'bars', fillOpacity: 60, stacking: { mode: 'normal', group: 'A' } };
    return { targets, fieldConfig: { defaults: { custom, unit: 'short' }, overrides: [] } };
  }
  const steps = [{ color: 'green', value: null }, ...(alarming === true ? [{ color: 'red', value: 1 }] : [])];
  const defaults = { noValue: '0', unit: 'short', thresholds: { mode: 'absolute', steps } };
  const options = {
    colorMode: 'value',
    graphMode: 'none',
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
  };
  return { targets, fieldConfig: { defaults, overrides: [] }, options };
}
