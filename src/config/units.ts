import { z } from 'zod';

/** A duration: a number with ms, s, m, h or d; in milliseconds after parsing. */
export const duration = z
  .string()
  .regex(/^\d+(\.\d+)?(ms|s|m|h|d)$/, 'give a duration such as 500ms, 20s, 5m, 12h or 400d')
  .transform(parseDuration);

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds of a text that `duration` accepts. */
export function parseDuration(text: string): number {
  const match = /^([\d.]+)([a-z]+)$/.exec(text)!;
  return Number(match[1]) * UNITS[match[2]!]!;
}

/** A size: a number with B, KiB, MiB or GiB; in bytes after parsing. */
export const size = z
  .string()
  .regex(/^\d+(B|KiB|MiB|GiB)$/, 'give a size such as 64MiB')
  .transform((text) => {
    const match = /^(\d+)([A-Za-z]+)$/.exec(text)!;
    return Number(match[1]) * { B: 1, KiB: 1 << 10, MiB: 1 << 20, GiB: 1 << 30 }[match[2] as 'B']!;
  });
