// Four SHA-256 at a time, for the hashes of a tree's tiles: so short that calling the library is most of their cost
// (bench/verify.ts, ADR 8). WebAssembly with 128-bit vectors, one message a lane.
// FIPS 180-4, section 6.2; WebAssembly 2.0, section 5 (binary format).

// FIPS 180-4, sections 4.2.2 and 5.3.3.
const CONSTANTS = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
  0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
  0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
  0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
  0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
  0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
  0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
  0xc67178f2,
];
const INITIAL = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

// Memory, one page: the message schedule, the state and the constants; the rest is the caller's.
const SCHEDULE_AT = 0;
const STATE_AT = 256;
const CONSTANTS_AT = 384;
const INITIAL_AT = CONSTANTS_AT + 256;
const FREE_AT = 1024;

const DIGEST_BYTES = 32;

/** Messages of one form, one behind the other in memory. */
interface Messages {
  /** A byte that is hashed first; it is not in memory. */
  readonly prefix: number;
  /** Bytes hashed behind it: 32 or 64. */
  readonly bytes: number;
  /** Bytes from one message to the next. */
  readonly stride: number;
}

/** Functions of the module, by name: the leaves and the nodes of RFC 6962, section 2.1, and bundles of C2SP tlog-tiles. */
const FORMS: Readonly<Record<string, Messages>> = {
  hashLeaves: { prefix: 0, bytes: DIGEST_BYTES, stride: 2 + DIGEST_BYTES },
  hashNodes: { prefix: 1, bytes: 2 * DIGEST_BYTES, stride: 2 * DIGEST_BYTES },
};

/** Instructions as they stand in a module, in a tree that is laid flat at the end. */
type Code = number | readonly Code[];

function layFlat(code: Code, into: number[] = []): number[] {
  if (typeof code === 'number') into.push(code);
  else for (const part of code) layFlat(part, into);
  return into;
}

function leb(value: number): Code {
  return value < 0x80 ? value : [(value & 0x7f) | 0x80, leb(value >>> 7)];
}

/** As `leb`, for signed immediates that are not negative. */
function signedLeb(value: number): Code {
  return value < 0x40 ? value : [(value & 0x7f) | 0x80, signedLeb(value >>> 7)];
}

const I32 = 0x7f;
const V128 = 0x7b;
const END = 0x0b;
const get = (local: number): Code => [0x20, local];
const set = (local: number, value: Code): Code => [value, 0x21, local];
const int = (value: number): Code => [0x41, signedLeb(value)];
const MINUS_ONE: Code = [0x41, 0x7f];
const plus = (x: Code, y: Code): Code => [x, y, 0x6a];
const call = (index: number): Code => [0x10, index];
/** Sets the local named next and leaves the value. */
const TEE = 0x22;
const LESS_THAN = 0x49;
/** Does the work, and again as long as the condition is not 0. */
const loopWhile = (work: Code, condition: Code): Code => [0x03, 0x40, work, condition, 0x0d, 0, END];

const vector = (opcode: number, ...operands: readonly Code[]): Code => [operands, 0xfd, leb(opcode)];
const load = (address: Code, offset: number): Code => [vector(0, address), 0, leb(offset)];
const loadSplat = (address: Code, offset: number): Code => [vector(9, address), 0, leb(offset)];
const store = (address: Code, offset: number, value: Code): Code => [vector(11, address, value), 0, leb(offset)];
/** The same word in each lane. */
const splat = (word: number): Code => {
  const bytes = littleEndian([word]);
  return [vector(12), bytes, bytes, bytes, bytes];
};
const and = (x: Code, y: Code): Code => vector(78, x, y);
const or = (x: Code, y: Code): Code => vector(80, x, y);
const xor = (x: Code, y: Code): Code => vector(81, x, y);
const shiftLeft = (x: Code, bits: number): Code => vector(171, x, int(bits));
const shiftRight = (x: Code, bits: number): Code => vector(173, x, int(bits));
const add = (x: Code, y: Code): Code => vector(174, x, y);
const rotate = (x: Code, bits: number): Code => or(shiftRight(x, bits), shiftLeft(x, 32 - bits));
/** Bytes of `x` (0 to 15) and `y` (16 to 31) in the order given. */
const shuffle = (x: Code, y: Code, order: readonly number[]): Code => [vector(13, x, y), order];
/** As `shuffle`, in words of four bytes: 0 to 3 are those of `x`, 4 to 7 those of `y`. */
const shuffleWords = (x: Code, y: Code, order: readonly number[]): Code =>
  shuffle(
    x,
    y,
    order.flatMap((word) => [0, 1, 2, 3].map((byte) => word * 4 + byte)),
  );
