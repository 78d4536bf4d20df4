// Every built-in type with texts the server takes for it, and how its values are to stand in a record.
import fc from 'fast-check';

/** How the server's text of a value is mapped (docs/reference/record.md); the test's own words for it. */
export type Kind = 'boolean' | 'number' | 'float' | 'json' | 'timestamp' | 'text';

export interface TestType {
  /** Name of the column; unique. */
  readonly column: string;
  /** The type in SQL. */
  readonly sql: string;
  readonly kind: Kind;
  /** Input texts, never null. */
  readonly values: fc.Arbitrary<string>;
  /** Between the elements of an array of it. */
  readonly delimiter?: string;
  /** An array, whose elements are of `kind`. */
  readonly array?: true;
}

const oneOf = (...texts: string[]) => fc.constantFrom(...texts);
const int = (min: bigint, max: bigint) =>
  fc.oneof(fc.constantFrom(min, max, 0n, -1n < min ? 0n : -1n), fc.bigInt(min, max)).map(String);
const pad = (value: number, width: number) => String(value).padStart(width, '0');

const HARD_TEXTS = [
  '',
  ' ',
  'NULL',
  'null',
  '"',
  '\\',
  '\\"',
  '{',
  '}',
  '{"a"}',
  ',',
  ';',
  "'",
  '\n\r\t\b\f\v',
  Array.from({ length: 31 }, (_, i) => String.fromCharCode(i + 1)).join(''),
  '\x7f\x80\x9f',
  '\u2028\u2029\ufeff\ufffd',
  'é\u0301 ß ﷺ 日本語',
  '👩‍👩‍👧‍👦🧨\u{10ffff}',
  '\\u0000',
  '","after":{"x":1}',
];
const text = fc
  .oneof(
    { weight: 1, arbitrary: fc.constantFrom(...HARD_TEXTS) },
    { weight: 3, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
  )
  .map((value) => value.replaceAll('\0', ''));
const long = fc
  .tuple(text, fc.integer({ min: 1, max: 4000 }))
  .map(([piece, times]) => `${piece}x`.repeat(times).slice(0, 90_000));

const time = fc.tuple(fc.integer({ min: 0, max: 86_399 }), fc.integer({ min: 0, max: 999_999 })).map(([s, micros]) => {
  const clock = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60].map((part) => pad(part, 2)).join(':');
  return micros % 3 === 0 ? clock : `${clock}.${pad(micros, 6)}`;
});
const day = (first: number, last: number) =>
  fc
    .tuple(
      fc.oneof(fc.integer({ min: 1900, max: 2100 }), fc.integer({ min: first, max: last })),
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 28 }),
    )
    .map(([year, month, date]) => ({
      date: `${pad(year <= 0 ? 1 - year : year, 4)}-${pad(month, 2)}-${pad(date, 2)}`,
      era: year <= 0 ? ' BC' : '',
    }));
const infinity = oneOf('infinity', '-infinity');
const date = fc.oneof(
  infinity,
  day(-4711, 5_874_896).map(({ date: d, era }) => d + era),
);
const timestamp = fc.oneof(
  infinity,
  fc.tuple(day(-4711, 294_275), time).map(([{ date: d, era }, clock]) => `${d} ${clock}${era}`),
);
const offset = oneOf('+00', '-11', '+05:45', '-03:30:15', '+14');
const timestamptz = fc.oneof(
  infinity,
  fc.tuple(day(-4710, 294_275), time, offset).map(([{ date: d, era }, clock, zone]) => `${d} ${clock}${zone}${era}`),
);
const interval = fc
  .tuple(
    fc.integer({ min: -9999, max: 9999 }),
    fc.integer({ min: -11, max: 11 }),
    fc.integer({ min: -40, max: 40 }),
    time,
    oneOf('', '-'),
  )
  .map(([years, months, days, clock, sign]) => `${years} years ${months} mons ${days} days ${sign}${clock}`);

