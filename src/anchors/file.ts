// A head in a file: of use on a disk that another machine or account owns.
import { existsSync, readFileSync } from 'node:fs';
import { replaceFile } from '../ledger/file-ops.ts';
import { parseHead } from '../ledger/note.ts';
import type { Anchor } from './anchor.ts';
import { anchorFailed } from './errors.ts';
import type { FileAnchorOptions } from './options.ts';

export function fileAnchor({ path }: FileAnchorOptions): Anchor {
  const name = `file ${path}`;
  const read = () => {
    try {
      return existsSync(path) ? parseHead(readFileSync(path)) : null;
    } catch (error) {
      throw anchorFailed(name, error);
    }
  };
  return {
    name,
    latest: async () => read(),
    async put(head) {
      const held = read();
      if (held !== null && held.origin === head.origin) {
        if (held.size > head.size) return { answer: 'ahead', size: held.size };
        if (held.size === head.size && !held.root.equals(head.root)) return { answer: 'fork', size: held.size };
      }
      try {
        replaceFile(path, head.noteText);
      } catch (error) {
        throw anchorFailed(name, error);
      }
      return { answer: 'held', signatures: [] };
    },
  };
}
