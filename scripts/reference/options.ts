// An option table as Markdown. One function for sources, sinks and the top level.
import type { z } from 'zod';

interface Definition {
  readonly type: string;
  readonly innerType?: z.ZodType;
  readonly in?: z.ZodType;
  readonly defaultValue?: unknown;
  readonly entries?: Readonly<Record<string, string>>;
  readonly values?: readonly unknown[];
  readonly element?: z.ZodType;
  readonly options?: readonly z.ZodType[];
  readonly shape?: Readonly<Record<string, z.ZodType>>;
}

const definition = (schema: z.ZodType): Definition => (schema as unknown as { def: Definition }).def;
const meta = (schema: z.ZodType) => (schema as { meta?: () => Record<string, unknown> | undefined }).meta?.() ?? {};

/** What lies under optional, default and the like, and what they say. */
function unwrapped(schema: z.ZodType): {
  schema: z.ZodType;
  fallback: unknown;
  optional: boolean;
  about: Record<string, unknown>;
} {
  let current = schema;
  let fallback: unknown;
  let optional = false;
  let about = { ...meta(current) };
  for (let def = definition(current); ; def = definition(current)) {
    if (def.type === 'default' || def.type === 'prefault') fallback ??= def.defaultValue;
    if (def.type === 'optional') optional = true;
    const inner = def.innerType ?? (def.type === 'pipe' ? def.in : undefined);
    if (inner === undefined) return { schema: current, fallback, optional, about };
    current = inner;
    about = { ...meta(current), ...about };
  }
}

function typeName(schema: z.ZodType): string {
  const { schema: inner } = unwrapped(schema);
  const def = definition(inner);
  if (def.type === 'enum')
    return Object.values(def.entries ?? {})
      .map((value) => `\`${value}\``)
      .join(', ');
  if (def.type === 'literal') return (def.values ?? []).map((value) => `\`${String(value)}\``).join(', ');
  if (def.type === 'array') return `list of ${typeName(def.element!)}`;
  if (def.type === 'union') return (def.options ?? []).map(typeName).join(' or ');
  if (def.type === 'record') return 'map';
  return def.type;
}

/** Rows `key | type | default | description` of an object schema; nested objects follow with their path. */
export function optionTable(schema: z.ZodType): string {
  const rows = tableRows(schema, '');
  return `| key | type | default | |\n|---|---|---|---|\n${rows.join('\n')}\n`;
}

function tableRows(schema: z.ZodType, prefix: string): string[] {
  const shape = definition(unwrapped(schema).schema).shape ?? {};
  return Object.entries(shape).flatMap(([key, value]) => {
    const { schema: inner, fallback, optional, about } = unwrapped(value);
    const example = about['example'] === undefined ? '' : ` Example: \`${JSON.stringify(about['example'])}\`.`;
    const nested = definition(inner).shape !== undefined;
    const standard = nested
      ? ''
      : fallback !== undefined
        ? `\`${JSON.stringify(fallback)}\``
        : optional
          ? ''
          : '**required**';
    const row = `| \`${prefix}${key}\` | ${cell(typeName(value))} | ${cell(standard)} | ${cell(`${about['description'] ?? ''}${example}`)} |`;
    return nested ? [row, ...tableRows(inner, `${prefix}${key}.`)] : [row];
  });
}

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
