import type { Delivery, FailedRecord } from '../../core/sink.ts';

/**
 * Sends the entries that are small enough as they are encoded, and names the others, which delivery makes smaller. `send`
 * is given at least one entry.
 */
export async function withoutLarge<T extends { readonly length: number }>(
  entries: readonly T[],
  maxBytes: number,
  send: (entries: readonly T[]) => Promise<Delivery>,
): Promise<Delivery> {
  const places = entries.flatMap((entry, at) => (entry.length > maxBytes ? [] : [at]));
  if (places.length === entries.length) return send(entries);
  if (entries.length === 1) return { outcome: 'too_large' };
  const large = entries.flatMap((entry, at): FailedRecord[] =>
    entry.length > maxBytes ? [{ at, retry: false, reason: 'too_large' }] : [],
  );
  if (places.length === 0) return { outcome: 'partial', failed: large };
  const delivery = await send(places.map((at) => entries[at]!));
  if (delivery.outcome === 'accepted') return { outcome: 'partial', failed: large };
  if (delivery.outcome !== 'partial') return delivery;
  return {
    outcome: 'partial',
    failed: [...large, ...delivery.failed.map((each) => ({ ...each, at: places[each.at]! }))],
  };
}
