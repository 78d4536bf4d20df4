import { randomUUID } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { type MongodbOptions, mongodbOptions } from '../../../connectors/mongodb/options.ts';
import { type AuditRecord, beginCapture, type TrailCapture, TrailRun } from '../../support/trail-run.ts';

export type { AuditRecord } from '../../support/trail-run.ts';

/** Database whose documents mark places in the stream. Captured beside the wanted collections, left out of the answers. */
const MARKER_DATABASE = 'changetrail_marker';
const MARKER_COLLECTION = 'changetrail_marks';

export interface CaptureOptions {
  /** URL of a user who may write the marker. */
  readonly url: string;
  /** URL the product logs in with; default `url`. */
  readonly as?: string;
  readonly source: Partial<Omit<MongodbOptions, 'type' | 'url'>> & { readonly collections: string[] };
  /** More of the configuration: `actors`, `ledger`, `capture`. */
  readonly configuration?: object;
  /** Data directory to go on with; default: one of its own, removed at the end. */
  readonly data?: string;
  /** Resolve at once instead of when the stream is open: for captures that are to fail or wait. */
  readonly waitForStream?: boolean;
  /** Database of the markers; for `scope: database` it must be the captured one. */
  readonly markerDatabase?: string;
}

/** The whole program on one MongoDB deployment; a later start may have other options. */
export type Capture = TrailCapture<[source?: Partial<Omit<MongodbOptions, 'type'>>] | []>;

/** Captures the deployment until disposed. */
export async function startCapture(options: CaptureOptions): Promise<Capture> {
  const { url, data, configuration } = options;
  const database = options.markerDatabase ?? MARKER_DATABASE;
  const isMarker = ({ object }: AuditRecord) => object.database === database && object.collection === MARKER_COLLECTION;
  const run = await TrailRun.prepare({ data, configuration, isMarker });

  const start = async (more: Partial<Omit<MongodbOptions, 'type'>> = {}) => {
    const source = mongodbOptions.parse({
      type: 'mongodb',
      url: options.as ?? url,
      users_interval: 5,
      ...options.source,
      ...more,
      collections: [...(more.collections ?? options.source.collections), `${database}.${MARKER_COLLECTION}`],
    });
    const before = run.log.count('opened');
    await run.launch('docs', source);
    if (options.waitForStream === false) return;
    await run.wait(() => run.log.count('opened') > before, 'the stream to be opened');
  };

  const catchUp = async () => {
    const id = randomUUID();
    await using client = new MongoClient(url);
    const marks = client.db(database).collection<{ _id: string }>(MARKER_COLLECTION);
    await marks.insertOne({ _id: id }, { writeConcern: { w: 'majority' } });
    const isMark = (record: AuditRecord) =>
      isMarker(record) && (record.object.key as { _id?: string } | undefined)?._id === id;
    await run.wait(() => run.all().findLast(isMark), 'the marker to be in the ledger');
  };
  return beginCapture<[source?: Partial<Omit<MongodbOptions, 'type'>>]>({
    run,
    start,
    catchUp,
    nameOf: (record) => record.object.collection,
  });
}
