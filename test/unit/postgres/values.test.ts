import { describe, expect, test } from 'vitest';
import { writeValue } from '../../../connectors/postgres/decode/values.ts';
import { TypeCatalog, type TypeForm } from '../../../connectors/postgres/types.ts';
import { ByteWriter } from '../../../src/record/byte-writer.ts';

const types = new TypeCatalog();
types.add([
  { oid: 1007, base: 0, element: 23, delimiter: ',' },
  { oid: 1009, base: 0, element: 25, delimiter: ',' },
  { oid: 1000, base: 0, element: 16, delimiter: ',' },
  { oid: 199, base: 0, element: 114, delimiter: ',' },
  { oid: 1185, base: 0, element: 1184, delimiter: ',' },
  { oid: 1022, base: 0, element: 701, delimiter: ',' },
  { oid: 1020, base: 0, element: 603, delimiter: ';' },
  { oid: 1002, base: 0, element: 18, delimiter: ',' },
  { oid: 50_001, base: 50_002, element: 0, delimiter: ',' },
  { oid: 50_002, base: 1007, element: 0, delimiter: ',' },
  { oid: 50_003, base: 0, element: 50_001, delimiter: ',' },
]);

/** The JSON text of a value, written by a writer whose buffer is too small for it, from the middle of other bytes. */
function written(form: TypeForm, value: string | Buffer): string {
  const bytes = Buffer.from(value as string);
  const around = Buffer.concat([Buffer.from('<<'), bytes, Buffer.from('>>')]);
  const parts: Buffer[] = [];
  const out = new ByteWriter(8, (writer, room) => {
    parts.push(Buffer.from(writer.buf.subarray(0, writer.pos)));
    writer.pos = 0;
    if (room > writer.buf.length) writer.buf = Buffer.alloc(room);
  });
  writeValue(out, form, around, 2, 2 + bytes.length);
  parts.push(out.buf.subarray(0, out.pos));
  return Buffer.concat(parts).toString('utf8');
}

const text = (oid: number, value: string | Buffer) => written(types.form(oid), value);

describe('values', () => {
  test.each([
    [16, 't', 'true'],
    [16, 'f', 'false'],
    [23, '-2147483648', '-2147483648'],
    [20, '9223372036854775807', '"9223372036854775807"'],
    [1700, 'NaN', '"NaN"'],
    [701, '-0', '-0'],
    [701, '1e-300', '1e-300'],
    [701, 'NaN', '"NaN"'],
    [701, '-Infinity', '"-Infinity"'],
    [114, ' {\n"a" :\t1 }\r\n', ' { "a" : 1 }  '],
    [3802, '{"a": 1}', '{"a": 1}'],
    [1114, '2024-02-29 12:00:00', '"2024-02-29T12:00:00"'],
    [1114, '0044-03-15 12:00:00 BC', '"0044-03-15 12:00:00 BC"'],
    [1114, '10000-01-01 00:00:00', '"10000-01-01 00:00:00"'],
    [1114, 'infinity', '"infinity"'],
    [1184, '2024-02-29 12:00:00.5+00', '"2024-02-29T12:00:00.5Z"'],
    [1184, '2024-02-29 12:00:00+05:45', '"2024-02-29T12:00:00+05:45"'],
    [1184, '-infinity', '"-infinity"'],
    [1082, '0044-03-15 BC', '"0044-03-15 BC"'],
    [25, '', '""'],
    [25, '"\\\u0001\u001f\u007f\b\f\n\r\t/', '"\\"\\\\\\u0001\\u001f\u007f\\b\\f\\n\\r\\t/"'],
    [18, 'a', '"a"'],
    [18, '', '""'],
    [999_999, 'unknown type', '"unknown type"'],
  ])('type %i: %j', (oid, value, json) => {
    expect(text(oid, value)).toBe(json);
    JSON.parse(json);
  });

  test('a "char" that is no UTF-8', () => {
    expect(text(18, Buffer.from([0xc8]))).toBe('"\\\\310"');
    expect(text(1002, Buffer.from([0x7b, 0xff, 0x2c, 0x61, 0x7d]))).toBe('["\\\\377","a"]');
  });
});

describe('arrays', () => {
  test.each([
    [1007, '{}', '[]'],
    [1007, '{1,NULL,-3}', '[1,null,-3]'],
    [1007, '{{1,2},{3,NULL}}', '[[1,2],[3,null]]'],
    [1007, '{{{1}},{{2}}}', '[[[1]],[[2]]]'],
    [1007, '[0:1]={1,2}', '"[0:1]={1,2}"'],
    [1009, '{"NULL",NULL,null,"",nullx}', '["NULL",null,null,"","nullx"]'],
    [1009, '{"a,b","c\\"d","e\\\\f","{g}"," h "}', '["a,b","c\\"d","e\\\\f","{g}"," h "]'],
    [1009, '{ü,"🧨 x"}', '["ü","🧨 x"]'],
    [1000, '{t,f,NULL}', '[true,false,null]'],
    [199, '{"{\\"a\\":\\"x,y\\"}",1,null,"[1, 2]"}', '[{"a":"x,y"},1,null,[1, 2]]'],
    [1185, '{"2024-02-29 12:00:00+00",infinity}', '["2024-02-29T12:00:00Z","infinity"]'],
    [1022, '{1.5,NaN,Infinity,-0}', '[1.5,"NaN","Infinity",-0]'],
    [1020, '{(3,4),(1,2);(0,0),(0,0)}', '["(3,4),(1,2)","(0,0),(0,0)"]'],
    // A domain over a domain over an array, and an array of it.
    [50_001, '{1,2}', '[1,2]'],
    [50_003, '{"{1,2}","{}",NULL}', '[[1,2],[],null]'],
  ])('type %i: %s', (oid, value, json) => {
    expect(text(oid, value)).toBe(json);
    JSON.parse(json);
  });

  test('an array whose elements are longer than a piece', () => {
    const long = 'x"\\'.repeat(50_000);
    const literal = `{"${long.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}",b}`;
    expect(JSON.parse(text(1009, literal))).toEqual([long, 'b']);
  });
});
