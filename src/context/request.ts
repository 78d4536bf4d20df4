/** What every request middleware does: from a request to the context of the work it causes. Knows no framework. */
import { randomUUID } from 'node:crypto';
import type { Actor } from './actor.ts';

/** What a request id from outside may look like; anything else is replaced. It ends up in logs and queries. */
const REQUEST_ID = /^[\w.:/+=@-]{1,128}$/;
/** @see https://www.w3.org/TR/trace-context/#traceparent-header */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?$/;

/** Options of every request middleware; `R` is what the framework calls a request. */
export interface RequestContextOptions<R> {
  /**
   * Who makes the request, or undefined. Asked when a transaction needs it, so the middleware may come before the one that
   * authenticates. Must be synchronous.
   */
  readonly actor?: (request: R) => Actor | undefined;
  /** The id of the request; default: the header `x-request-id`, or a new UUID. */
  readonly requestId?: (request: R) => string;
  /** The client's address; default: what the framework says, which heeds its own setting about trusted proxies. */
  readonly client?: (request: R) => string | undefined;
  /** More context: a tenant, a feature. Looked up like `actor`. */
  readonly context?: (request: R) => Readonly<Record<string, unknown>>;
}

/** What a middleware knows of a request. */
export interface RequestFacts<R> {
  readonly request: R;
  /** The value of a header, in lower case; the first one of several. */
  header(name: string): string | undefined;
  /** The client's address as the framework knows it. */
  readonly client: string | undefined;
}

/** Gives the function that says who acts in a request: the request's facts, and over them the actor as soon as there is one. */
export function requestActor<R>(facts: RequestFacts<R>, options: RequestContextOptions<R>): () => Actor {
  const { request } = facts;
  const client = options.client ? options.client(request) : facts.client;
  const own: Actor = {
    ...(client === undefined ? {} : { client: plainAddress(client) }),
    request_id: options.requestId?.(request) ?? requestIdOf(facts),
    ...traceOf(facts.header('traceparent')),
  };
  return () => ({ ...own, ...options.context?.(request), ...options.actor?.(request) });
}

function requestIdOf<R>(facts: RequestFacts<R>): string {
  const given = facts.header('x-request-id');
  return given !== undefined && REQUEST_ID.test(given) ? given : randomUUID();
}

/** `trace_id` and `span_id` of a W3C traceparent; nothing when it is absent or invalid. */
export function traceOf(traceparent: string | undefined): { trace_id?: string; span_id?: string } {
  const [, version, traceId, spanId] = TRACEPARENT.exec(traceparent ?? '') ?? [];
  if (version === undefined || traceId === undefined || spanId === undefined) return {};
  // Version ff and all zeros are invalid; version 00 has nothing behind its flags.
  if (version === 'ff' || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return {};
  if (version === '00' && traceparent?.length !== 55) return {};
  return { trace_id: traceId, span_id: spanId };
}

/** An IPv4 address that came over an IPv6 socket, as IPv4. */
function plainAddress(address: string): string {
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
}
