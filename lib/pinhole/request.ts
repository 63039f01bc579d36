/**
 * A request for a pinhole and its answer, as they pass between whoever asks and whoever decides.
 *
 * @module
 */
import type { FiveTuple, PinholeOrigin, Requester } from "./pinhole.ts";

/** A wish for a pinhole whose facts have been proven. Times are milliseconds since the epoch. */
export interface PinholeRequest {
  readonly tuple: FiveTuple;
  readonly requester: Requester;
  /** SO_COOKIE of the socket that it is for, 0n when it was asked for by hand. */
  readonly cookie: bigint;
  /** The broker's request that it came with, when it came over the network. */
  readonly origin?: PinholeOrigin | undefined;
  /** When the program called bind, as it says itself: for people, not for decisions. */
  readonly boundAt: number | undefined;
  /** Longest life wanted, in seconds; undefined leaves it to policy. */
  readonly ttl: number | undefined;
}

/** The answer to a request. `why` names the rule or the obstacle. */
export type Verdict =
  | { readonly kind: "open"; readonly id: number; readonly why: string }
  | { readonly kind: "refused"; readonly why: string }
  | { readonly kind: "unavailable"; readonly why: string };
