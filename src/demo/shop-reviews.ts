// The shop's reviews live in MongoDB: written by a service that the server itself names, moderated by a person who says why.
import { MongoClient } from 'mongodb';
import { type Actor, withActor } from '../context/index.ts';
import { transaction } from '../context/mongodb.ts';
import { wait } from '../wait.ts';

export const REVIEWS_DATABASE = 'shop';
/** The account that the reviews service logs in with; the server's own word on who wrote. */
export const REVIEWS_USER = { name: 'reviews-api', password: 'demo' };
const MODERATOR: Actor = {
  id: 'mia@shop.example',
  type: 'support',
  name: 'Mia (moderation)',
  reason: 'contains a phone number',
};

const TEXTS = [
  'Boils in two minutes.',
  'Blue, as promised. Call me: 555-0199',
  'Tastes of rain and slate.',
  'Lid is a bit loose.',
];
const PAUSE_MS = 900;

/** Prepares users and collections as an administrator; images on, so that records have before and after. */
export async function prepareReviews(adminUrl: string): Promise<void> {
  const client = new MongoClient(adminUrl);
  try {
    const db = client.db(REVIEWS_DATABASE);
    await db.createCollection('reviews', { changeStreamPreAndPostImages: { enabled: true } });
    await db.createCollection('_changetrail_context');
    await client.db('admin').command({
      createUser: REVIEWS_USER.name,
      pwd: REVIEWS_USER.password,
      roles: [{ role: 'readWrite', db: REVIEWS_DATABASE }],
    });
  } finally {
    await client.close();
  }
}

/** Writes, corrects and moderates reviews until the signal aborts. */
export async function runReviews(url: string, signal: AbortSignal): Promise<void> {
  const client = new MongoClient(url, { appName: 'reviews-api' });
  try {
    const reviews = client.db(REVIEWS_DATABASE).collection('reviews');
    for (let round = 0; !signal.aborted; round++) {
      const { insertedId: _id } = await reviews.insertOne({
        sku: 'KETTLE-1',
        stars: 3 + (round % 3),
        text: TEXTS[round % TEXTS.length],
      });
      await wait(PAUSE_MS, signal);
      if (signal.aborted) return;
      await withActor(MODERATOR, () =>
        transaction(
          client,
          (session) => reviews.updateOne({ _id }, { $set: { text: '[removed]', moderated: true } }, { session }),
          { database: REVIEWS_DATABASE },
        ),
      );
      await wait(PAUSE_MS, signal);
      if (round % 2 === 1) await reviews.deleteOne({ _id });
    }
  } finally {
    await client.close();
  }
}
