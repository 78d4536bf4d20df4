/** Runs one of the steps: `main.ts none`, `main.ts claimed`, or `main.ts verified` with ACTOR_KEY_FILE. */
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { startShop as startNone } from './step-0-none.ts';
import { startShop as startClaimed } from './step-1-claimed.ts';
import { startShop as startVerified } from './step-2-verified.ts';

const STEPS = {
  none: startNone,
  claimed: startClaimed,
  verified: (url: string) => startVerified(url, readFileSync(process.env['ACTOR_KEY_FILE'] ?? 'actor-key.pem', 'utf8')),
};

const step = process.argv[2] ?? 'none';
const url = process.env['SHOP_DATABASE_URL'];
if (!Object.hasOwn(STEPS, step) || url === undefined) {
  console.error('Usage: SHOP_DATABASE_URL=postgres://… main.ts none | claimed | verified');
  process.exit(2);
}
const { shop, nightly } = STEPS[step as keyof typeof STEPS](url);
const port = Number(process.env['PORT'] ?? 3000);
shop.listen(port, () => console.error(`The shop (${step}) listens on http://localhost:${port}.`));
process.on('SIGUSR2', () => void nightly());
