// The only file that names concrete connectors and sinks. Everything is imported when it is configured, not before: a driver
// that nobody asked for is never loaded.
import type { z } from 'zod';
import { beside } from '../beside.ts';
import type { OptionCatalog } from '../config/load.ts';
import type { Connector, SourceHost } from '../core/connector.ts';
import type { Sink } from '../core/sink.ts';
import type { SinkHost } from '../sinks/shared/host.ts';
import { installed } from '../sinks/shared/installed.ts';

interface SourceEntry {
  readonly engine: 'postgres' | 'mongodb';
  options(): Promise<z.ZodType>;
  /** Loads what `create` needs, the driver above all; `create` does it when nobody asked before. */
  load(): Promise<unknown>;
  create(options: unknown, host: SourceHost): Promise<Connector>;
}

interface SinkEntry {
  options(): Promise<z.ZodType>;
  create(options: unknown, host: SinkHost): Promise<Sink>;
}

const postgres = () => import('../../connectors/postgres/connector.ts');
const mongodb = () => import('../../connectors/mongodb/connector.ts');

export const SOURCES: Readonly<Record<string, SourceEntry>> = {
  postgres: {
    engine: 'postgres',
    options: async () => (await import('../../connectors/postgres/options.ts')).postgresOptions,
    load: postgres,
    create: async (options, host) => (await postgres()).createPostgresConnector(options as never, host),
  },
  mongodb: {
    engine: 'mongodb',
    options: async () => (await import('../../connectors/mongodb/options.ts')).mongodbOptions,
    load: mongodb,
    create: async (options, host) => (await mongodb()).createMongodbConnector(options as never, host),
  },
};

export const SINKS: Readonly<Record<string, SinkEntry>> = {
  stdout: {
    options: async () => (await import('../sinks/stdout.ts')).stdoutOptions,
    create: async (options, host) => (await import('../sinks/stdout.ts')).createStdoutSink(options as never, host),
  },
  file: {
    options: async () => (await import('../sinks/file.ts')).fileOptions,
    create: async (options, host) => (await import('../sinks/file.ts')).createFileSink(options as never, host),
  },
  http: {
    options: async () => (await import('../sinks/http.ts')).httpOptions,
    create: async (options, host) => (await import('../sinks/http.ts')).createHttpSink(options as never, host),
  },
  splunk_hec: {
    options: async () => (await import('../sinks/splunk-hec/sink.ts')).splunkHecOptions,
    create: async (options, host) =>
      (await import('../sinks/splunk-hec/sink.ts')).createSplunkHecSink(options as never, host),
  },
  elasticsearch: {
    options: async () => (await import('../sinks/elasticsearch/sink.ts')).elasticsearchOptions,
    create: async (options, host) =>
      (await import('../sinks/elasticsearch/sink.ts')).createElasticsearchSink(options as never, host),
  },
  datadog: {
    options: async () => (await import('../sinks/datadog/sink.ts')).datadogOptions,
    create: async (options, host) =>
      (await import('../sinks/datadog/sink.ts')).createDatadogSink(options as never, host),
  },
  loki: {
    options: async () => (await import('../sinks/loki/sink.ts')).lokiOptions,
    create: async (options, host) => (await import('../sinks/loki/sink.ts')).createLokiSink(options as never, host),
  },
  kafka: {
    options: async () => (await import('../sinks/kafka/options.ts')).kafkaOptions,
    create: async (options, host) =>
      (await installed(() => import('../sinks/kafka/sink.ts'))).createKafkaSink(options as never, host),
  },
  nats: {
    options: async () => (await import('../sinks/nats/options.ts')).natsOptions,
    create: async (options, host) =>
      (await installed(() => import('../sinks/nats/sink.ts'))).createNatsSink(options as never, host),
  },
  s3: {
    options: async () => (await import('../sinks/s3/options.ts')).s3Options,
    create: async (options, host) =>
      (await installed(() => import('../sinks/s3/sink.ts'))).createS3Sink(options as never, host),
  },
  syslog: {
    options: async () => (await import('../sinks/syslog/options.ts')).syslogOptions,
    create: async (options, host) => (await import('../sinks/syslog/sink.ts')).createSyslogSink(options as never, host),
  },
  otlp: {
    options: async () => (await import('../sinks/otlp/options.ts')).otlpOptions,
    create: async (options, host) =>
      (await installed(() => import('../sinks/otlp/sink.ts'))).createOtlpSink(options as never, host),
  },
};

function catalog(entries: Readonly<Record<string, { options(): Promise<z.ZodType> }>>): OptionCatalog {
  return { types: Object.keys(entries), options: (type) => entries[type]!.options() };
}

export const CATALOGS = { sources: catalog(SOURCES), sinks: catalog(SINKS) };

/** This module, for the threads that sinks run in. */
export const REGISTRY_URL = beside(import.meta.url, 'registry').href;
