// A signer that runs a program of the operator's: a key management service, a hardware module.
import { spawn } from 'node:child_process';
import { verify } from 'node:crypto';
import { AuditError, messageOf } from '../errors/audit-error.ts';
import { parseVerifierKey, type Signer } from '../ledger/note.ts';

const TIMEOUT_MS = 30_000;
const MAX_OUTPUT_CHARS = 4_096;

/**
 * Runs `command` once a signature: it gets the text to sign on standard input and writes the 64 bytes of the Ed25519
 * signature as base64 to standard output. What it writes is checked against `vkey` before it is used.
 * @throws AUD_KEY_INVALID
 */
export function commandSigner(command: readonly string[], vkey: string): Signer {
  const key = parseVerifierKey(vkey);
  return {
    key,
    async sign(text) {
      const signature = Buffer.from((await runCommand(command, text)).trim(), 'base64');
      if (!verify(null, text, key.key, signature))
        throw failed(command, 'its answer is not a signature by the given vkey');
      return signature;
    },
  };
}

function runCommand(command: readonly string[], input: Buffer): Promise<string> {
  const [program, ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'ignore'], timeout: TIMEOUT_MS });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (output.length < MAX_OUTPUT_CHARS) output += text;
    });
    child.on('error', (error) => reject(failed(command, messageOf(error))));
    child.on('close', (code, signal) => {
      if (code === 0) resolve(output);
      else reject(failed(command, signal === null ? `it ended with code ${code}` : `it was ended by ${signal}`));
    });
    // A program that ends without reading is told by its exit code.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

function failed(command: readonly string[], why: string): AuditError {
  return new AuditError('AUD_KEY_SIGN', {
    message: `The signing command ${command[0]} failed: ${why}.`,
    action: 'Run it by hand with a text on standard input: it must print the base64 of 64 bytes.',
    retry: 'soon',
  });
}
