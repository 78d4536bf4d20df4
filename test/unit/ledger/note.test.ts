import { describe, expect, test } from 'vitest';
import { generateSigningKey, localSigner, parseSigningKey, signingKeyText } from '../../../src/keys/private-key.ts';
import { EMPTY_ROOT } from '../../../src/ledger/merkle.ts';
import {
  checkpointText,
  checkSignature,
  parseHead,
  parseNote,
  parseVerifierKey,
  signNote,
} from '../../../src/ledger/note.ts';
import { codeOf } from './codes.ts';

const key = generateSigningKey('audit.example/one');
const vkey = parseVerifierKey(key.vkey);

describe('verifier keys', () => {
  test('read the key of the specification of Go’s note package', () => {
    const text = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
    expect(parseVerifierKey(text)).toMatchObject({ name: 'PeterNeumann', id: 'c74f20a3', type: 1 });
    const signed =
      'If you think cryptography is the answer to your problem,\nthen you don’t know what your problem is.\n\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n'.replaceAll(
        '’',
        "'",
      );
    expect(checkSignature(parseNote(signed), parseVerifierKey(text))).toBe('valid');
  });

  test('a plus sign within the base64 does not cut it', () => {
    for (let i = 0; i < 200; i++) {
      const { vkey: text } = generateSigningKey('a/b');
      expect(parseVerifierKey(text).text).toBe(text);
    }
  });

  test('a key whose hash is not its own is refused', () => {
    const broken = key.vkey.replace(/\+[0-9a-f]{8}\+/, '+00000000+');
    expect(codeOf(() => parseVerifierKey(broken))).toBe('AUD_KEY_INVALID');
    expect(codeOf(() => parseVerifierKey('no key'))).toBe('AUD_KEY_INVALID');
  });
});

describe('signing keys', () => {
  test('read and write the form of Go’s note package', () => {
    const text = 'PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz';
    const parsed = parseSigningKey(text, 'a test', null);
    expect(parsed.vkey).toBe('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW');
    expect(signingKeyText(parsed)).toBe(text);
  });

  test('read a PKCS#8 PEM under a given name, and refuse one without a name', () => {
    const pem = key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
    expect(parseSigningKey(pem, 'a test', key.name).vkey).toBe(key.vkey);
    expect(codeOf(() => parseSigningKey(pem, 'a test', null))).toBe('AUD_KEY_INVALID');
  });

  test('what is no key is refused without being repeated', () => {
    try {
      parseSigningKey('PRIVATE+KEY+secret-material', 'the file x', null);
      expect.unreachable();
    } catch (error) {
      expect((error as Error).message).toContain('the file x');
      expect((error as Error).message).not.toContain('secret-material');
    }
  });
});

describe('heads', () => {
  const text = checkpointText({ origin: key.name, size: 0, root: EMPTY_ROOT });

  test('are read back as they were signed, by one key or by two', async () => {
    const second = generateSigningKey(key.name);
    const note = await signNote(text, [localSigner(key), localSigner(second)]);
    const head = parseHead(note);
    expect(head).toMatchObject({ origin: key.name, size: 0, root: EMPTY_ROOT });
    expect(checkSignature(head.note, vkey)).toBe('valid');
    expect(checkSignature(head.note, parseVerifierKey(second.vkey))).toBe('valid');
    expect(checkSignature(head.note, parseVerifierKey(generateSigningKey(key.name).vkey))).toBe('absent');
  });

  test('no byte of one can be another: it does not parse, is unsigned, or its signature fails', async () => {
    const note = Buffer.from(await signNote(text, [localSigner(key)]), 'utf8');
    for (let at = 0; at < note.length; at++) {
      for (const bit of [1, 2, 4, 32]) {
        const flipped = Buffer.from(note);
        flipped[at]! ^= bit;
        let answer: string;
        try {
          answer = checkSignature(parseHead(flipped).note, vkey);
        } catch {
          answer = 'refused';
        }
        expect(answer, `byte ${at} bit ${bit}`).not.toBe('valid');
      }
    }
  });

  test('sizes with leading zeros, signs or extension lines are refused', () => {
    const root = EMPTY_ROOT.toString('base64');
    for (const size of ['01', '-1', '+1', '1e3', '', '99999999999999999']) {
      expect(codeOf(() => parseHead(`o\n${size}\n${root}\n\n— o AAAAAAAA\n`))).toBe('AUD_LEDGER_PROOF');
    }
    expect(codeOf(() => parseHead(`o\n1\n${root}\nmore\n\n— o AAAAAAAA\n`))).toBe('AUD_LEDGER_PROOF');
  });
});
