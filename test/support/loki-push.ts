// Reads Loki's protobuf push request, independent of the code that writes it.

interface Field {
  readonly number: number;
  readonly bytes: Buffer;
  readonly value: bigint;
}

function* fieldsOf(message: Buffer): Generator<Field> {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = Number(varint());
    const number = tag >> 3;
    if ((tag & 7) === 0) {
      yield { number, bytes: Buffer.alloc(0), value: varint() };
    } else if ((tag & 7) === 2) {
      const length = Number(varint());
      yield { number, bytes: message.subarray(at, at + length), value: 0n };
      at += length;
    } else throw new Error(`wire type ${tag & 7} is not used in a push request`);
  }
}

const textOf = (message: Buffer, number: number) =>
  [...fieldsOf(message)].find((field) => field.number === number)?.bytes.toString('utf8') ?? '';
const numberOf = (message: Buffer, number: number) =>
  [...fieldsOf(message)].find((field) => field.number === number)?.value ?? 0n;

/** The entries of a push request, in order. Labels are read as Loki's `{name="value", …}`. */
export function decodePush(message: Buffer) {
  return [...fieldsOf(message)].flatMap(({ bytes: stream }) => {
    const fields = [...fieldsOf(stream)];
    const labels = parseLabels(textOf(stream, 1));
    return fields
      .filter(({ number }) => number === 2)
      .map(({ bytes: entry }) => {
        const parts = [...fieldsOf(entry)];
        const timestamp = parts.find(({ number }) => number === 1)!.bytes;
        const pairs = parts
          .filter(({ number }) => number === 3)
          .map(({ bytes }) => [textOf(bytes, 1), textOf(bytes, 2)]);
        return {
          labels,
          nanos: numberOf(timestamp, 1) * 1_000_000_000n + numberOf(timestamp, 2),
          line: textOf(entry, 2),
          metadata: Object.fromEntries(pairs) as Record<string, string>,
        };
      });
  });
}

function parseLabels(text: string): Record<string, string> {
  const pairs = [...text.matchAll(/(\w+)=("(?:[^"\\]|\\.)*")/g)];
  return Object.fromEntries(pairs.map(([, name, value]) => [name, JSON.parse(value!) as string]));
}
