import { readFileSync } from 'node:fs';

/** package.json stands beside src/ in a checkout, and beside dist/ in the package. */
function readVersion(): string {
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const parsed = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as {
        name?: string;
        version?: string;
      };
      if (parsed.name === 'changetrail' && parsed.version !== undefined) return parsed.version;
    } catch {
      // The other layout.
    }
  }
  return '0.0.0';
}

export const VERSION = readVersion();
