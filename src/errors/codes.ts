/**
 * The registry of error codes, and their documentation: `docs/reference/errors.md` is generated from it.
 * One code has one meaning and is never used again for another. `exit` is the process's exit code when it ends a command.
 */
export interface CodeInfo {
  /** What happened. */
  readonly what: string;
  /** What it means for the trail. */
  readonly trail: string;
  /** What the operator does. */
  readonly action: string;
  readonly exit: 1 | 2 | 3;
}

export const CODES = {
  // -- configuration and command line
  AUD_CONFIG_FILE: {
    what: 'The configuration file cannot be read or is not YAML.',
    trail: 'Nothing was captured.',
    action: 'Give a readable YAML file with --config.',
    exit: 2,
  },
  AUD_CONFIG_INVALID: {
    what: 'The configuration has an unknown key, a missing value or a value of the wrong form.',
    trail: 'Nothing was captured.',
    action: 'Correct the named key; the message proposes the nearest known name.',
    exit: 2,
  },
  AUD_CONFIG_SECRET: {
    what: 'A ${…} reference names an environment variable or file that is not there.',
    trail: 'Nothing was captured.',
    action: 'Set the variable or create the file.',
    exit: 2,
  },
  AUD_CLI_USAGE: {
    what: 'A command was called with unknown or missing arguments.',
    trail: 'Nothing was changed.',
    action: 'See changetrail <command> --help.',
    exit: 2,
  },
  // -- ledger
  AUD_LEDGER_LOCKED: {
    what: 'Another process writes this ledger.',
    trail: 'Nothing was written by this process; the other one goes on.',
    action: 'Stop the process with the named pid, or use another data directory.',
    exit: 3,
  },
  AUD_LEDGER_WRITE: {
    what: 'The ledger could not be written or synced (disk full, permission, input/output error).',
    trail: 'Capture stopped. Nothing was confirmed to a source beyond what is durable, so nothing is lost.',
    action: 'Free space or repair the disk, then start again.',
    exit: 3,
  },
  AUD_LEDGER_CORRUPT: {
    what: 'A line of the ledger is damaged, or an index is missing or out of order.',
    trail: 'Capture did not start. Nothing was overwritten.',
    action:
      'Keep the directory as evidence, run changetrail verify, and restore the segment or start a new data directory.',
    exit: 3,
  },
  AUD_LEDGER_VERSION: {
    what: 'The data directory was written by a newer version.',
    trail: 'Nothing was written.',
    action: 'Use that version or a newer one.',
    exit: 2,
  },
  AUD_LEDGER_CLOSED: {
    what: 'A record came after the ledger was closed.',
    trail: 'Nothing was confirmed for it, so its source sends it again.',
    action: 'Report it with the log.',
    exit: 3,
  },
  AUD_LEDGER_CONTRADICTION: {
    what: 'The records in the segments do not give the tree that was signed for them.',
    trail: 'Capture did not start. Nothing was overwritten, nothing was signed.',
    action: 'Keep the directory as evidence and run changetrail verify; restore a copy, or run changetrail recover.',
    exit: 3,
  },
  AUD_LEDGER_ROLLBACK: {
    what: 'The ledger is behind a head that an anchor holds: an old copy was put back.',
    trail: 'Capture did not start. Records between the two heads are missing here.',
    action: 'Restore the newest copy, or run changetrail recover, which begins a new ledger and says so in it.',
    exit: 3,
  },
  AUD_LEDGER_FORK: {
    what: 'The ledger and a head that an anchor holds say different things of the same records.',
    trail: 'Capture did not start. Nothing was signed.',
    action: 'Keep the directory as evidence. Run changetrail recover to begin a new ledger that names this one.',
    exit: 3,
  },
  AUD_LEDGER_TREE: {
    what: 'The tree of the ledger could not be written or read.',
    trail: 'Capture stopped: records that no signed head covers would be worth little.',
    action: 'See the message; repair the disk, then start again. The tree is made again from the segments.',
    exit: 3,
  },
  AUD_LEDGER_PROOF: {
    what: 'A proof, checkpoint or head is not of the form it should have, or does not prove what it is for.',
    trail: 'Nothing was changed.',
    action: 'Get it again from where it came from.',
    exit: 1,
  },
  AUD_LEDGER_RECORD: {
    what: 'There is no record of that index or id in the ledger.',
    trail: 'Nothing was changed.',
    action: 'Name an index or id that is in the ledger.',
    exit: 1,
  },
  AUD_LEDGER_ANCHOR: {
    what: 'An anchor cannot be used as configured.',
    trail: 'Capture did not start.',
    action: 'Correct the anchor’s options.',
    exit: 2,
  },
  // -- keys
  AUD_KEY_MISSING: {
    what: 'There is no key to sign for the origin of this ledger.',
    trail: 'Capture did not start.',
    action: 'Give the key back, or run changetrail recover to begin a new ledger with a new key.',
    exit: 2,
  },
  AUD_KEY_INVALID: {
    what: 'A signing key or verifier key is not one, or belongs to another origin.',
    trail: 'Nothing was signed.',
    action: 'Give an Ed25519 key (PKCS#8 PEM or PRIVATE+KEY+…), or a verifier key name+hash+base64.',
    exit: 2,
  },
  AUD_KEY_SIGN: {
    what: 'The command that signs failed, or its signature is not valid for the public key.',
    trail: 'Records are durable, but no new head covers them.',
    action: 'Repair the command; it is tried again.',
    exit: 3,
  },
  AUD_LEDGER_MISSING: {
    what: 'There is no ledger at the given directory.',
    trail: 'Nothing was read.',
    action: 'Name the data directory or its ledger folder.',
    exit: 2,
  },
  // -- PostgreSQL
  AUD_PG_CONNECT: {
    what: 'The PostgreSQL server cannot be reached, or the connection was lost.',
    trail: 'Capture waits; the slot keeps the changes.',
    action: 'Nothing if it passes; else look at the server and the network.',
    exit: 3,
  },
  AUD_PG_AUTH: {
    what: 'PostgreSQL refused the user or the password.',
    trail: 'Capture waits; the slot keeps the changes.',
    action: 'Correct the user or password; it is tried again slowly.',
    exit: 3,
  },
  AUD_PG_URL: {
    what: 'The connection settings are incomplete (for example a URL without a database).',
    trail: 'Nothing was captured.',
    action: 'Give a URL of the form postgres://user@host:5432/database.',
    exit: 2,
  },
  AUD_PG_VERSION: {
    what: 'The server is older than PostgreSQL 14.',
    trail: 'Nothing was captured.',
    action: 'Use PostgreSQL 14 or later.',
    exit: 2,
  },
  AUD_PG_STANDBY: {
    what: 'The server is a standby: nothing can be set up or captured there.',
    trail: 'Capture waits; the primary’s slot keeps the changes.',
    action: 'Give the primary’s URL, or promote the server.',
    exit: 3,
  },
  AUD_PG_WAL_LEVEL: {
    what: 'The server does not write enough to its log (wal_level is not logical).',
    trail: 'Nothing was captured.',
    action: 'alter system set wal_level = logical; then restart the server.',
    exit: 2,
  },
  AUD_PG_RIGHTS: {
    what: 'The user lacks a right that capture needs (REPLICATION, or on the database).',
    trail: 'Nothing was captured.',
    action: 'Run the printed SQL as an owner.',
    exit: 2,
  },
  AUD_PG_SETUP: {
    what: 'The publication or the slot is missing and the configuration does not allow to create it.',
    trail: 'Nothing was captured.',
    action: 'Run the printed SQL, or set `setup: auto`.',
    exit: 2,
  },
  AUD_PG_PUBLICATION_LOST: {
    what: 'The publication vanished or lost tables while streaming.',
    trail: 'Changes may be missing from the printed position on; a gap record says so.',
    action: 'Run the printed SQL, or set `setup: auto`.',
    exit: 3,
  },
  AUD_PG_PUBLICATION_ADDED: {
    what: 'A publication of the source appeared that the stream does not read yet.',
    trail: 'Nothing is lost; the stream is opened again at once.',
    action: 'Nothing.',
    exit: 3,
  },
  AUD_PG_SLOT_LOST: {
    what: 'The replication slot is gone, invalidated, recreated or was advanced by another client.',
    trail: 'Changes between the two named positions are not in the trail; a gap record says so.',
    action: 'Run the printed SQL, or set `setup: auto`.',
    exit: 3,
  },
  AUD_PG_SLOT_IN_USE: {
    what: 'Another client reads the replication slot.',
    trail: 'Capture waits; the slot keeps the changes.',
    action: 'Stop the client with the named pid; it is tried again.',
    exit: 3,
  },
  AUD_PG_SLOT_UNUSABLE: {
    what: 'A slot of this name exists but belongs to another database or plugin.',
    trail: 'Nothing was captured.',
    action: 'Name another slot in the configuration.',
    exit: 2,
  },
  AUD_PG_PROTOCOL: {
    what: 'The server sent a replication message that is not understood.',
    trail: 'Capture stopped before it; nothing after it was confirmed, so nothing is lost.',
    action: 'Report the named byte and the server version; update changetrail.',
    exit: 3,
  },
  AUD_PG_SERVER: {
    what: 'The server answered a control query with an error.',
    trail: 'Capture waits; the slot keeps the changes.',
    action: 'See the server’s message.',
    exit: 3,
  },
  // -- MongoDB
  AUD_MONGO_CONNECT: {
    what: 'The MongoDB deployment cannot be reached, has no primary, or the connection was lost.',
    trail: 'Capture waits; the oplog keeps the changes for as long as it reaches back.',
    action: 'Nothing if it passes; else look at the servers and the network.',
    exit: 3,
  },
  AUD_MONGO_AUTH: {
    what: 'MongoDB refused the user or the password.',
    trail: 'Capture waits; the oplog keeps the changes for as long as it reaches back.',
    action: 'Correct the user, the password or authSource; it is tried again slowly.',
    exit: 3,
  },
  AUD_MONGO_URL: {
    what: 'The connection string is not one, or names a database where none or one is needed.',
    trail: 'Nothing was captured.',
    action: 'Give a URL of the form mongodb://user@host:27017/?replicaSet=rs0.',
    exit: 2,
  },
  AUD_MONGO_VERSION: {
    what: 'The server is older than MongoDB 6.0.',
    trail: 'Nothing was captured.',
    action: 'Use MongoDB 6.0 or later.',
    exit: 2,
  },
  AUD_MONGO_STANDALONE: {
    what: 'The server is not a member of a replica set, so it has no oplog and no change streams.',
    trail: 'Nothing was captured.',
    action: 'Start mongod with --replSet and run rs.initiate() once.',
    exit: 2,
  },
  AUD_MONGO_RIGHTS: {
    what: 'The user lacks a right that capture needs (changeStream and find).',
    trail: 'Nothing was captured.',
    action: 'Run the printed commands as an administrator.',
    exit: 2,
  },
  AUD_MONGO_HISTORY_LOST: {
    what: 'The oplog no longer reaches back to where capture stood.',
    trail: 'Changes between two named times are not in the trail; a gap record says so when capture starts again.',
    action: 'Make the oplog larger, or keep capture running.',
    exit: 3,
  },
  AUD_MONGO_EVENT: {
    what: 'The server cannot deliver one event even without its images and its description.',
    trail: 'Capture stopped before it; nothing after it was recorded, so nothing is lost.',
    action: 'Report the server’s version and message; set on_history_lost and a new start to go on behind it.',
    exit: 3,
  },
  AUD_MONGO_PROTOCOL: {
    what: 'The server sent something that is not understood.',
    trail: 'Capture stopped before it; nothing after it was recorded, so nothing is lost.',
    action: 'Report the message and the server’s version; update changetrail.',
    exit: 3,
  },
  AUD_MONGO_SERVER: {
    what: 'The server answered a command with an error.',
    trail: 'Capture waits; the oplog keeps the changes for as long as it reaches back.',
    action: 'See the server’s message.',
    exit: 3,
  },
  // -- sinks
  AUD_SINK_FAILED: {
    what: 'A sink failed in a way that trying again cannot mend.',
    trail: 'The ledger is complete; this sink stopped at its cursor. Other sinks and capture go on.',
    action: 'See the message; correct the sink and start again.',
    exit: 3,
  },
  AUD_SINK_PACKAGE: {
    what: 'The client library of a configured sink is not installed.',
    trail: 'Nothing was delivered to this sink; the ledger is not touched.',
    action: 'Install the named package: npm install <package>.',
    exit: 2,
  },
  AUD_SINK_CLOSED: {
    what: 'The reader of standard output went away.',
    trail: 'The ledger is complete; the cursor stands at the last record that was taken.',
    action: 'Start again with a reader.',
    exit: 3,
  },
  AUD_SINK_OPTIONS: {
    what: 'An option of a sink cannot be used (a file that is not there, an expression that does not compile).',
    trail: 'The ledger is complete; this sink did not start. Other sinks and capture go on.',
    action: 'Correct the named option.',
    exit: 2,
  },
  AUD_SINK_CURSOR: {
    what: 'The cursor file of a sink cannot be read, or belongs to another ledger.',
    trail: 'The ledger is complete; this sink did not start. Other sinks and capture go on.',
    action: 'Restore the file, or remove it to send everything again.',
    exit: 3,
  },
  AUD_INTERNAL: {
    what: 'A defect in changetrail.',
    trail: 'Capture stopped; nothing beyond what is durable was confirmed, so nothing is lost.',
    action: 'Report it with the log.',
    exit: 3,
  },
} as const satisfies Record<string, CodeInfo>;

export type ErrorCode = keyof typeof CODES;
