import type { ActorStage } from '../../src/core/actor.ts';
import { messageOf } from '../../src/errors/audit-error.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import type { ControlClient } from './client.ts';
import type { TableMatcher } from './patterns.ts';
import { attachSql, readSessionContext, readSessionKey, type SessionContextState } from './session-context.ts';
import { applyStatements } from './setup.ts';

export interface SessionWatchOptions {
  /** The source's name. */
  readonly name: string;
  readonly actors: ActorStage;
  readonly matcher: TableMatcher;
  readonly log: Logger;
}

/**
 * Follows the session context of a source that has it: hands its key to the actor stage, and gives the trigger to tables that
 * came without it (where the event trigger could not be created). A source without session context is left as it is.
 */
export class SessionWatch {
  readonly #options: SessionWatchOptions;
  /** What was said already: a warning every few seconds helps nobody. */
  #said = '';

  constructor(options: SessionWatchOptions) {
    this.#options = options;
  }

  /** Looks once. Rejects only when the database cannot be asked. */
  async look(client: ControlClient): Promise<void> {
    const { actors, matcher } = this.#options;
    const key = await readSessionKey(client);
    actors.sessionKey(key);
    const state = await readSessionContext(client, matcher);
    if (!state.installed) return;
    if (key === null) {
      this.#warn(
        'session_key_unreadable',
        'what the database says about sessions cannot be told from a forgery',
        'grant usage on schema changetrail to the role; grant select on changetrail.session_key to the role;',
      );
    }
    if (state.missing.length > 0) await this.#cover(client, state);
  }

  async #cover(client: ControlClient, state: SessionContextState): Promise<void> {
    const statements = attachSql(state.missing);
    try {
      await applyStatements(client, statements);
      this.#options.log.info(
        { event: 'session_trigger_added', tables: state.missing.length },
        `${state.missing.length} more tables of ${this.#options.name} say who is in session.`,
      );
    } catch (error) {
      this.#warn(
        'session_trigger_missing',
        `${state.missing.length} tables have no session trigger and it could not be added (${messageOf(error)})`,
        `${statements.join('; ')};`,
      );
    }
  }

  #warn(event: string, text: string, action: string): void {
    if (this.#said === `${event} ${action}`) return;
    this.#said = `${event} ${action}`;
    this.#options.log.warn({ event, action }, `Session context of ${this.#options.name}: ${text}.`);
  }
}