const digits = (max: number) => fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: max });
const numeric = fc.oneof(
  oneOf('NaN', 'Infinity', '-Infinity', '0', '-0', '0.000', '1e-300', `1${'0'.repeat(5000)}.${'3'.repeat(2000)}`),
  fc.tuple(oneOf('', '-'), digits(60), digits(30)).map(([sign, a, b]) => `${sign}${a}.${b}`),
);
const float = (values: fc.Arbitrary<number>) => values.map((value) => (Object.is(value, -0) ? '-0' : String(value)));

const jsonValue = fc.jsonValue({ stringUnit: 'binary', maxDepth: 4 });
const json = fc.oneof(
  oneOf(
    ' { "a" :\n [1,\t2 ] }\r\n',
    '"\\u0000 \\u2028"',
    '1e400',
    '-0.0',
    '12345678901234567890.123',
    '{"a":1,"a":2}',
    'null',
  ),
  jsonValue.map((value) => JSON.stringify(value)),
  jsonValue.map((value) => JSON.stringify(value, null, 2)),
);
const jsonb = fc.oneof(
  oneOf('{"b":1,"a":[null,true,"\\u2028"]}', '1e300', '12345678901234567890.123', 'null', '"x"'),
  jsonValue.map((value) => JSON.stringify(value).replaceAll('\\u0000', '')),
);

const bytes = fc.uint8Array({ maxLength: 200 }).map((value) => `\\x${Buffer.from(value).toString('hex')}`);
const bits = (min: number, max: number) =>
  fc.string({ unit: fc.constantFrom('0', '1'), minLength: min, maxLength: max });
const uuid = fc.uuid();
const coordinate = fc.oneof(
  oneOf('0', '-1.5', '1e300', 'Infinity', 'NaN'),
  fc.integer({ min: -99, max: 99 }).map(String),
);
const point = fc.tuple(coordinate, coordinate).map(([x, y]) => `(${x},${y})`);
const points = (min: number) => fc.array(point, { minLength: min, maxLength: 5 });
const octet = fc.integer({ min: 0, max: 255 });
const ipv4 = fc.tuple(octet, octet, octet, octet).map((parts) => parts.join('.'));

const ranges = (lower: string, upper: string) =>
  oneOf('empty', '(,)', `[${lower},)`, `(,${upper}]`, `[${lower},${upper})`, `(${lower},${upper}]`);
const multiranges = (range: fc.Arbitrary<string>) =>
  fc.array(range, { maxLength: 3 }).map((list) => `{${list.join(',')}}`);
const spans = {
  int4: ranges('-5', '2147483646'),
  int8: ranges('-9223372036854775808', '7'),
  num: ranges('-1.50', '1e20'),
  ts: ranges('"2020-01-01 00:00:00"', '"infinity"'),
  tstz: ranges('"2020-01-01 00:00:00+03"', '"2030-05-05 01:02:03.5+00"'),
  date: ranges('2020-01-01', '"5000-02-03"'),
};

/** Objects the types below need. */
export const TYPES_SETUP = `
create schema "odd Schema";
create type "odd Schema"."Mood" as enum ('ok', 'so so', '"quoted"', 'a,b', '{}', 'NULL', 'ünï🧨', '\\back');
create type pair as (a int, "B b" text);
create type nest as (p pair, list int[]);
create domain d_int as int check (value > -100);
create domain d_int2 as d_int;
create domain d_text as text;
create domain d_bool as boolean;
create domain d_ts as timestamptz;
create domain d_json as jsonb;
create domain d_list as int[];
create domain d_texts as text[];
create type "odd Schema".textrange as range (subtype = text, multirange_type_name = "odd Schema".textmultirange);
`;

const composite = fc.tuple(fc.integer({ min: -9, max: 9 }), text).map(([a, b]) => {
  const escaped = b.replaceAll('\\', '\\\\').replaceAll('"', '\\"');
  return `(${a},"${escaped}")`;
});

