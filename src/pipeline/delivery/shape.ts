import type { LedgerBatch } from '../../core/ledger.ts';
import type { SinkLimits } from '../../core/sink.ts';
import type { SinkMetrics } from './metrics.ts';
import type { DeliveryOptions } from './options.ts';
import { type Parcel, parcelFrom } from './parcel.ts';
import type { Reduce } from './sender.ts';

/** What a sink's options make of the ledger's records. */
export interface Shaper {
  shape(batch: LedgerBatch): Parcel | null;
  readonly reduce: Reduce;
}

export function makeShape(_options: DeliveryOptions, _limits: SinkLimits, _metrics: SinkMetrics): Shaper {
  return { shape: parcelFrom, reduce: () => null };
}
