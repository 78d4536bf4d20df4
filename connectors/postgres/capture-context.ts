import type { SourceOutput } from '../../src/core/output.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import type { ResolvedPostgres } from './options.ts';
import type { TableMatcher } from './patterns.ts';
import type { ServerFacts } from './preflight.ts';
import type { PublicationMarks } from './publications.ts';
import type { KnownTables } from './schema-changes.ts';
import type { OpenShortfall } from './shortfalls.ts';
import type { LimitReason } from './tables.ts';
import type { TypeCatalog } from './types.ts';

/** What belongs to one opened source, from its start record to the end of its stream. */
export interface CaptureContext {
  readonly options: ResolvedPostgres;
  readonly facts: ServerFacts;
  readonly matcher: TableMatcher;
  readonly types: TypeCatalog;
  readonly known: KnownTables;
  readonly output: SourceOutput;
  readonly log: Logger;
  /** What was last seen of the publication. */
  readonly published: Published;
  /** Names of the publications that the stream asks for. */
  readonly streamed: Set<string>;
  /** Tables of which UPDATE and DELETE are not seen, as it was last recorded. */
  readonly limits: Map<number, LimitReason>;
  /** The known tables, or what was seen of the publication, changed: keep them. */
  remember(): void;
}

export interface Published {
  /** Everything before it was published: the log's end before the last look that found all in order. */
  seen: string;
  /** When `seen` was kept last, milliseconds since 1970. */
  keptAt: number;
  /** A publication is there that the stream does not ask for: it can once the slot has passed this position. */
  joinAt: bigint | null;
  /** OID of the publication at that look. */
  publication: number | null;
  /** The catalog's rows at that look; null: not known. */
  marks: PublicationMarks | null;
  /** What is left out and could not be put right, by its key. */
  readonly lost: Map<string, OpenShortfall>;
}
