import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino';

export type Logger = PinoLogger;

export interface LogOptions {
  readonly level?: string;
  /** People read lines, programs read JSON. Default: lines when stderr is a terminal. */
  readonly format?: 'text' | 'json';
}

const COLOURS: Record<string, string> = {
  debug: '\u001b[90m',
  info: '\u001b[36m',
  warn: '\u001b[33m',
  error: '\u001b[31m',
};

/** Logs go to stderr, always: stdout belongs to records. Every line has `event`; no line ever has row data. */
export function createLogger(options: LogOptions = {}): Logger {
  const format = options.format ?? (process.stderr.isTTY ? 'text' : 'json');
  const destination = format === 'json' ? pino.destination({ dest: 2, sync: true }) : textDestination();
  return pino(
    {
      level: options.level ?? 'info',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}

/** `10:00:00 warn  shop: The slot is in use.` with colours on a terminal. */
function textDestination(): DestinationStream {
  const colour = process.stderr.isTTY === true && !process.env['NO_COLOR'];
  return {
    write(line: string) {
      const entry = JSON.parse(line) as Record<string, unknown>;
      const level = String(entry['level']);
      const name = entry['source'] ?? entry['sink'];
      const head = `${String(entry['time']).slice(11, 19)} ${colour ? (COLOURS[level] ?? '') : ''}${level.padEnd(5)}${colour ? '\u001b[0m' : ''}`;
      const action = entry['action'] === undefined ? '' : `\n         → ${entry['action']}`;
      process.stderr.write(`${head} ${name === undefined ? '' : `${name}: `}${entry['msg']}${action}\n`);
    },
  };
}
