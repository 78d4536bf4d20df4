import { Option } from 'commander';
import { type Configuration, loadConfiguration } from '../config/load.ts';
import { createLogger, type Logger } from '../telemetry/log.ts';
import { CATALOGS } from './registry.ts';

export const DEFAULT_CONFIG = './changetrail.yaml';

export function configOption(): Option {
  return new Option('-c, --config <file>', 'configuration file').env('CHANGETRAIL_CONFIG').default(DEFAULT_CONFIG);
}

/** The configuration and the logger it asks for. */
export async function configured(file: string): Promise<{ configuration: Configuration; log: Logger }> {
  const configuration = await loadConfiguration(file, CATALOGS);
  const { level, format } = configuration.log;
  return { configuration, log: createLogger({ level, ...(format === undefined ? {} : { format }) }) };
}
