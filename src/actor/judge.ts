import type { TransactionFacts } from '../core/actor.ts';
import type { Keeper } from './compose.ts';
import { type Message, type MessageVia, readMessage } from './message.ts';
import type { ActorMetrics } from './metrics.ts';
import type { Rendered } from './rendered.ts';
import type { ActorRules } from './rules.ts';
import { TextCache } from './text-cache.ts';
import { type ClaimVerifier, claimId } from './verifier.ts';

/** What a message is worth in one transaction. */
export interface Judged extends Keeper {
  readonly via: MessageVia;
  readonly rendered: Rendered;
  readonly reason: string | null;
  readonly verified: boolean;
  /** `claimId` of the verified claim, or null. */
  readonly claim: string | null;
  /** Keys of the context that were not signed, where the rest was. */
  readonly unsigned: readonly string[];
}

/** Distinct messages kept ready, per generation of the cache. */
const KEPT_MESSAGES = 2048;

interface Checked {
  readonly message: Message;
  /** `claimId` of its claim, where the signature fits. */
  readonly claim: string;
  /** The judgement where it does not depend on the transaction. */
  readonly always: Judged | null;
}

/** Reads messages and judges claims. What depends on the text alone, parsing and signature, is done once per text. */
export class MessageJudge {
  readonly #rules: ActorRules;
  readonly #verifier: ClaimVerifier;
  readonly #metrics: ActorMetrics;
  readonly #known: Readonly<Record<MessageVia, TextCache<Checked>>> = {
    message: new TextCache(KEPT_MESSAGES),
    bemi: new TextCache(KEPT_MESSAGES),
    sequin: new TextCache(KEPT_MESSAGES),
  };

  constructor(rules: ActorRules, verifier: ClaimVerifier, metrics: ActorMetrics) {
    this.#rules = rules;
    this.#verifier = verifier;
    this.#metrics = metrics;
  }

  judge(via: MessageVia, bytes: Uint8Array, transaction: TransactionFacts): Judged {
    const checked = this.#known[via].get(bytes, (text) => this.#check(via, text));
    const judged = checked.always ?? this.#inTransaction(checked, transaction);
    if (judged.reason !== null) this.#metrics.reason(judged.reason);
    return judged;
  }

  #inTransaction({ message, claim }: Checked, transaction: TransactionFacts): Judged {
    const signed = message.signed!;
    const reason = this.#verifier.use(signed.claim, claim, transaction);
    if (reason !== null) return unverified(message, `claim_${reason}`);
    return {
      via: message.via,
      rendered: signed.verified(),
      reason: null,
      verified: true,
      claim,
      unsigned: signed.unsigned,
      ready: null,
    };
  }

  #check(via: MessageVia, text: Uint8Array): Checked {
    const message = readMessage(via, text, this.#rules);
    const signature = message.signed === null ? null : this.#verifier.signature(message.signed.claim);
    const reason = message.reason ?? (signature === null ? null : `claim_${signature}`);
    if (message.signed === null || reason !== null) return { message, claim: '', always: unverified(message, reason) };
    return { message, claim: claimId(message.signed.claim), always: null };
  }
}

function unverified(message: Message, reason: string | null): Judged {
  return {
    via: message.via,
    rendered: message.said(),
    reason,
    verified: false,
    claim: null,
    unsigned: [],
    ready: null,
  };
}
