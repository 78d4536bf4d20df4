export interface ProgressBar {
  update(done: number, total: number): void;
  /** Takes the bar away. */
  clear(): void;
}

const EVERY_MS = 100;
const WIDTH = 30;

/** A bar on standard error; nothing where that is no terminal or `quiet`. */
export function progressBar(what: string, quiet: boolean): ProgressBar {
  if (quiet || process.stderr.isTTY !== true) return { update: () => undefined, clear: () => undefined };
  const started = Date.now();
  let last = 0;
  return {
    update(done, total) {
      const now = Date.now();
      if (total === 0 || now - last < EVERY_MS) return;
      last = now;
      const filled = Math.floor((done / total) * WIDTH);
      const left = done === 0 ? '' : `${Math.ceil(((now - started) * (total - done)) / done / 1000)} s left`;
      const percent = `${Math.floor((done / total) * 100)} %`;
      process.stderr.write(`\r\u001b[2K${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)} ${percent} ${what} ${left}`);
    },
    clear() {
      if (last !== 0) process.stderr.write('\r\u001b[2K');
    },
  };
}