const swapBytes = (x: Code): Code => shuffle(x, x, [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12]);

/** Turns four vectors in the locals from `first` on, rows of a square of words, into its columns; `spare`: four more locals. */
function transpose(first: number, spare: number): Code {
  const row = (i: number) => get(first + i);
  const half = (i: number) => get(spare + i);
  return [
    set(spare, shuffleWords(row(0), row(1), [0, 4, 1, 5])),
    set(spare + 1, shuffleWords(row(2), row(3), [0, 4, 1, 5])),
    set(spare + 2, shuffleWords(row(0), row(1), [2, 6, 3, 7])),
    set(spare + 3, shuffleWords(row(2), row(3), [2, 6, 3, 7])),
    set(first, shuffleWords(half(0), half(1), [0, 1, 4, 5])),
    set(first + 1, shuffleWords(half(0), half(1), [2, 3, 6, 7])),
    set(first + 2, shuffleWords(half(2), half(3), [0, 1, 4, 5])),
    set(first + 3, shuffleWords(half(2), half(3), [2, 3, 6, 7])),
  ];
}

const wordAt = (i: number) => SCHEDULE_AT + 16 * (i % 16);
const word = (i: number): Code => load(int(0), wordAt(i));

/** Bytes of the constants that sixteen rounds use. */
const CONSTANTS_A_TURN = 64;

/** `compress()`: one block of each lane, from the schedule into the state. Sixteen rounds, then three times sixteen more. */
function compress(): Code {
  const constants = 0;
  const eight = [1, 2, 3, 4, 5, 6, 7, 8];
  const stateAt = (local: number) => STATE_AT + 16 * (local - 1);
  return [
    eight.map((local) => set(local, load(int(0), stateAt(local)))),
    sixteenRounds(constants, false),
    loopWhile(
      [set(constants, plus(get(constants), int(CONSTANTS_A_TURN))), sixteenRounds(constants, true)],
      [get(constants), int(3 * CONSTANTS_A_TURN), LESS_THAN],
    ),
    eight.map((local) => store(int(0), stateAt(local), add(get(local), load(int(0), stateAt(local))))),
  ];
}

