// What an administrator runs once: roles, the view on the oplog, images. As text for people, as commands for `setup: auto`.
import type { Document, MongoClient } from 'mongodb';
import type { Logger } from '../../src/telemetry/log.ts';
import type { CollectionInfo } from './collections.ts';
import { SERVER_CODE, serverCode } from './errors.ts';
import { OPLOG_VIEW_PIPELINE } from './oplog-join.ts';

export const CAPTURE_ROLE = 'changetrailCapture';
export const OPLOG_ROLE = 'changetrailOplog';

/** One command with the database it is run on. */
export interface SetupCommand {
  readonly database: string;
  readonly command: Document;
}

/** Enough for everything but the users of retryable writes. `database` null: the whole cluster. */
export function captureRole(database: string | null): SetupCommand {
  const collections = { db: database ?? '', collection: '' };
  const privileges: Document[] = [
    { resource: collections, actions: ['changeStream', 'find', 'listCollections'] },
    { resource: { cluster: true }, actions: ['listDatabases', 'replSetGetConfig', 'viewUser'] },
  ];
  return { database: 'admin', command: { createRole: CAPTURE_ROLE, privileges, roles: [] } };
}

/** Lets the view be read, and not the oplog. */
export function oplogRole(view: string): SetupCommand {
  const privileges = [{ resource: { db: 'local', collection: view }, actions: ['find'] }];
  return { database: 'admin', command: { createRole: OPLOG_ROLE, privileges, roles: [] } };
}

export function oplogView(view: string): SetupCommand {
  return { database: 'local', command: { create: view, viewOn: 'oplog.rs', pipeline: OPLOG_VIEW_PIPELINE } };
}

export function imagesOn(database: string, collection: string): SetupCommand {
  return { database, command: { collMod: collection, changeStreamPreAndPostImages: { enabled: true } } };
}

/** As it is typed into mongosh. */
export function shellText({ database, command }: SetupCommand): string {
  return `db.getSiblingDB(${JSON.stringify(database)}).runCommand(${JSON.stringify(command)})`;
}

/** A whole shell line that turns images on. */
export function imagesText(database: string, collection: string): string {
  return shellText(imagesOn(database, collection));
}

/** Runs what `setup: auto` may run. What the server refuses is said with the command and the reason; capture goes on. */
export class AutomaticSetup {
  readonly #client: MongoClient;
  readonly #log: Logger;

  constructor(client: MongoClient, log: Logger) {
    this.#client = client;
    this.#log = log;
  }

  async images(collections: readonly Pick<CollectionInfo, 'database' | 'collection'>[]): Promise<void> {
    for (const { database, collection } of collections) await this.#run(imagesOn(database, collection));
  }

  /** True when the view is there now. */
  view(view: string): Promise<boolean> {
    return this.#run(oplogView(view));
  }

  async #run(setup: SetupCommand): Promise<boolean> {
    const text = shellText(setup);
    try {
      await this.#client.db(setup.database).command(setup.command);
      this.#log.info({ event: 'set_up', command: text }, 'Ran a command of the setup.');
      return true;
    } catch (error) {
      const code = serverCode(error);
      if (code === SERVER_CODE.NAMESPACE_EXISTS) return true;
      // Dropped since it was listed: nothing to do.
      if (code === SERVER_CODE.NAMESPACE_NOT_FOUND) return false;
      if (code === null) throw error;
      this.#log.warn(
        { event: 'setup_refused', server_code: code, action: `As an administrator: ${text}` },
        'The server refuses a command of the setup.',
      );
      return false;
    }
  }
}
