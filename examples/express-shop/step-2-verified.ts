/** One line more: what the shop says is signed, so that nobody else who can write SQL can say it. */
import { configureSigner, createSigner } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { startShop as startClaimed } from './step-1-claimed.ts';

export function startShop(url: string, privateKey: string): ReturnType<typeof startClaimed> {
  configureSigner(createSigner({ keyId: 'shop-2026', privateKey }));
  return startClaimed(url);
}
