// Insert, update, replace and delete as records.
import type { ActorStage } from '../../src/core/actor.ts';
import type { SourceOutput } from '../../src/core/output.ts';
import { fragment } from '../../src/record/byte-writer.ts';
import { OUTCOME_SUCCESS } from '../../src/record/envelope.ts';
import { brokenTextIn } from './bson/broken-text.ts';
import type { BsonJson } from './bson/json.ts';
import { BSON } from './bson/layout.ts';
import { ChangedPaths } from './changed-paths.ts';
import { ABSENT, type EventView, KIND } from './events.ts';
import type { Namespace } from './namespaces.ts';
import type { RecordParts } from './record-parts.ts';
import { writerOf } from './row-actor.ts';

const BEFORE = fragment(',"before":');
const AFTER = fragment(',"after":');
const UPDATE_DETAILS = fragment(',"details":{"update":');
const MISSING = fragment(',"missing":');
const NULL = fragment('null');
const OBJECT_END = 0x7d;
const NONE: readonly string[] = [];

export interface ChangeRecordOptions {
  readonly output: SourceOutput;
  readonly actors: ActorStage;
  readonly parts: RecordParts;
  readonly json: BsonJson;
}

export class ChangeRecords {
  readonly #options: ChangeRecordOptions;
  readonly #changed = new ChangedPaths();

  constructor(options: ChangeRecordOptions) {
    this.#options = options;
  }

  /** Writes the event as a record. What needs a second look (odd keys, text that is not UTF-8) is written again, exactly. */
  write(event: EventView, namespace: Namespace, seq: number): void {
    const { output, json } = this.#options;
    this.#write(event, namespace, seq, NONE);
    if (json.odd && !json.exact) {
      output.abort();
      namespace.exact = true;
      this.#write(event, namespace, seq, NONE);
    }
    if (json.brokenText) {
      output.abort();
      this.#write(event, namespace, seq, brokenPlaces(event));
    }
    output.end();
    namespace.changes++;
  }

  #write(event: EventView, namespace: Namespace, seq: number, broken: readonly string[]): void {
    const { output, parts, json } = this.#options;
    const { bytes } = event;
    const out = output.begin();
    json.begin(out, namespace.exact);
    parts.write(out, namespace, seq, 'change');
    out.bytes(namespace.actions[event.kind]!);
    if (event.key === ABSENT) out.bytes(NULL);
    else json.document(bytes, event.key);
    out.byte(OBJECT_END);
    out.bytes(this.#actor(event, namespace));
    out.bytes(OUTCOME_SUCCESS);
    const ambiguous = this.#changed.write(event, out);
    const hasAfter = event.afterType === BSON.DOCUMENT;
    const hasBefore = event.beforeType === BSON.DOCUMENT;
    const complete = (hasAfter || event.kind === KIND.DELETE) && (hasBefore || event.kind === KIND.INSERT);
    if (!complete || ambiguous || broken.length > 0) {
      out.bytes(MISSING);
      out.json(missingOf(event, namespace, ambiguous, broken));
    }
    if (!hasAfter && event.update !== ABSENT) {
      out.bytes(UPDATE_DETAILS);
      json.document(bytes, event.update);
      out.byte(OBJECT_END);
    }
    if (hasBefore) {
      out.bytes(BEFORE);
      json.document(bytes, event.before);
    }
    if (hasAfter) {
      out.bytes(AFTER);
      json.document(bytes, event.after);
    }
    out.byte(OBJECT_END);
  }

  #actor(event: EventView, namespace: Namespace): Uint8Array {
    const { actors } = this.#options;
    const { rule } = namespace;
    if (rule === null || actors.known) return actors.fragment();
    const writer = writerOf(event, rule.column);
    return writer === null ? actors.fragment() : actors.inferred(rule, writer);
  }
}

/** An image that is absent was left out because of its size; one that is null the server did not have. */
function missingOf(
  event: EventView,
  namespace: Namespace,
  ambiguous: boolean,
  broken: readonly string[],
): Record<string, string> {
  const missing: Record<string, string> = {};
  const reason = (type: number) => {
    if (type !== BSON.NULL) return 'too_large';
    return namespace.images ? 'image_expired' : 'image_not_enabled';
  };
  if (event.kind !== KIND.INSERT && event.beforeType !== BSON.DOCUMENT) missing['before'] = reason(event.beforeType);
  if (event.kind !== KIND.DELETE && event.afterType !== BSON.DOCUMENT) missing['after'] = reason(event.afterType);
  if (event.kind === KIND.UPDATE && event.update === ABSENT) missing['changed'] = 'too_large';
  if (ambiguous) missing['changed'] = 'dots_ambiguous';
  for (const place of broken) missing[place] = 'invalid_utf8';
  return missing;
}

function brokenPlaces(event: EventView): string[] {
  const { bytes } = event;
  const places: string[] = [];
  if (event.key !== ABSENT) places.push(...brokenTextIn(bytes, event.key, 'object.key'));
  if (event.beforeType === BSON.DOCUMENT) places.push(...brokenTextIn(bytes, event.before, 'before'));
  if (event.afterType === BSON.DOCUMENT) places.push(...brokenTextIn(bytes, event.after, 'after'));
  else if (event.update !== ABSENT) places.push(...brokenTextIn(bytes, event.update, 'details.update'));
  return places;
}