/** `constants`: a local that counts how far in the constants the rounds are, in bytes. `extend`: each makes its word first. */
function sixteenRounds(constants: number, extend: boolean): Code {
  const [spare, now] = [9, 10];
  const rounds: Code[] = [];
  for (let i = 0; i < 16; i++) {
    // The variables change places each round: instead of moving eight values, each round names them anew.
    const place = (n: number) => get(1 + ((n + 16 - i) % 8));
    const into = (n: number, value: Code) => set(1 + ((n + 16 - i) % 8), value);
    const [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(place) as [
      Code,
      Code,
      Code,
      Code,
      Code,
      Code,
      Code,
      Code,
    ];
    rounds.push(set(now, extend ? nextWord(i) : word(i)));
    if (extend) rounds.push(store(int(0), wordAt(i), get(now)));
    const sum1 = xor(xor(rotate(e, 6), rotate(e, 11)), rotate(e, 25));
    const choice = xor(g, and(e, xor(f, g)));
    const constant = loadSplat(get(constants), CONSTANTS_AT + 4 * i);
    const sum0 = xor(xor(rotate(a, 2), rotate(a, 13)), rotate(a, 22));
    const majority = or(and(a, b), and(c, or(a, b)));
    rounds.push(set(spare, add(add(add(h, add(get(now), constant)), choice), sum1)));
    rounds.push(into(3, add(d, get(spare))), into(7, add(get(spare), add(sum0, majority))));
  }
  return rounds;
}

/** Word `i` of the schedule's next sixteen, which takes the place of the one sixteen before it. */
function nextWord(i: number): Code {
  const [w2, w15] = [word(i + 14), word(i + 1)];
  const small0 = xor(xor(rotate(w15, 7), rotate(w15, 18)), shiftRight(w15, 3));
  const small1 = xor(xor(rotate(w2, 17), rotate(w2, 19)), shiftRight(w2, 10));
  return add(add(word(i), small0), add(word(i + 9), small1));
}

/** The bit that ends a message. */
const PADDING = 0x80;

/**
 * `(input, output, groups)`: hashes four messages a group. What is loaded begins one byte before a message, where the prefix
 * belongs; of 32 or 64 bytes, whole vectors and one byte are left.
 */
function hashGroups({ prefix, bytes, stride }: Messages): Code {
  const [input, output, groups, rows, spare] = [0, 1, 2, 3, 7];
  const body: Code[] = [];
  const put = (i: number, value: Code) => body.push(store(int(0), wordAt(i), value));
  for (let n = 0; n < 8; n++) body.push(store(int(0), STATE_AT + 16 * n, loadSplat(int(0), INITIAL_AT + 4 * n)));
  for (let at = 0; at <= bytes; at += 16) {
    for (let lane = 0; lane < 4; lane++) {
      body.push(set(rows + lane, swapBytes(load(get(input), lane * stride + at))));
    }
    body.push(transpose(rows, spare));
    if (at === 0) body.push(set(rows, or(and(get(rows), splat(0x00ff_ffff)), splat(prefix << 24))));
    const last = at === bytes;
    if (last) {
      put(at / 4, or(and(get(rows), splat(0xff00_0000)), splat(PADDING << 16)));
      for (let i = (at / 4 + 1) % 16; i < 15; i++) put(i, splat(0));
      put(15, splat(8 * (1 + bytes)));
    } else {
      for (let i = 0; i < 4; i++) put(at / 4 + i, get(rows + i));
    }
    if (last || at % 64 === 48) body.push(call(COMPRESS));
  }
  for (const half of [0, 1]) {
    for (let i = 0; i < 4; i++) body.push(set(rows + i, load(int(0), STATE_AT + 64 * half + 16 * i)));
    body.push(transpose(rows, spare));
    for (let lane = 0; lane < 4; lane++) {
      body.push(store(get(output), DIGEST_BYTES * lane + 16 * half, swapBytes(get(rows + lane))));
    }
  }
  const next = [set(input, plus(get(input), int(4 * stride))), set(output, plus(get(output), int(4 * DIGEST_BYTES)))];
  return [
    set(input, plus(get(input), MINUS_ONE)),
    loopWhile([body, next], [plus(get(groups), MINUS_ONE), TEE, groups]),
  ];
}

const COMPRESS = 0;

/** A section of a module, or a function in one: its length goes first. */
const sized = (content: Code): Code => {
  const bytes = layFlat(content);
  return [leb(bytes.length), bytes];
};
const section = (id: number, items: readonly Code[]): Code => [id, sized([leb(items.length), items])];
const exported = (name: string, kind: number, index: number): Code => [sized([...Buffer.from(name)]), kind, index];
/** A function's body; `locals`: how many of each type. */
const body = (locals: readonly Code[], code: Code): Code => sized([locals.length, locals, code, END]);
const littleEndian = (values: readonly number[]) =>
  values.flatMap((value) => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24]);

function moduleBytes(): Buffer {
  const forms = Object.entries(FORMS);
  const data = littleEndian([...CONSTANTS, ...INITIAL]);
  return Buffer.from(
    layFlat([
      [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      section(1, [
        [0x60, 0, 0],
        [0x60, 3, I32, I32, I32, 0],
      ]),
      section(3, [0, ...forms.map(() => 1)]),
      section(5, [[0, 1]]),
      section(7, [exported('memory', 2, 0), ...forms.map(([name], i) => exported(name, 0, 1 + i))]),
      section(10, [
        body(
          [
            [1, I32],
            [10, V128],
          ],
          compress(),
        ),
        ...forms.map(([, form]) => body([[8, V128]], hashGroups(form))),
      ]),
      section(11, [[0, int(CONSTANTS_AT), END, sized(data)]]),
    ]),
  );
}

/** The file that the ledger loads. */
export function sha256Lanes(): string {
  return `// Generated by npm run generate from scripts/wasm/sha256-lanes.ts, where it is explained.

/** Memory below this is the module's own. */
export const FREE_AT = ${FREE_AT};

/** A WebAssembly module: hashes four messages at a time. */
export const SHA256_LANES = Buffer.from(
  '${moduleBytes().toString('base64')}',
  'base64',
);
`;
}