const SCALARS: readonly (readonly [string, Kind, fc.Arbitrary<string>, string?])[] = [
  ['boolean', 'boolean', oneOf('t', 'f')],
  ['int2', 'number', int(-32768n, 32767n)],
  ['int4', 'number', int(-2147483648n, 2147483647n)],
  ['int8', 'text', int(-9223372036854775808n, 9223372036854775807n)],
  ['oid', 'number', int(0n, 4294967295n)],
  ['float4', 'float', float(fc.float())],
  ['float8', 'float', float(fc.double())],
  ['numeric', 'text', numeric],
  ['numeric(20,5)', 'text', fc.tuple(oneOf('', '-'), digits(14), digits(8)).map(([s, a, b]) => `${s}${a}.${b}`)],
  ['money', 'text', oneOf('0', '-92233720368547758.08', '92233720368547758.07', '12.34', '-0.05', '1234567.89')],
  ['text', 'text', fc.oneof({ weight: 6, arbitrary: text }, { weight: 1, arbitrary: long })],
  ['varchar(60)', 'text', text.map((value) => [...value].slice(0, 60).join(''))],
  ['char(60)', 'text', text.map((value) => [...value].slice(0, 60).join(''))],
  ['name', 'text', oneOf('', 'abc', '"q"', 'ü'.repeat(20), '🧨')],
  ['"char"', 'text', oneOf('a', '"', '\\', '{', '\u0001', '\\377', '\\001', '')],
  ['bytea', 'text', bytes],
  ['json', 'json', json],
  ['jsonb', 'json', jsonb],
  ['jsonpath', 'text', oneOf('$', '$.a[*] ? (@ > 1)', '$."x y"."\\"q"', 'strict $.a.b', '$.** ? (@.n == "ü")')],
  ['uuid', 'text', uuid],
  ['date', 'text', date],
  ['time', 'text', fc.oneof(oneOf('24:00:00'), time)],
  ['timetz', 'text', fc.tuple(time, offset).map(([clock, zone]) => clock + zone)],
  ['timestamp', 'timestamp', timestamp],
  ['timestamp(0)', 'timestamp', timestamp.filter((value) => !value.startsWith('294275'))],
  ['timestamptz', 'timestamp', timestamptz],
  ['interval', 'text', interval],
  ['bit(9)', 'text', bits(9, 9)],
  ['bit varying', 'text', bits(0, 70)],
  ['inet', 'text', fc.oneof(ipv4, oneOf('10.0.0.1/8', '::1', '2001:db8::ff/64', '::ffff:1.2.3.4', '0.0.0.0/0'))],
  ['cidr', 'text', oneOf('10.0.0.0/8', '192.168.1.0/24', '2001:db8::/32', '::/0', '1.2.3.4/32')],
  ['macaddr', 'text', oneOf('08:00:2b:01:02:03', 'ff:ff:ff:ff:ff:ff')],
  ['macaddr8', 'text', oneOf('08:00:2b:01:02:03:04:05', '00:00:00:00:00:00:00:00')],
  ['point', 'text', point],
  ['line', 'text', oneOf('{1,-1,0}', '{0,1,-5.5}', '{1e10,2,NaN}')],
  ['lseg', 'text', points(2).map(([a, b]) => `[${a},${b}]`)],
  ['box', 'text', oneOf('(1,2),(3,4)', '(-1.5,0),(1e300,7)', '(0,0),(0,0)'), ';'],
  ['path', 'text', fc.tuple(points(1), fc.boolean()).map(([list, open]) => (open ? `[${list}]` : `(${list})`))],
  ['polygon', 'text', points(1).map((list) => `(${list})`)],
  ['circle', 'text', oneOf('<(0,0),1>', '<(-1.5,2e10),0>', '<(0,0),Infinity>')],
  ['tsvector', 'text', oneOf('', "'a':1A 'b c':2,3B", 'fat cat sat', "'it''s':4C '\\\\':5", "'ü':1 '🧨':2")],
  ['tsquery', 'text', oneOf("'fat' & !'rat'", 'a <2> b | c:*AB', "'it''s'")],
  ['pg_lsn', 'text', oneOf('0/0', 'FFFFFFFF/FFFFFFFF', '16/B374D848')],
  ['pg_snapshot', 'text', oneOf('10:20:10,14,15', '1:1:')],
  ['txid_snapshot', 'text', oneOf('10:20:10,14,15')],
  ['xid', 'text', oneOf('0', '4294967295')],
  ['xid8', 'text', oneOf('0', '18446744073709551615')],
  ['cid', 'text', oneOf('0', '4294967295')],
  ['tid', 'text', oneOf('(0,1)', '(4294967295,65535)')],
  ['regclass', 'text', oneOf('pg_class', 'pg_catalog.pg_type', '4294967295', '-')],
  ['regtype', 'text', oneOf('integer', '"odd Schema"."Mood"', 'public.pair', '-')],
  ['regconfig', 'text', oneOf('simple')],
  ['refcursor', 'text', text],
  ['int2vector', 'text', oneOf('', '1 2 3', '-5')],
  ['oidvector', 'text', oneOf('', '1 4294967295')],
  ['int4range', 'text', spans.int4],
  ['int8range', 'text', spans.int8],
  ['numrange', 'text', spans.num],
  ['tsrange', 'text', spans.ts],
  ['tstzrange', 'text', spans.tstz],
  ['daterange', 'text', spans.date],
  ['"odd Schema".textrange', 'text', oneOf('["a","b,c"]', '["\\"",)', 'empty', '["ü","🧨")')],
  ['int4multirange', 'text', multiranges(spans.int4)],
  ['int8multirange', 'text', multiranges(spans.int8)],
  ['nummultirange', 'text', multiranges(spans.num)],
  ['tsmultirange', 'text', multiranges(spans.ts)],
  ['tstzmultirange', 'text', multiranges(spans.tstz)],
  ['datemultirange', 'text', multiranges(spans.date)],
  ['"odd Schema".textmultirange', 'text', oneOf('{["a","b,c"],["x","y")}', '{}')],
  ['"odd Schema"."Mood"', 'text', oneOf('ok', 'so so', '"quoted"', 'a,b', '{}', 'NULL', 'ünï🧨', '\\back')],
  ['pair', 'text', composite],
  ['nest', 'text', oneOf('("(1,x)","{1,NULL}")', '(,)', '("(,""a \\\\ b"")",{})')],
  ['d_int', 'number', int(-99n, 2147483647n)],
  ['d_int2', 'number', int(-99n, 2147483647n)],
  ['d_text', 'text', text],
  ['d_bool', 'boolean', oneOf('t', 'f')],
  ['d_ts', 'timestamp', timestamptz],
  ['d_json', 'json', jsonb],
];

