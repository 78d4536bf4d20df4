// Thread of the tree: opens it, says how that went, then answers calls in order.
import { parentPort, workerData } from 'node:worker_threads';
import { type EngineCall, type EngineReply, failureOf, serve } from './tree-engine.ts';
import { type FollowerStart, TreeFollower } from './tree-follower.ts';

function reply(work: () => unknown): void {
  let answer: EngineReply;
  try {
    answer = { ok: true, value: work() };
  } catch (error) {
    answer = { ok: false, failure: failureOf(error) };
  }
  parentPort!.postMessage(answer);
}

const given = workerData as FollowerStart;
// Buffers arrive as plain byte arrays.
const signed = given.signed === null ? null : { ...given.signed, root: Buffer.from(given.signed.root) };
let follower: TreeFollower | null = null;
reply(() => {
  follower = TreeFollower.open({ ...given, signed });
});
parentPort!.on('message', (call: EngineCall) => {
  reply(() => serve(follower!, call));
});
