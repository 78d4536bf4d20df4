import { join } from 'node:path';

/** Where `npm run bench` puts the product and its consumers together: what is measured is what a user installs. */
const BUILD = join(import.meta.dirname, '../../.cache/bench-build');

/** The command of one of the programs in bench/consumers, by file name without ending. */
export function consumerCommand(name: string): readonly string[] {
  return [process.execPath, '--disable-warning=ExperimentalWarning', join(BUILD, `${name}.js`)];
}
