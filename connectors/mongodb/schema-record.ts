// Changes of definitions as records: collections, indexes, views, databases, sharding.
import type { ActorStage } from '../../src/core/actor.ts';
import type { SourceOutput } from '../../src/core/output.ts';
import { type ByteWriter, fragment } from '../../src/record/byte-writer.ts';
import { OUTCOME_SUCCESS } from '../../src/record/envelope.ts';
import type { BsonJson } from './bson/json.ts';
import { BSON, findElement, stringAt } from './bson/layout.ts';
import { ABSENT, type EventView } from './events.ts';
import type { ImageState } from './image-state.ts';
import type { Namespace, Namespaces } from './namespaces.ts';
import type { RecordParts } from './record-parts.ts';

const BEFORE = fragment(',"before":');
const AFTER = fragment(',"after":');
const OBJECT_END = 0x7d;

/** Member of `source` that marks the record of an overwritten collection: the rename itself follows with the same ordinal. */
export const OVERWRITTEN_PART = ',"part":1';

/** What a record says is missing, and why. */
type Missing = Readonly<Record<string, string>>;

/** The documents that were there have no delete events. */
const DOCUMENTS_MISSING = { documents: 'dropped_without_delete_events' };
/** A collection came in under a captured name, or left: its documents have no events of that. */
const DOCUMENTS_CAME = { documents: 'renamed_without_insert_events' };
const DOCUMENTS_WENT = { documents: 'renamed_without_delete_events' };
/** Inserts into a time-series collection have no events. */
const TIME_SERIES_MISSING = { documents: 'time_series_not_in_change_stream' };

export interface SchemaRecordOptions {
  readonly output: SourceOutput;
  readonly actors: ActorStage;
  readonly parts: RecordParts;
  readonly json: BsonJson;
  readonly namespaces: Namespaces;
  readonly images: ImageState;
}

export class SchemaRecords {
  readonly #options: SchemaRecordOptions;

  constructor(options: SchemaRecordOptions) {
    this.#options = options;
  }

  /**
   * Writes the event as one record, a rename onto an existing collection as two. `skipPart` leaves out the first of the
   * two, which the ledger has already. False when the event is about nothing that is captured.
   */
  write(event: EventView, namespace: Namespace, seq: number, skipPart: boolean): boolean {
    const { namespaces } = this.#options;
    const target = event.to === ABSENT ? null : namespaces.at(event.bytes, event.to);
    const wanted = namespace.captured || target?.captured === true;
    if (wanted) {
      if (target?.captured === true && !skipPart && dropTarget(event) !== null) this.#overwritten(event, target, seq);
      this.#record(event, namespace, target, seq);
    }
    this.#follow(event, namespace, target);
    return wanted;
  }

  #record(event: EventView, namespace: Namespace, target: Namespace | null, seq: number): void {
    const { output, json } = this.#options;
    const missing = missingOf(event, namespace, target);
    this.#body(output.begin(), event, namespace, seq, missing, false);
    if (json.odd) {
      output.abort();
      this.#body(output.begin(), event, namespace, seq, missing, true);
    }
    output.end();
  }

  #body(
    out: ByteWriter,
    event: EventView,
    namespace: Namespace,
    seq: number,
    missing: Missing | null,
    exact: boolean,
  ): void {
    const { parts, json, actors } = this.#options;
    const { bytes } = event;
    json.begin(out, exact);
    parts.write(out, namespace, seq, 'schema');
    out.ascii('},"action":');
    out.json(event.operation);
    this.#object(out, namespace, event.uuid === ABSENT ? null : uuidText(bytes, event.uuid));
    out.bytes(actors.fragment());
    out.bytes(OUTCOME_SUCCESS);
    if (missing !== null) {
      out.ascii(',"missing":');
      out.json(missing);
    }
    if (event.state !== ABSENT) {
      out.bytes(BEFORE);
      json.document(bytes, event.state);
    }
    if (event.description !== ABSENT) {
      out.bytes(AFTER);
      json.document(bytes, event.description);
    } else if (event.to !== ABSENT) {
      out.ascii(',"after":{"to":');
      json.document(bytes, event.to);
      out.byte(OBJECT_END);
    }
    out.byte(OBJECT_END);
  }

  /** The collection that a rename replaced: dropped, and its documents with it. */
  #overwritten(event: EventView, target: Namespace, seq: number): void {
    const { output, parts, actors } = this.#options;
    const out = output.begin();
    parts.write(out, target, seq, 'schema', ':dropped', OVERWRITTEN_PART);
    out.ascii('},"action":"drop"');
    this.#object(out, target, dropTarget(event));
    out.bytes(actors.fragment());
    out.bytes(OUTCOME_SUCCESS);
    out.ascii(',"missing":');
    out.json(DOCUMENTS_MISSING);
    out.byte(OBJECT_END);
    output.end();
  }

  #object(out: ByteWriter, namespace: Namespace, uuid: string | null): void {
    const { database, collection } = namespace;
    out.ascii(',"object":');
    out.json({ database, ...(collection === '' ? {} : { collection }), ...(uuid === null ? {} : { uuid }) });
  }

  /** Keeps what is known of images in step with the stream. */
  #follow(event: EventView, namespace: Namespace, target: Namespace | null): void {
    const { images, namespaces } = this.#options;
    const { database, collection } = namespace;
    switch (event.operation) {
      case 'dropDatabase':
        images.dropDatabase(database);
        break;
      case 'drop':
        images.drop(database, collection);
        break;
      case 'rename':
        if (target !== null) images.rename([database, collection], [target.database, target.collection]);
        break;
      default: {
        const on = imagesEnabled(event);
        if (on !== null) images.set(database, collection, on);
      }
    }
    if (images.changed) namespaces.refresh();
  }
}

function imagesEnabled(event: EventView): boolean | null {
  if (event.description === ABSENT) return null;
  const option = findElement(event.bytes, event.description, 'changeStreamPreAndPostImages');
  const enabled = option?.type === BSON.DOCUMENT ? findElement(event.bytes, option.at, 'enabled') : null;
  return enabled === null ? null : event.bytes[enabled.at] === 1;
}

/** The UUID of the collection that a rename overwrote, or null. */
function dropTarget(event: EventView): string | null {
  if (event.operation !== 'rename' || event.description === ABSENT) return null;
  const target = findElement(event.bytes, event.description, 'dropTarget');
  return target?.type === BSON.BINARY ? uuidText(event.bytes, target.at) : null;
}

function uuidText(bytes: Buffer, binary: number): string {
  const hex = bytes.toString('hex', binary + 5, binary + 21);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

function missingOf(event: EventView, namespace: Namespace, target: Namespace | null): Missing | null {
  if (event.operation === 'drop' || event.operation === 'dropDatabase') return DOCUMENTS_MISSING;
  if (target !== null && target.captured !== namespace.captured)
    return target.captured ? DOCUMENTS_CAME : DOCUMENTS_WENT;
  if (event.operation !== 'create' || event.description === ABSENT) return null;
  const viewOn = findElement(event.bytes, event.description, 'viewOn');
  const bucketed = viewOn?.type === BSON.STRING && stringAt(event.bytes, viewOn.at).startsWith('system.buckets.');
  return bucketed || findElement(event.bytes, event.description, 'timeseries') !== null ? TIME_SERIES_MISSING : null;
}
