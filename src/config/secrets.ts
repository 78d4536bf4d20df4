import { readFileSync } from 'node:fs';
import { AuditError, messageOf } from '../errors/audit-error.ts';

/** `${NAME}` (environment), `${NAME:-default}` and `${file:/path}` in the text values of a configuration. */
const REFERENCE = /\$\{([^}]*)\}/g;

/** Replaces references in every text of a value. @throws AUD_CONFIG_SECRET naming the key and the missing variable or file. */
export function resolveReferences(value: unknown, env: NodeJS.ProcessEnv, path = ''): unknown {
  if (typeof value === 'string') return resolveText(value, env, path);
  if (Array.isArray(value)) return value.map((item, i) => resolveReferences(item, env, `${path}[${i}]`));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      resolveReferences(item, env, path === '' ? key : `${path}.${key}`),
    ]),
  );
}

function resolveText(text: string, env: NodeJS.ProcessEnv, path: string): string {
  if (/\$\{[^}]*$/.test(text)) {
    throw new AuditError('AUD_CONFIG_SECRET', {
      message: `${path} has a \${ without its }.`,
      action: 'Close the reference: ${NAME}, ${NAME:-default} or ${file:/path}.',
    });
  }
  return text.replace(REFERENCE, (_, reference: string) => lookUp(reference, env, path));
}

function lookUp(reference: string, env: NodeJS.ProcessEnv, path: string): string {
  if (reference.startsWith('file:')) return readSecretFile(reference.slice(5), path);
  const [name, fallback] = reference.split(/:-(.*)/s) as [string, string | undefined];
  const found = env[name] ?? fallback;
  if (found !== undefined) return found;
  throw new AuditError('AUD_CONFIG_SECRET', {
    message: `${path} refers to the environment variable ${name}, which is not set.`,
    action: `Set ${name}, or write \${file:/path} to read it from a file.`,
  });
}

function readSecretFile(file: string, path: string): string {
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (cause) {
    throw new AuditError('AUD_CONFIG_SECRET', {
      message: `${path} refers to the file ${file}, which cannot be read: ${messageOf(cause)}.`,
      action: 'Create the file or make it readable for this user.',
      cause,
    });
  }
}
