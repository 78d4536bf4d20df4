import { Option } from 'commander';
import { configured } from './configured.ts';

/** For commands that need no more of the configuration than where the data are. */
export function dataOption(): Option {
  return new Option('-d, --data <dir>', 'data directory (default: the one of the configuration)');
}

/** The data directory that was named, or else the one of the configuration. */
export async function dataDirectory(options: { readonly config: string; readonly data?: string }): Promise<string> {
  return options.data ?? (await configured(options.config)).configuration.data;
}
