// A field such as `updatedBy` that names the writer. Only what this very write put there counts: an update that left the
// field alone, or a delete, would name whoever came before.
import { BSON, findElement, int32, int64AsNumber, newElement, readElement, stringAt } from './bson/layout.ts';
import { ABSENT, type EventView, KIND } from './events.ts';

/** The text of the field, or null when this write says nothing. `field` is a name of the first level. */
export function writerOf(event: EventView, field: string): string | null {
  if (event.kind === KIND.INSERT || event.kind === KIND.REPLACE) {
    return event.afterType === BSON.DOCUMENT ? fieldText(event.bytes, event.after, field) : null;
  }
  if (event.kind !== KIND.UPDATE || event.update === ABSENT) return null;
  const updated = findElement(event.bytes, event.update, 'updatedFields');
  return updated === null ? null : fieldText(event.bytes, updated.at, field);
}

function fieldText(b: Buffer, document: number, field: string): string | null {
  const element = newElement();
  for (let at = document + 4; readElement(b, at, element); at = element.next) {
    if (b.toString('utf8', element.keyStart, element.keyEnd) === field) return valueText(b, element.type, element.at);
  }
  return null;
}

function valueText(b: Buffer, type: number, at: number): string | null {
  switch (type) {
    case BSON.STRING:
      return stringAt(b, at);
    case BSON.OBJECT_ID:
      return b.toString('hex', at, at + 12);
    case BSON.INT32:
      return String(int32(b, at));
    case BSON.INT64:
      return String(int64AsNumber(b, at));
    default:
      return null;
  }
}
