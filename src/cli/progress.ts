/** How far a long piece of work is. */
export interface Progress {
  update(done: number, total: number): void;
  /** Takes the bar away. */
  clear(): void;
}

/** The part of a stream that progress needs. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

const BAR_EVERY_MS = 100;
const LINE_EVERY_MS = 10_000;
const WIDTH = 30;
const CLEAR_LINE = '\r\u001b[2K';

/** On standard error: a bar where that is a terminal, otherwise a line every ten seconds. `what` as in "verified". */
export function showProgress(
  what: string,
  stream: ProgressStream = process.stderr,
  now: () => number = Date.now,
): Progress {
  const terminal = stream.isTTY === true;
  const started = now();
  let last = terminal ? 0 : started;
  let shown = false;
  return {
    update(done, total) {
      const at = now();
      if (total === 0 || at - last < (terminal ? BAR_EVERY_MS : LINE_EVERY_MS)) return;
      last = at;
      shown = true;
      const percent = `${Math.floor((done / total) * 100)} %`;
      const left = done === 0 ? '' : `, ${Math.ceil(((at - started) * (total - done)) / done / 1000)} s left`;
      if (!terminal) {
        stream.write(`${what} ${percent}${left}\n`);
        return;
      }
      const filled = Math.floor((done / total) * WIDTH);
      stream.write(`${CLEAR_LINE}${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)} ${what} ${percent}${left}`);
    },
    clear() {
      if (terminal && shown) stream.write(CLEAR_LINE);
    },
  };
}
