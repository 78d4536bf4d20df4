/** How sure an actor is: signed claim or the server's own word, said by the application, matched, or nobody. */
export type Assurance = 'verified' | 'claimed' | 'inferred' | 'none';

/** What a connector learns about who acts in a transaction; several may come for one transaction. */
export interface ActorFact {
  /**
   * The rung: `message` (an application's claim in the transaction), `session` (the database's word on the session),
   * `lsid` (MongoDB's word), or a dialect's name (`bemi`, `sequin`, `sequin_clear`).
   */
  readonly via: 'message' | 'session' | 'lsid' | 'bemi' | 'sequin' | 'sequin_clear';
  /** The JSON text of a message, as bytes of the source: valid only during the call. */
  readonly text?: Uint8Array;
  /** A fact the connector has decoded itself. */
  readonly value?: Readonly<Record<string, unknown>>;
}

/** The transaction a fact or a change belongs to. */
export interface TransactionFacts {
  /** xid or MongoDB's lsid + txnNumber as text. */
  readonly id: string;
  /** Commit time in milliseconds since 1970. */
  readonly timeMs: number;
}

/**
 * Who acts, for one source. Synchronous, no I/O. The connector calls `begin` at each transaction's start, `observe` for each
 * fact in the order of the log, and copies `fragment` into each change.
 */
export interface ActorStage {
  begin(transaction: TransactionFacts): void;
  observe(fact: ActorFact): void;
  /** Names of the database session's settings that say something about who acts. */
  readonly settings: readonly string[];
  /** The key by which the database seals its session messages, or null when it is not to be had. Set when a source is opened. */
  sessionKey(key: Uint8Array | null): void;
  /**
   * Finished JSON bytes that follow the record's object: `,"actor":{…}` and `,"context":{…}` where there is one. Valid until
   * the next call of any method. To be called for every change, also for one that a filter drops afterwards, unless
   * `inferred` is: some rungs hold for the next change only.
   */
  fragment(): Uint8Array;
  /**
   * Compiles what a table says about its writer (`updated_by`): the column to look at, or null when no rule names one.
   * Looked up once per relation version.
   */
  rowRule(schema: string, table: string): RowActorRule | null;
  /** In place of `fragment` when only the row names a writer; `writer` is the text of the column. */
  inferred(rule: RowActorRule, writer: string): Uint8Array;
  /** True when an actor better than the row's is known for the current transaction. */
  readonly known: boolean;
  /** Counts changes that were given the last fragment, for the share of changes by assurance and table. */
  count(schema: string, table: string, changes: number): void;
}

export interface RowActorRule {
  readonly column: string;
  readonly type?: string;
}
