/**
 * Handshakes of a host that wait for its last packet.
 *
 * @module
 */

/** A connection whose SYN+ACK has come and was not answered yet. */
export interface HalfOpen {
  /** Addresses and ports. */
  readonly key: string;
  /** Address and port of the server. */
  readonly target: string;
  /** Number of the SYN+ACK. */
  readonly frame: number;
  /** When it came, in milliseconds. */
  readonly time: number;
}

/** Handshakes that are remembered at most. */
const MOST = 65_536;

/** Half-open connections in the order in which their SYN+ACK came. */
export class HalfOpenTable {
  readonly #waiting = new Map<string, HalfOpen>();
  /** Those that have been waited for long enough, of each target. */
  readonly #unanswered = new Map<string, Map<string, HalfOpen>>();

  /** Notes a SYN+ACK. False when it was known before, or there is no room. */
  add(entry: HalfOpen): boolean {
    if (this.#waiting.has(entry.key) || this.#waiting.size >= MOST) return false;
    const old = this.#unanswered.get(entry.target);
    if (old?.has(entry.key) === true) {
      // A repeated SYN+ACK: the newer frame is the one that is still remembered.
      old.set(entry.key, entry);
      return false;
    }
    this.#waiting.set(entry.key, entry);
    return true;
  }

  /** The host has answered. True when it was waited for. */
  answered(key: string, target: string): boolean {
    const unanswered = this.#unanswered.get(target);
    const late = unanswered?.delete(key) === true;
    if (unanswered?.size === 0) this.#unanswered.delete(target);
    return this.#waiting.delete(key) || late;
  }

  /** Moves what came before `time` to the unanswered; the targets that it was of. */
  expire(time: number): Set<string> {
    const targets = new Set<string>();
    for (const entry of this.#waiting.values()) {
      if (entry.time > time) break;
      this.#waiting.delete(entry.key);
      let of = this.#unanswered.get(entry.target);
      if (of === undefined) {
        this.#makeRoom();
        this.#unanswered.set(entry.target, of = new Map());
      }
      if (of.size < MOST) of.set(entry.key, entry);
      targets.add(entry.target);
    }
    return targets;
  }

  /** When the oldest that is still waited for came; undefined when there is none. */
  get oldest(): number | undefined {
    for (const { time } of this.#waiting.values()) return time;
    return undefined;
  }

  /** Half-open connections at a target that were not answered in time. */
  unanswered(target: string): number {
    return this.#unanswered.get(target)?.size ?? 0;
  }

  /** Takes out all of a target, answered in time or not. */
  take(target: string): HalfOpen[] {
    const taken = [...this.#unanswered.get(target)?.values() ?? []];
    this.#unanswered.delete(target);
    for (const entry of this.#waiting.values()) {
      if (entry.target !== target) continue;
      taken.push(entry);
      this.#waiting.delete(entry.key);
    }
    return taken;
  }

  /** A target that was long ago makes room for one of now. */
  #makeRoom(): void {
    if (this.#unanswered.size < 4096) return;
    for (const target of this.#unanswered.keys()) {
      this.#unanswered.delete(target);
      return;
    }
  }
}
