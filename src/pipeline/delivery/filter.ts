import { createRequire } from 'node:module';
import { AuditError, messageOf } from '../../errors/audit-error.ts';
import { membersOf, parseAt } from '../../record/json-scan.ts';
import type { DeliveryOptions } from './options.ts';

const load = createRequire(import.meta.url);
/** Loaded where a sink has an expression: it is a third of the modules of a start, and of its time. */
const cel = () => load('@bufbuild/cel') as typeof import('@bufbuild/cel');

type FilterOptions = NonNullable<DeliveryOptions['filter']>;

/** True when the record of a line is sent. */
export type Filter = (line: Buffer) => boolean;

type Test = (name: string) => boolean;

/** What the simple conditions look at. */
interface Facts {
  kind: string;
  action: string;
  object: Readonly<Record<string, unknown>>;
  actor: Readonly<Record<string, unknown>>;
}

/**
 * Compiles a sink's filter. `onError` is told when the expression fails on a record; such a record is sent.
 * @throws AUD_SINK_OPTIONS when the expression does not compile.
 */
export function compileFilter(options: FilterOptions, onError: (message: string) => void): Filter {
  const kinds = options.kinds === undefined ? null : new Set<string>(options.kinds);
  const actions = options.actions === undefined ? null : new Set(options.actions);
  const objects = options.objects === undefined ? null : compilePatterns(options.objects);
  const actors = options.actors === undefined ? null : compilePatterns(options.actors);
  const when = options.when === undefined ? null : compileExpression(options.when, onError);
  const simple = kinds !== null || actions !== null || objects !== null || actors !== null;
  return (line) => {
    if (simple) {
      const facts = factsOf(line);
      if (kinds !== null && !kinds.has(facts.kind)) return false;
      if (actions !== null && !actions.has(facts.action)) return false;
      if (objects !== null && !testObject(objects, facts.object)) return false;
      if (actors !== null && !actors(textOf(facts.actor['id']))) return false;
    }
    return when === null || when(line);
  };
}

function testObject(test: Test, object: Facts['object']): boolean {
  const name = object['table'] ?? object['collection'];
  if (name === undefined) return true;
  const parent = object['schema'] ?? object['database'];
  return test(parent === undefined ? textOf(name) : `${textOf(parent)}.${textOf(name)}`);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value);
}

function factsOf(line: Buffer): Facts {
  const facts: Record<string, unknown> = { kind: '', action: '', object: {}, actor: {} };
  for (const { name, valueStart, end } of membersOf(line)) {
    if (name in facts) facts[name] = parseAt(line, valueStart, end);
  }
  return facts as unknown as Facts;
}

/**
 * Patterns as the sources use them: `*` is any text, `!` leaves out. A name passes when one of the others fits (or there is
 * none) and none of those with `!`.
 */
export function compilePatterns(patterns: readonly string[]): Test {
  const expression = (pattern: string) =>
    new RegExp(
      `^${pattern
        .split('*')
        .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
        .join('.*')}$`,
      's',
    );
  const wanted = patterns.filter((pattern) => !pattern.startsWith('!')).map(expression);
  const unwanted = patterns.filter((pattern) => pattern.startsWith('!')).map((pattern) => expression(pattern.slice(1)));
  return (name) =>
    (wanted.length === 0 || wanted.some((pattern) => pattern.test(name))) &&
    !unwanted.some((pattern) => pattern.test(name));
}

function compileExpression(source: string, onError: (message: string) => void): Filter {
  const { isCelError } = cel();
  const evaluate = planExpression(source);
  return (line) => {
    const result = evaluate({ record: JSON.parse(line.toString('utf8')) as never });
    if (typeof result === 'boolean') return result;
    onError(isCelError(result) ? result.message : 'it is not true or false');
    return true;
  };
}

function planExpression(source: string): (bindings: { record: never }) => unknown {
  const { celEnv, isCelError, parse, plan } = cel();
  try {
    const evaluate = plan(celEnv(), parse(source)) as (bindings: { record: never }) => unknown;
    const result = evaluate({ record: {} as never });
    if (isCelError(result) && /^(unresolved|unbound)/.test(result.message)) throw result;
    return evaluate;
  } catch (cause) {
    throw new AuditError('AUD_SINK_OPTIONS', {
      message: `The filter's expression does not compile: ${messageOf(cause)}.`,
      action: 'Correct filter.when; a record is called `record` in it, as in record.actor.type == "support".',
    });
  }
}
