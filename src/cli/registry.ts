// The only file that names concrete connectors and sinks. Everything is imported when it is configured, not before: a driver
// that nobody asked for is never loaded.
import type { z } from 'zod';
import type { OptionCatalog } from '../config/load.ts';
import type { Connector, SourceHost } from '../core/connector.ts';
import type { Sink } from '../core/sink.ts';
import type { SinkHost } from '../sinks/shared/host.ts';

interface SourceEntry {
  readonly engine: 'postgres' | 'mongodb';
  options(): Promise<z.ZodType>;
  create(options: unknown, host: SourceHost): Promise<Connector>;
}

interface SinkEntry {
  options(): Promise<z.ZodType>;
  create(options: unknown, host: SinkHost): Promise<Sink>;
}

export const SOURCES: Readonly<Record<string, SourceEntry>> = {
  postgres: {
    engine: 'postgres',
    options: async () => (await import('../../connectors/postgres/options.ts')).postgresOptions,
    create: async (options, host) =>
      (await import('../../connectors/postgres/connector.ts')).createPostgresConnector(options as never, host),
  },
  mongodb: {
    engine: 'mongodb',
    options: async () => (await import('../../connectors/mongodb/options.ts')).mongodbOptions,
    create: async (options, host) =>
      (await import('../../connectors/mongodb/connector.ts')).createMongodbConnector(options as never, host),
  },
};

export const SINKS: Readonly<Record<string, SinkEntry>> = {
  stdout: {
    options: async () => (await import('../sinks/stdout.ts')).stdoutOptions,
    create: async (options, host) => (await import('../sinks/stdout.ts')).createStdoutSink(options as never, host),
  },
};

function catalog(entries: Readonly<Record<string, { options(): Promise<z.ZodType> }>>): OptionCatalog {
  return { types: Object.keys(entries), options: (type) => entries[type]!.options() };
}

export const CATALOGS = { sources: catalog(SOURCES), sinks: catalog(SINKS) };
