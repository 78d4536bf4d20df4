import { ActorMetrics } from '../../../src/actor/metrics.ts';
import { actorOptions } from '../../../src/actor/options.ts';
import { createActorStage } from '../../../src/actor/stage.ts';
import type { UsedClaim } from '../../../src/actor/verifier.ts';
import type { ActorFact, ActorStage } from '../../../src/core/actor.ts';
import { actorSchema } from '../../../src/record/schema.ts';

export interface Given {
  readonly actor: Record<string, unknown>;
  readonly context?: Record<string, unknown>;
}

/** A stage with its counts, and short words for what a connector does with it. */
export function stageWith(options: Record<string, unknown> = {}, usedClaims: readonly UsedClaim[] = []) {
  const metrics = new ActorMetrics();
  const stage = createActorStage({ source: 'shop', usedClaims, options: actorOptions.parse(options), metrics });
  return { stage, metrics, ...drive(stage) };
}

export function drive(stage: ActorStage) {
  return {
    begin: (id = '1', timeMs = Date.parse('2026-01-01T00:00:00Z')) => stage.begin({ id, timeMs }),
    say: (via: ActorFact['via'], text: unknown) => stage.observe({ via, text: bytesOf(text) }),
    change: (table = 't') => {
      const given = read(stage.fragment());
      stage.count('public', table, 1);
      return given;
    },
  };
}

/** Strings and bytes as they are, everything else as JSON. */
export function bytesOf(text: unknown): Uint8Array {
  if (text instanceof Uint8Array) return text;
  return Buffer.from(typeof text === 'string' ? text : JSON.stringify(text));
}

/** What stands in the record; fails where it is no valid piece of one. */
export function read(bytes: Uint8Array): Given {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  const given = JSON.parse(`{${text.slice(1)}}`) as Given;
  actorSchema.parse(given.actor);
  return given;
}