/** Types that a server may lack: contrib modules, or libxml left out of the build. */
export const OPTIONAL_TYPES: readonly { readonly needs: string; readonly setup: string; readonly type: TestType }[] = [
  {
    needs: 'xml',
    setup: "select '<a/>'::xml",
    type: {
      column: 'xml',
      sql: 'xml',
      kind: 'text',
      values: oneOf('<a b="c">ü</a>', 'x &amp; y', '<?pi?>', '<a>\n</a>'),
    },
  },
  {
    needs: 'hstore',
    setup: 'create extension hstore',
    type: { column: 'hstore', sql: 'hstore', kind: 'text', values: oneOf('', 'a=>1', '"x y"=>NULL, "q\\""=>"🧨"') },
  },
  {
    needs: 'citext',
    setup: 'create extension citext',
    type: { column: 'citext', sql: 'citext', kind: 'text', values: text },
  },
];

/** An array's text of the element's texts: empty, of one to three dimensions, with NULL elements, with its own bounds. */
function arrayOf(element: fc.Arbitrary<string>, delimiter: string): fc.Arbitrary<string> {
  const quote = (value: string) => `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  const item = fc.option(element.map(quote), { nil: 'NULL', freq: 4 });
  return fc
    .tuple(
      fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 }),
      fc.array(item, { minLength: 27, maxLength: 27 }),
      fc.integer({ min: 0, max: 7 }),
    )
    .map(([sizes, items, odd]) => {
      let next = 0;
      const build = (depth: number): string =>
        depth === sizes.length
          ? items[next++]!
          : `{${Array.from({ length: sizes[depth]! }, () => build(depth + 1)).join(delimiter)}}`;
      if (sizes.length === 0) return '{}';
      const bounds = odd === 0 ? `${sizes.map((size, i) => `[${i - 2}:${i - 3 + size}]`).join('')}=` : '';
      return bounds + build(0);
    });
}

/** Pseudo-arrays and types without an array type, or whose array is refused as a column. */
const NO_ARRAY = new Set(['d_int2']);

export function allTypes(scalars: readonly TestType[] = builtIn()): TestType[] {
  const arrays = scalars
    .filter((type) => !NO_ARRAY.has(type.sql))
    .map(
      (type): TestType => ({
        ...type,
        column: `${type.column}[]`,
        sql: `${type.sql}[]`,
        values: arrayOf(type.values, type.delimiter ?? ','),
        array: true,
      }),
    );
  return [...scalars, ...arrays];
}

export function builtIn(): TestType[] {
  return SCALARS.map(([sql, kind, values, delimiter]) => ({
    column: sql,
    sql,
    kind,
    values,
    ...(delimiter === undefined ? {} : { delimiter }),
  }));
}

/** Domains over arrays, and arrays of them. */
export function arrayDomains(): TestType[] {
  const numbers = arrayOf(
    fc.integer().map((n) => String(n | 0)),
    ',',
  );
  const texts = arrayOf(text, ',');
  return [
    { column: 'd_list', sql: 'd_list', kind: 'number', values: numbers, array: true },
    { column: 'd_texts', sql: 'd_texts', kind: 'text', values: texts, array: true },
  ];
}

/** The value a record must hold for the server's text of it: the mapping of the record's definition, written plainly. */
export function expected(type: Pick<TestType, 'kind' | 'array' | 'delimiter'>, value: string | null): unknown {
  if (value === null) return null;
  if (type.array) return value.startsWith('{') ? new ArrayText(type, value).read() : value;
  switch (type.kind) {
    case 'boolean':
      return value === 't';
    case 'number':
      return Number(value);
    case 'float':
      return /^(NaN|-?Infinity)$/.test(value) ? value : Number(value);
    case 'json':
      return JSON.parse(value);
    case 'timestamp':
      return value.replace(
        /^(\d{4}-\d\d-\d\d) ([\d:.]+)(?:\+00)?$/,
        (whole, d, t) => `${d}T${t}${whole.endsWith('+00') ? 'Z' : ''}`,
      );
    case 'text':
      return value;
  }
}

class ArrayText {
  readonly #type: Pick<TestType, 'kind' | 'delimiter'>;
  readonly #text: string;
  #at = 0;

  constructor(type: Pick<TestType, 'kind' | 'delimiter'>, value: string) {
    this.#type = type;
    this.#text = value;
  }

  read(): unknown {
    const list: unknown[] = [];
    this.#at++;
    while (this.#text[this.#at] !== '}') {
      list.push(this.#item());
      if (this.#text[this.#at] === (this.#type.delimiter ?? ',')) this.#at++;
    }
    this.#at++;
    return list;
  }

  #item(): unknown {
    const { kind, delimiter } = this.#type;
    if (this.#text[this.#at] === '{') return this.read();
    if (this.#text[this.#at] !== '"') {
      const [bare] = (delimiter === ';' ? /^[^;}]*/ : /^[^,}]*/).exec(this.#text.slice(this.#at))!;
      this.#at += bare.length;
      return expected({ kind }, bare === 'NULL' ? null : bare);
    }
    const [quoted] = /^"(?:[^"\\]|\\.)*"/s.exec(this.#text.slice(this.#at))!;
    this.#at += quoted.length;
    return expected({ kind }, quoted.slice(1, -1).replace(/\\(.)/gs, '$1'));
  }
}
