import type { z } from 'zod';
import { AuditError } from '../errors/audit-error.ts';
import { nearest } from './nearest.ts';

/** The value as the schema's type. @throws AUD_CONFIG_INVALID: one line for each fault, with the nearest known key. */
export function validate<T extends z.ZodType>(schema: T, value: unknown, path: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const faults = result.error.issues.map((issue) => describe(issue, schema, path));
  throw new AuditError('AUD_CONFIG_INVALID', {
    message: faults.join('\n'),
    action: 'Correct the configuration; docs/reference/configuration.md lists every key.',
  });
}

function describe(issue: z.core.$ZodIssue, schema: z.ZodType, path: string): string {
  const place = [path, ...issue.path.map(String)].filter((part) => part !== '').join('.');
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, issue.path);
    return issue.keys.map((key) => unknownKey(place === '' ? key : `${place}.${key}`, key, known)).join('\n');
  }
  const name = place || 'The configuration';
  if (issue.code === 'invalid_type') {
    const wanted = WORDS[issue.expected] ?? issue.expected;
    // Zod tells in words only whether something was there.
    if (issue.message.endsWith('undefined')) return `${name} is missing; it is ${wanted}.`;
    return `${name} must be ${wanted}.`;
  }
  const meant = descriptionAt(schema, issue.path);
  const limit = limitOf(issue);
  if (limit !== null) return `${name} ${limit}.${meant === undefined ? '' : ` ${meant}`}`;
  const fault = issue.message.includes('must match pattern') ? 'not of the allowed form' : issue.message;
  return `${name}: ${fault}.${meant === undefined ? '' : ` ${meant}`}`;
}

const WORDS: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list, such as ["a", "b"]',
  object: 'keys with values, such as { key: value }',
  record: 'names with settings, such as { name: { … } }',
};

/** Which bound or choice a value does not keep; the value itself may be a secret. */
function limitOf(issue: z.core.$ZodIssue): string | null {
  if (issue.code === 'invalid_value') {
    return `must be ${issue.values.length === 1 ? '' : 'one of '}${issue.values.map(String).join(', ')}`;
  }
  if (issue.code === 'too_small') {
    const counted = COUNTED[issue.origin];
    if (counted !== undefined && issue.minimum === 1) return 'must not be empty';
    if (counted !== undefined) return `must have at least ${issue.minimum} ${counted}`;
    return `must be ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}`;
  }
  if (issue.code === 'too_big') {
    const counted = COUNTED[issue.origin];
    if (counted !== undefined) return `must have at most ${issue.maximum} ${counted}`;
    return `must be ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}`;
  }
  return null;
}

const COUNTED: Readonly<Record<string, string>> = { string: 'characters', array: 'entries' };

/** `Unknown key sources.shop.tabels; did you mean "tables"?` */
export function unknownKey(place: string, key: string, known: readonly string[]): string {
  const proposal = nearest(key, known);
  return `Unknown key ${place}; ${proposal === undefined ? `known: ${known.join(', ')}.` : `did you mean "${proposal}"?`}`;
}

/** The keys an object schema knows at a path. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let current: unknown = schema;
  for (const part of path) current = child(unwrap(current), part);
  const shape = (unwrap(current) as { shape?: object } | undefined)?.shape;
  return shape === undefined ? [] : Object.keys(shape);
}

/** What the reference page says of the value at a path. */
function descriptionAt(schema: z.ZodType, path: readonly PropertyKey[]): string | undefined {
  let current: unknown = schema;
  for (const part of path) current = child(unwrap(current), part);
  return (current as { description?: string } | undefined)?.description;
}

function child(schema: unknown, part: PropertyKey): unknown {
  const s = schema as { shape?: Record<PropertyKey, unknown>; element?: unknown; valueType?: unknown } | undefined;
  return s?.shape?.[part] ?? s?.element ?? s?.valueType;
}

/** The schema inside optional, default and the like. */
function unwrap(schema: unknown): unknown {
  let current = schema as { def?: { innerType?: unknown } } | undefined;
  while (current?.def?.innerType !== undefined) current = current.def.innerType as typeof current;
  return current;
}
