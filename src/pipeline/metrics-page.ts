// The figures of a running trail in Prometheus' text format, at http://…/metrics; /health answers whether capture is alive.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Gauge, Registry } from 'prom-client';
import type { ActorSnapshot } from '../actor/metrics.ts';
import type { SourceMetrics } from '../core/connector.ts';
import { AuditError, messageOf } from '../errors/audit-error.ts';
import type { SinkStatus } from './delivery/metrics.ts';

/** What the page is made from, asked for at each look. */
export interface TrailFigures {
  readonly ledgerNext: number;
  readonly ledgerFailed: boolean;
  readonly sources: ReadonlyMap<string, SourceMetrics>;
  readonly actors: ReadonlyMap<string, ActorSnapshot>;
  readonly sinks: ReadonlyMap<string, SinkStatus>;
}

export interface MetricsPage {
  /** Where it listens, for a log line and for tests that ask for any free port. */
  readonly address: AddressInfo;
  close(): Promise<void>;
}

/** Listens on `host:port`. @throws AUD_CONFIG_INVALID when that is not possible. */
export async function startMetricsPage(listen: string, figures: () => TrailFigures): Promise<MetricsPage> {
  const registry = trailRegistry(figures);
  const server = createServer(async (request, response) => {
    if (request.url === '/health') {
      const failed = figures().ledgerFailed;
      response.writeHead(failed ? 503 : 200).end(failed ? 'ledger failed\n' : 'ok\n');
    } else if (request.url === '/metrics') {
      response.setHeader('content-type', registry.contentType);
      response.end(await registry.metrics());
    } else {
      response.writeHead(404).end();
    }
  });
  const colon = listen.lastIndexOf(':');
  await listening(server, Number(listen.slice(colon + 1)), listen.slice(0, colon));
  return {
    address: server.address() as AddressInfo,
    close: () => new Promise((resolve) => server.close(() => resolve()).closeAllConnections()),
  };
}

function listening(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new AuditError('AUD_CONFIG_INVALID', {
          message: `metrics.listen: cannot listen on ${host}:${port}: ${messageOf(cause)}.`,
          action: 'Name a free port of this machine.',
          cause,
        }),
      );
    });
    server.listen(port, host, () => resolve());
  });
}

/** Every figure is read when the page is asked for: counting costs the capture nothing. */
function trailRegistry(figures: () => TrailFigures): Registry {
  const registry = new Registry();
  const gauge = <Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    collect: (set: (labels: Record<Label, string>, value: number) => void, now: TrailFigures) => void,
  ) => {
    new Gauge<Label>({
      name: `changetrail_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        collect((labels, value) => this.set(labels as Partial<Record<Label, string>>, value), figures());
      },
    });
  };
  gauge('ledger_records', 'Durable records in the ledger.', [], (set, now) => set({}, now.ledgerNext));
  gauge('source_up', '1 while the source is streamed.', ['source'], (set, now) => {
    for (const [source, m] of now.sources) set({ source }, m.state === 'streaming' ? 1 : 0);
  });
  gauge('source_changes', 'Changes captured since the start of the process.', ['source'], (set, now) => {
    for (const [source, m] of now.sources) set({ source }, m.changes);
  });
  gauge('source_lag_seconds', 'Time from the last commit seen to its capture.', ['source'], (set, now) => {
    for (const [source, m] of now.sources) set({ source }, m.lagMs / 1000);
  });
  gauge('actor_changes', 'Changes by how sure their actor is.', ['source', 'table', 'assurance'], (set, now) => {
    for (const [source, { tables }] of now.actors) {
      for (const [table, { role_only: _, ...counts }] of Object.entries(tables)) {
        for (const [assurance, count] of Object.entries(counts)) set({ source, table, assurance }, count);
      }
    }
  });
  gauge(
    'actor_role_only_changes',
    'Of these: only a shared database role is known.',
    ['source', 'table'],
    (set, now) => {
      for (const [source, { tables }] of now.actors) {
        for (const [table, counts] of Object.entries(tables)) set({ source, table }, counts.role_only);
      }
    },
  );
  gauge(
    'application_changes_without_actor',
    'Changes of an application that name nobody, or only a shared database role.',
    ['source', 'application'],
    (set, now) => {
      for (const [source, { applications }] of now.actors) {
        for (const [application, counts] of Object.entries(applications)) {
          set({ source, application }, counts.without_actor);
        }
      }
    },
  );
  gauge('actor_reasons', 'Messages and claims that were not taken as they were.', ['source', 'reason'], (set, now) => {
    for (const [source, { reasons }] of now.actors) {
      for (const [reason, count] of Object.entries(reasons)) set({ source, reason }, count);
    }
  });
  gauge('sink_lag_records', 'Records of the ledger a sink has not delivered.', ['sink'], (set, now) => {
    for (const [sink, status] of now.sinks) set({ sink }, status.lagRecords);
  });
  gauge('sink_lag_seconds', 'Age of the oldest record that is not delivered.', ['sink'], (set, now) => {
    for (const [sink, status] of now.sinks) set({ sink }, status.lagMs / 1000);
  });
  gauge('sink_records', 'Records a receiver took since the start of the process.', ['sink'], (set, now) => {
    for (const [sink, status] of now.sinks) set({ sink }, status.records);
  });
  gauge('sink_dead_letters', 'Records a receiver refused for good.', ['sink'], (set, now) => {
    for (const [sink, status] of now.sinks) set({ sink }, status.deadLetters);
  });
  gauge('sink_removed', 'Records that retention removed before they were delivered.', ['sink'], (set, now) => {
    for (const [sink, status] of now.sinks) set({ sink }, status.removed);
  });
  gauge('sink_up', '1 while the receiver takes records.', ['sink'], (set, now) => {
    for (const [sink, status] of now.sinks) set({ sink }, status.state === 'running' ? 1 : 0);
  });
  return registry;
}
