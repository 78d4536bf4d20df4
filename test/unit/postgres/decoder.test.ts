import { describe, expect, test } from 'vitest';
import {
  begin,
  commit,
  decoderWith,
  insert,
  relation,
  remove,
  TABLE,
  text,
  tuple,
  u32,
  update,
} from './support/messages.ts';

const LSN = 0xab_1234_5678n;
const OID = TABLE.oid;
const row = (id: string, v: string | Buffer | null | undefined) => tuple([id, v]);

describe('the decoder', () => {
  test('writes positions above 4 GB, transaction ids above 2^31 and commit times to the microsecond', () => {
    const { send, output } = decoderWith();
    send(
      begin(0xffff_ffff_ffff_ff00n, { xid: 4_294_967_295, micros: -1n }),
      relation(TABLE),
      insert(OID, row('1', 'a')),
    );
    send(commit(0xffff_ffff_ffff_ff00n, 0xffff_ffff_ffff_ff30n));
    expect(output.records[0]).toMatchObject({
      id: 'shop:FFFFFFFF/FFFFFF00:0',
      time: '1969-12-31T23:59:59.999999Z',
      source: { lsn: 'FFFFFFFF/FFFFFF00', tx: '4294967295', seq: 0 },
    });
    expect(output.reachedPositions).toEqual(['FFFFFFFF/FFFFFF00 FFFFFFFF/FFFFFF30']);
  });

  test.each([0x00, 0x53, 0x59 + 1, 0x77, 0xff])('refuses a message of unknown kind 0x%s with its byte', (byte) => {
    const { send } = decoderWith();
    send(begin(LSN));
    const message = Buffer.from([byte, 1, 2, 3]);
    expect(() => send(message)).toThrow(
      expect.objectContaining({
        code: 'AUD_PG_PROTOCOL',
        message: expect.stringContaining(`0x${byte.toString(16).padStart(2, '0')}`),
        data: { byte },
      }),
    );
  });

  test('passes over type messages, and messages outside of a transaction', () => {
    const { send, output } = decoderWith();
    send(Buffer.concat([Buffer.from('Y'), u32(5), text('public'), text('mood')]));
    send(Buffer.concat([Buffer.from('M'), Buffer.alloc(9), text('changetrail'), u32(2), Buffer.from('{}')]));
    send(Buffer.concat([Buffer.from('O'), Buffer.alloc(8), text('origin')]));
    expect(output.lines).toEqual([]);
  });

  test.each([
    ['a change', insert(OID, row('1', 'a'))],
    ['a commit', commit(LSN)],
    ['a truncation', Buffer.concat([Buffer.from('T'), u32(0), Buffer.from([0])])],
  ])('refuses %s outside of a transaction', (_, message) => {
    expect(() => decoderWith().send(message)).toThrow(expect.objectContaining({ code: 'AUD_PG_PROTOCOL' }));
  });

  test('refuses a change of a relation that was not described', () => {
    const { send } = decoderWith();
    send(begin(LSN));
    expect(() => send(insert(99, row('1', 'a')))).toThrow('relation 99');
  });

  test('refuses rows of another width, and cells of unknown kind', () => {
    const { send } = decoderWith();
    send(begin(LSN), relation(TABLE));
    expect(() => send(insert(OID, tuple(['1'])))).toThrow('1 columns where its relation has 2');
    const binary = row('1', 'a');
    binary[2] = 0x62;
    expect(() => send(insert(OID, binary))).toThrow('binary format');
  });

  test('asks for a relation once, and again when it changed', () => {
    const { send, described } = decoderWith();
    const wider = {
      ...TABLE,
      columns: [...TABLE.columns, { name: 'w', typeOid: 20, typeModifier: -1, identity: false }],
    };
    send(begin(LSN), relation(TABLE), relation(TABLE), relation(wider), relation(wider), relation(TABLE));
    expect(described.map((message) => message.columns.length)).toEqual([2, 3, 2]);
  });

  describe('drops what the ledger holds', () => {
    const changes = [insert(OID, row('1', 'a')), insert(OID, row('2', 'b')), insert(OID, row('3', 'c'))];

    test.each([
      ['nothing of the transaction', LSN, -1, [0, 1, 2]],
      ['the first change', LSN, 0, [1, 2]],
      ['all changes', LSN, 2, []],
      ['a later transaction', LSN + 1n, -1, []],
      ['an earlier transaction', LSN - 1n, 9, [0, 1, 2]],
    ] as const)('%s', (_, lsn, seq, kept) => {
      const { send, output, decoder } = decoderWith({ held: { lsn, seq } });
      send(begin(LSN), relation(TABLE), ...changes, commit(LSN));
      expect(output.records.map((record) => record.source.seq)).toEqual(kept);
      expect(decoder.changes).toBe(kept.length);
    });

    test('within a truncation of several tables', () => {
      const { send, output } = decoderWith({ held: { lsn: LSN, seq: 0 } });
      const other = { ...TABLE, oid: 7, table: 'other' };
      const truncate = Buffer.concat([Buffer.from('T'), u32(2), Buffer.from([3]), u32(OID), u32(7)]);
      send(begin(LSN), relation(TABLE), relation(other), truncate, commit(LSN));
      expect(output.records).toMatchObject([
        { object: { table: 'other' }, source: { seq: 1 }, details: { cascade: true, restart_identity: true } },
      ]);
    });
  });

  test('counts ordinals anew in each transaction', () => {
    const { send, output } = decoderWith();
    send(begin(LSN), relation(TABLE), insert(OID, row('1', 'a')), insert(OID, row('2', 'a')), commit(LSN));
    send(begin(LSN + 100n), insert(OID, row('3', 'a')), commit(LSN + 100n));
    expect(output.records.map((record) => record.id)).toEqual([
      'shop:AB/12345678:0',
      'shop:AB/12345678:1',
      'shop:AB/123456DC:0',
    ]);
  });

  test('fills an unchanged value in from a full old row only', () => {
    const { send, output } = decoderWith();
    const full = { ...TABLE, identity: 'full' } as const;
    send(begin(LSN), relation(full), update(OID, row('2', undefined), { kind: 'O', row: row('1', 'long') }));
    send(relation(TABLE), update(OID, row('2', undefined), { kind: 'K', row: row('1', null) }));
    const [filled, unchanged] = output.records;
    expect(filled).toMatchObject({ changed: ['id'], before: { id: 1, v: 'long' }, after: { id: 2, v: 'long' } });
    expect(unchanged).toMatchObject({
      object: { key: { id: 2 }, old_key: { id: 1 } },
      missing: { before: 'replica_identity_default', 'after.v': 'unchanged_toast' },
    });
    expect(unchanged?.after).toEqual({ id: 2 });
  });

  test('says of which columns the bytes were no UTF-8, where the database has no encoding', () => {
    const { send, output } = decoderWith({ checkUtf8: true });
    const broken = Buffer.from([0xef, 0xbb, 0xbf, 0x61, 0xff, 0xc3]);
    const full = { ...TABLE, identity: 'full' } as const;
    send(begin(LSN), relation(full), insert(OID, row('1', broken)));
    send(update(OID, row('2', undefined), { kind: 'O', row: row('1', broken) }), remove(OID, 'O', row('2', 'fine')));
    expect(output.records).toMatchObject([
      { after: { id: 1, v: '\ufeffa\ufffd\ufffd' }, missing: { 'after.v': 'invalid_utf8' } },
      {
        before: { id: 1, v: '\ufeffa\ufffd\ufffd' },
        after: { id: 2, v: '\ufeffa\ufffd\ufffd' },
        changed: ['id'],
        missing: { 'before.v': 'invalid_utf8', 'after.v': 'invalid_utf8' },
      },
      { before: { id: 2, v: 'fine' } },
    ]);
    expect(output.records[2]?.missing).toBeUndefined();
  });

  test('keeps a row larger than the output’s buffer whole', () => {
    const { send, output } = decoderWith();
    const value = '"\u0001\\ü🧨'.repeat(100_000);
    send(begin(LSN), relation(TABLE), insert(OID, row('1', value)), commit(LSN));
    expect(output.records[0]?.after).toEqual({ id: 1, v: value });
  });

  test('does not take the key of a partition for its whole row', () => {
    const { send, output } = decoderWith({ details: { partitioned: true, primaryKey: ['id'] } });
    const full = { ...TABLE, identity: 'full' } as const;
    send(begin(LSN), relation(full), remove(OID, 'O', row('1', null)), remove(OID, 'O', row('1', 'a')));
    expect(output.records[0]).toMatchObject({
      object: { key: { id: 1 } },
      missing: { before: 'replica_identity_of_partition' },
    });
    expect(output.records[0]?.before).toBeUndefined();
    expect(output.records[1]?.before).toEqual({ id: 1, v: 'a' });
  });
});
