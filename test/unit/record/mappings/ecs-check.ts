import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { isObject } from '../../../../src/record/mappings/facts.ts';

interface Field {
  readonly type: string;
  readonly array?: boolean;
  readonly allowed?: Readonly<Record<string, readonly string[] | null>>;
}

const url = new URL('../../../vectors/schemas/ecs-9.4.0-fields.json', import.meta.url);
const fields = (JSON.parse(readFileSync(url, 'utf8')) as { fields: Record<string, Field> }).fields;
const OBJECTS = new Set(['object', 'flattened', 'nested']);

/** The faults of a document against the official field list; everything under `own` is free. */
export function ecsFaults(document: unknown, own: string): string[] {
  const found = new Map(leaves(document, '', own));
  const faults = [...found].flatMap(([path, value]) => (path === own ? [] : fieldFaults(path, value)));
  for (const must of ['@timestamp', 'ecs.version']) if (!found.has(must)) faults.push(`${must}: missing`);
  return [...faults, ...categoryFaults(found)];
}

function* leaves(value: unknown, path: string, own: string): Generator<[string, unknown]> {
  if (path === own || OBJECTS.has(fields[path]?.type ?? '') || !isObject(value)) yield [path, value];
  else for (const [key, item] of Object.entries(value)) yield* leaves(item, path === '' ? key : `${path}.${key}`, own);
}

function fieldFaults(path: string, value: unknown): string[] {
  const field = fields[path];
  if (field === undefined) return [`${path}: not an ECS field`];
  const faults = field.array === true && !Array.isArray(value) ? [`${path}: must be an array`] : [];
  for (const item of Array.isArray(value) ? value : [value]) {
    if (!fits(field.type, item)) faults.push(`${path}: ${JSON.stringify(item)} is not ${field.type}`);
    if (field.allowed && !(String(item) in field.allowed)) faults.push(`${path}: ${JSON.stringify(item)} not allowed`);
  }
  return faults;
}

function fits(type: string, value: unknown): boolean {
  if (type === 'ip') return isIP(String(value)) !== 0;
  if (type === 'date') return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/.test(String(value));
  if (type === 'long' || type === 'integer') return Number.isInteger(value);
  if (type === 'boolean') return typeof value === 'boolean';
  if (OBJECTS.has(type)) return isObject(value);
  return typeof value === (/float|double/.test(type) ? 'number' : 'string');
}

/** Each category names the types that are expected with it. */
function categoryFaults(found: ReadonlyMap<string, unknown>): string[] {
  const list = (path: string) => (found.get(path) ?? []) as string[];
  const expected = fields['event.category']?.allowed ?? {};
  return list('event.category').flatMap((category) =>
    list('event.type')
      .filter((type) => !expected[category]?.includes(type))
      .map((type) => `event.type ${type} is not expected for category ${category}`),
  );
}
