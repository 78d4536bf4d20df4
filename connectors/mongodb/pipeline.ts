// The aggregation that the change stream is: where it starts, what it lets through, and what keeps an event below 16 MB.
import { type Document, Timestamp } from 'mongodb';
import type { ClusterTime } from './cluster-time.ts';
import type { CollectionMatcher } from './patterns.ts';

/** Where a stream starts: at a time, all of it included, or behind the event of a token. */
export type StreamStart = { readonly time: ClusterTime } | { readonly token: string };

/**
 * How much of an event is asked for. `whole`: everything. `guarded`: what fits; the guard costs the server a sixth of its
 * work, so it is put in when the first event was too large, and stays. `single`: the same, one event a reply, to find one
 * that does not fit all the same; `bare`: without images; `key`: without the description of the update too; `past`: what
 * no reply can hold at all is passed over, and the event behind it is `guarded`, also where its own key is long.
 */
export type Detail = 'whole' | 'guarded' | 'single' | 'bare' | 'key' | 'past';

/**
 * Both images and the description of an update together may be larger than an event may be (16 MB and 16 KB). A single one
 * never is, so nothing is left out that would fit. What is absent counts as an empty document, of five bytes.
 */
const LARGEST_SUM_BYTES = 16 * 1024 * 1024 + 2 * 5;

/**
 * A reply with one event of a key alone has the key once and the event's token twice, and a token has its key as hex text. So
 * a key of more than 3 MB may be more than any reply can hold (16 MB); one with a token of this length never is.
 */
const DELIVERABLE_TOKEN_CHARS = 6 * 1024 * 1024;
const DELIVERABLE: Document = {
  $match: { $expr: { $lte: [{ $strLenBytes: '$_id._data' }, DELIVERABLE_TOKEN_CHARS] } },
};

const LARGE_FIELDS = ['fullDocument', 'fullDocumentBeforeChange', 'updateDescription'];

const DOCUMENT_OPERATIONS = ['insert', 'update', 'replace', 'delete'];

export interface PipelineOptions {
  readonly start: StreamStart;
  readonly cluster: boolean;
  readonly matcher: CollectionMatcher;
  readonly contextCollection: string;
  readonly detail: Detail;
  /** The server splits large events itself. */
  readonly split: boolean;
}

export function streamPipeline(options: PipelineOptions): Document[] {
  const { start, detail, cluster } = options;
  const images = { fullDocument: 'whenAvailable', fullDocumentBeforeChange: 'whenAvailable' };
  const stages: Document[] = [{ $changeStream: { ...images, ...stream(start, cluster) } }, ...filter(options)];
  if (detail === 'bare') stages.push({ $unset: ['fullDocument', 'fullDocumentBeforeChange'] });
  else if (detail === 'key') stages.push({ $unset: LARGE_FIELDS });
  else {
    if (detail === 'past') stages.push(DELIVERABLE, LONG_KEY_GUARD);
    if (detail !== 'whole') stages.push(options.split ? PIECE_GUARD : SIZE_GUARD);
    if (options.split) stages.push({ $changeStreamSplitLargeEvent: {} });
  }
  return stages;
}

/**
 * A stream that is only opened to see whether it can start there. Nothing is filtered that a reply can hold: the server
 * answers with the first event it meets and does not read on to one that fits.
 */
export function probePipeline(start: StreamStart, cluster: boolean): Document[] {
  return [{ $changeStream: stream(start, cluster) }, DELIVERABLE, { $project: { _id: 1 } }];
}

function stream(start: StreamStart, cluster: boolean): Document {
  return {
    showExpandedEvents: true,
    ...('time' in start
      ? { startAtOperationTime: new Timestamp({ t: start.time.seconds, i: start.time.increment }) }
      : { startAfter: { _data: start.token } }),
    ...(cluster ? { allChangesForCluster: true } : {}),
  };
}

/**
 * Named databases come first: the server looks at that while it reads its oplog, with one comparison an entry, and every
 * definition has its database. Of what is left, definitions and the context collection come through always: they are few, and
 * decided on here.
 */
function filter({ cluster, matcher, contextCollection }: PipelineOptions): Document[] {
  const { databases, serverFilter } = matcher;
  const stages: Document[] = [];
  if (cluster && databases !== null) stages.push({ $match: { 'ns.db': { $in: databases } } });
  if (serverFilter !== null) {
    const always = [{ operationType: { $nin: DOCUMENT_OPERATIONS } }, { 'ns.coll': contextCollection }];
    stages.push({ $match: { $or: [serverFilter, ...always] } });
  }
  return stages;
}

const size = (field: string): Document => ({ $bsonSize: { $ifNull: [field, {}] } });
const tooLarge = (...fields: string[]): Document => ({ $gt: [{ $add: fields.map(size) }, LARGEST_SUM_BYTES] });
const without = (...fields: string[]): Document =>
  fields.reduce<Document | string>((input, field) => ({ $unsetField: { field, input } }), '$$ROOT') as Document;

/**
 * Leaves out what makes an event too large. Of an update the after-image goes first: its before-image and its description
 * still tell it. Of a replacement the before-image: its after-image is the only word on what was written. When the rest is
 * still too large, both go. An image that is left out is absent, where one that the server does not have is null.
 */
const SIZE_GUARD: Document = {
  $replaceWith: either(
    tooLarge('$fullDocument', '$fullDocumentBeforeChange', '$updateDescription'),
    either(
      { $eq: ['$operationType', 'replace'] },
      without('fullDocumentBeforeChange'),
      either(
        tooLarge('$fullDocumentBeforeChange', '$updateDescription'),
        either(
          tooLarge('$fullDocument', '$updateDescription'),
          without('fullDocument', 'fullDocumentBeforeChange'),
          without('fullDocumentBeforeChange'),
        ),
        without('fullDocument'),
      ),
    ),
    '$$ROOT',
  ),
};

/**
 * The key and the token, twice in a reply, add to that. Up to this length they fit beside the largest sum; with a longer one
 * the event is left with its key, when all of it together is too large.
 */
const SHORT_TOKEN_CHARS = 4096;
const LONG_KEY_GUARD: Document = {
  $replaceWith: either(
    {
      $and: [
        { $gt: [{ $strLenBytes: '$_id._data' }, SHORT_TOKEN_CHARS] },
        tooLarge(...LARGE_FIELDS.map((field) => `$${field}`), '$documentKey', '$_id', '$_id'),
      ],
    },
    without(...LARGE_FIELDS),
    '$$ROOT',
  ),
};

/**
 * A piece has one field of the event at least, and its token twice. Only what no piece can hold is left out, so an event that
 * was delivered without this guard is split alike with it, and a stream goes on in the middle of one.
 */
const LARGEST_PIECE_BYTES = 16 * 1024 * 1024 + 8 * 1024 - 512;
const PIECE_GUARD: Document = {
  $set: Object.fromEntries(
    LARGE_FIELDS.map((field) => {
      const bytes = { $add: [size(`$${field}`), size('$_id'), size('$_id')] };
      return [field, either({ $gt: [bytes, LARGEST_PIECE_BYTES] }, '$$REMOVE', `$${field}`)];
    }),
  ),
};

function either(condition: Document, yes: Document | string, no: Document | string): Document {
  return { $cond: [condition, yes, no] };
}
