// Loki's push request in protobuf, written by hand: three small messages do not need a code generator.
// @see https://github.com/grafana/loki/blob/main/pkg/push/push.proto

export interface LokiEntry {
  readonly nanos: bigint;
  readonly line: Buffer;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface LokiStream {
  /** `{kind="change", source="shop"}` */
  readonly labels: string;
  readonly entries: readonly LokiEntry[];
}

const NANOS_PER_SECOND = 1_000_000_000n;
const LENGTH_DELIMITED = 2;

/** `PushRequest { repeated Stream streams = 1 }` */
export function encodePush(streams: readonly LokiStream[]): Buffer {
  return Buffer.concat(streams.map((stream) => field(1, encodeStream(stream))));
}

/** `Stream { string labels = 1; repeated Entry entries = 2 }` */
function encodeStream({ labels, entries }: LokiStream): Buffer {
  return Buffer.concat([field(1, Buffer.from(labels)), ...entries.map((entry) => field(2, encodeEntry(entry)))]);
}

/** `Entry { Timestamp timestamp = 1; string line = 2; repeated LabelPair structuredMetadata = 3 }` */
function encodeEntry({ nanos, line, metadata }: LokiEntry): Buffer {
  const timestamp = Buffer.concat([
    Buffer.from([1 << 3]),
    varint(nanos / NANOS_PER_SECOND),
    Buffer.from([2 << 3]),
    varint(nanos % NANOS_PER_SECOND),
  ]);
  const pairs = Object.entries(metadata).map(([name, value]) =>
    field(3, Buffer.concat([field(1, Buffer.from(name)), field(2, Buffer.from(value))])),
  );
  return Buffer.concat([field(1, timestamp), field(2, line), ...pairs]);
}

function field(number: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(number << 3) | LENGTH_DELIMITED]), varint(BigInt(content.length)), content]);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
