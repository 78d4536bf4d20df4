import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { sameTransactionId } from '../context/claim.ts';

/**
 * The frame of a session message: `<mac> <xid> <json>`, where mac is the HMAC-SHA-256 of `<xid> <json>` in 64 hex digits.
 * Every role may call pg_logical_emit_message, so without the MAC every role could write what looks like the database's own
 * word. Only the trigger's owner and Changetrail can read the key.
 */
const MAC_DIGITS = 64;
const SPACE = 0x20;
const MAX_XID_DIGITS = 20;

export interface SealedSession {
  /** The JSON part; a view of the message. */
  readonly json: Uint8Array;
  /** `sealed`: the MAC fits and it is this transaction; `unkeyed`: no key to check with; `forged`: anything else. */
  readonly seal: 'sealed' | 'unkeyed' | 'forged';
}

export class SessionSeal {
  #key: KeyObject | null = null;

  setKey(key: Uint8Array | null): void {
    this.#key = key === null ? null : createSecretKey(key);
  }

  /** Takes a message apart and checks it; null when it has not the form. */
  open(bytes: Uint8Array, tx: string): SealedSession | null {
    const end = bytes.indexOf(SPACE, MAC_DIGITS + 1);
    if (bytes[MAC_DIGITS] !== SPACE || end < 0 || end > MAC_DIGITS + 1 + MAX_XID_DIGITS) return null;
    const json = bytes.subarray(end + 1);
    if (this.#key === null) return { json, seal: 'unkeyed' };
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const xid = text.toString('latin1', MAC_DIGITS + 1, end);
    const mac = Buffer.from(text.toString('latin1', 0, MAC_DIGITS), 'hex');
    const expected = createHmac('sha256', this.#key)
      .update(bytes.subarray(MAC_DIGITS + 1))
      .digest();
    const fits = mac.length === expected.length && timingSafeEqual(mac, expected) && sameTransactionId(xid, tx);
    return { json, seal: fits ? 'sealed' : 'forged' };
  }
}
