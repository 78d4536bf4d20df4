// The configuration file: read, references filled in, checked. After it there are no defaults left to fill.
import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import type { z } from 'zod';
import { AuditError, messageOf, systemCode } from '../errors/audit-error.ts';
import { nearest } from './nearest.ts';
import { type RootOptions, rootOptions } from './options.ts';
import { resolveReferences } from './secrets.ts';
import { validate } from './validate.ts';

/** A kind of source or sink as the loader needs it: the names and the schema, not the code. */
export interface OptionCatalog {
  readonly types: readonly string[];
  options(type: string): Promise<z.ZodType>;
}

export interface Catalogs {
  readonly sources: OptionCatalog;
  readonly sinks: OptionCatalog;
}

export interface Configuration extends Omit<RootOptions, 'sources' | 'sinks'> {
  /** Absolute path. */
  readonly data: string;
  readonly sources: Readonly<Record<string, { readonly type: string }>>;
  readonly sinks: Readonly<Record<string, { readonly type: string }>>;
}

const NAME = /^[a-z][a-z0-9_-]{0,39}$/;

/** @throws AUD_CONFIG_FILE, AUD_CONFIG_INVALID, AUD_CONFIG_SECRET */
export async function loadConfiguration(
  file: string,
  catalogs: Catalogs,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Configuration> {
  const raw = parseYaml(file, readText(file));
  return checkConfiguration(raw, dirname(resolve(file)), catalogs, env);
}

/** The same from a value: `base` is the directory that relative paths start from. */
export async function checkConfiguration(
  raw: unknown,
  base: string,
  catalogs: Catalogs,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Configuration> {
  const value = resolveReferences(withEnvironment(raw, env), env);
  const root = validate(rootOptions, value, '');
  return {
    ...root,
    data: resolve(base, root.data),
    sources: await checkEach('sources', root.sources, catalogs.sources),
    sinks: await checkEach('sinks', root.sinks, catalogs.sinks),
  };
}

/** `CHANGETRAIL_DATA`, `CHANGETRAIL_LOG_LEVEL` … override single values of the file. */
const OVERRIDES: Readonly<Record<string, readonly [string, string?]>> = {
  CHANGETRAIL_DATA: ['data'],
  CHANGETRAIL_LOG_LEVEL: ['log', 'level'],
  CHANGETRAIL_LOG_FORMAT: ['log', 'format'],
};

function withEnvironment(raw: unknown, env: NodeJS.ProcessEnv): unknown {
  if (raw === null || typeof raw !== 'object' || Array.isArray(raw)) return raw;
  const value: Record<string, unknown> = { ...raw };
  for (const [name, [key, inner]] of Object.entries(OVERRIDES)) {
    const given = env[name];
    if (given === undefined) continue;
    value[key] = inner === undefined ? given : { ...(value[key] as object | undefined), [inner]: given };
  }
  return value;
}

function readText(file: string): string {
  try {
    if (statSync(file).isDirectory()) {
      throw new AuditError('AUD_CONFIG_FILE', {
        message: `${file} is a directory, not a configuration file.`,
        action: 'Name the file: --config changetrail.yaml.',
      });
    }
    return readFileSync(file, 'utf8');
  } catch (cause) {
    if (cause instanceof AuditError) throw cause;
    const missing = systemCode(cause) === 'ENOENT';
    throw new AuditError('AUD_CONFIG_FILE', {
      message: missing
        ? `There is no configuration file ${file}.`
        : `The configuration file ${file} cannot be read: ${messageOf(cause)}.`,
      action: missing
        ? 'Write one with changetrail init, or name another with --config FILE.'
        : 'Make it readable for this user.',
      cause,
    });
  }
}

/** The usual faults in words. */
const YAML_FAULTS: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'a key is there twice',
  TAB_AS_INDENT: 'a tab indents; use spaces',
  BAD_INDENT: 'the indentation does not fit, or a bracket is not closed',
  MISSING_CHAR: 'a bracket, a quote or a colon is missing',
  BLOCK_AS_IMPLICIT_KEY: 'a colon in a text; put the text in quotes',
  MULTILINE_IMPLICIT_KEY: 'a colon or a closing quote is missing',
  UNEXPECTED_TOKEN: 'something stands where nothing may',
};

function parseYaml(file: string, text: string): unknown {
  const document = parseDocument(text, { prettyErrors: true });
  const fault = document.errors[0];
  if (fault === undefined) {
    const value: unknown = document.toJS();
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value;
  }
  // The library's message quotes the line, which may hold a password: only the place is said.
  const line = fault?.linePos?.[0].line;
  const what = fault === undefined ? undefined : YAML_FAULTS[fault.code];
  const place = line === undefined ? '' : ` (line ${line}${what === undefined ? '' : `: ${what}`})`;
  throw new AuditError('AUD_CONFIG_FILE', {
    message: `${file} is not YAML with keys and values${place}.`,
    action: 'See docs/reference/configuration.md for an example.',
  });
}

async function checkEach(
  group: 'sources' | 'sinks',
  entries: Readonly<Record<string, { type: string }>>,
  catalog: OptionCatalog,
): Promise<Record<string, { type: string }>> {
  const checked: Record<string, { type: string }> = {};
  for (const [name, entry] of Object.entries(entries)) {
    if (!NAME.test(name)) {
      throw new AuditError('AUD_CONFIG_INVALID', {
        message: `${group}.${name}: a name is a letter, then letters, digits, - and _ in lower case, at most 40.`,
        action: 'Rename it.',
      });
    }
    if (!catalog.types.includes(entry.type)) {
      const proposal = nearest(entry.type, catalog.types);
      throw new AuditError('AUD_CONFIG_INVALID', {
        message: `${group}.${name}.type: there is no type ${JSON.stringify(entry.type)}${proposal === undefined ? '' : `; did you mean "${proposal}"?`}.`,
        action: `Known types: ${catalog.types.join(', ')}.`,
      });
    }
    checked[name] = validate(await catalog.options(entry.type), entry, `${group}.${name}`) as { type: string };
  }
  return checked;
}
