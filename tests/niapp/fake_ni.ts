/**
 * An NI kernel that notes what a scanner asks for.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Alert, Direction, Ni, Scanner, Verdict } from "../../niapp/sdk/mod.ts";

/** What the administrator has set. */
export interface FakeSettings {
  readonly options?: Readonly<Record<string, unknown>>;
  readonly hostNetworks?: readonly string[];
  /** Frames wait for verdicts. */
  readonly held?: boolean;
}

/** The kernel, with one scanner. */
export class FakeNi implements Ni {
  now = 1_700_000_000_000;
  readonly options: Readonly<Record<string, unknown>>;
  readonly hostNetworks: readonly string[];
  readonly linkType = 1;
  readonly streamLimit = 0;
  readonly injections = [];
  readonly services = [];
  readonly subscriptions: { filter: string; right: string }[] = [];
  readonly decisions = new Map<number, "pass" | "cut">();
  readonly decidedAt = new Map<number, number>();
  readonly alerts: Alert[] = [];
  readonly resets: { frame: number; direction: Direction }[] = [];
  readonly finished: number[] = [];
  wakeTime: number | undefined;
  readonly #scanner: Scanner;
  readonly #held: boolean;
  #number = 0;

  constructor(scanner: Scanner, settings: FakeSettings = {}) {
    this.options = settings.options ?? {};
    this.hostNetworks = settings.hostNetworks ?? [];
    this.#held = settings.held ?? true;
    this.#scanner = scanner;
    scanner.start(this);
  }

  subscribe(filter: string, right: "read" | "contain"): number {
    return this.subscriptions.push({ filter, right }) - 1;
  }
  subscribeStreams(): number {
    throw new Error("frames only");
  }
  decide(number: number, verdict: "pass" | "cut"): void {
    assert.ok(this.#held, `frame ${number} does not wait for a verdict`);
    assert.ok(!this.decisions.has(number), `frame ${number} was decided about twice`);
    this.decisions.set(number, verdict);
    this.decidedAt.set(number, this.now);
  }
  connect(): never {
    throw new Error("no services");
  }
  inject(): void {
    throw new Error("nothing is registered");
  }
  reset(frame: number, direction: Direction): void {
    this.resets.push({ frame, direction });
  }
  alert(alert: Alert): void {
    this.alerts.push(alert);
  }
  finish(frame: number): void {
    this.finished.push(frame);
  }
  wakeAt(time: number): void {
    this.wakeTime = time;
  }

  /** Signatures of the alerts, in their order. */
  get signatures(): string[] {
    return this.alerts.map((alert) => alert.signature);
  }

  /** Goes on in time, waking the scanner as it wished. */
  advance(seconds: number): void {
    const until = this.now + seconds * 1000;
    while (this.wakeTime !== undefined && this.wakeTime <= until) {
      this.now = Math.max(this.now, this.wakeTime);
      this.wakeTime = undefined;
      this.#scanner.wake?.(this);
    }
    this.now = until;
  }

  /** Gives a frame to the scanner, as matching its first two subscriptions. */
  give(bytes: Uint8Array, direction: Direction): { number: number; verdict: Verdict } {
    const number = ++this.#number;
    const verdict = this.#scanner.frame?.({
      number,
      data: bytes,
      start: 0,
      end: bytes.length,
      wireLength: bytes.length,
      direction,
      time: this.now,
      held: this.#held,
      subscriptions: 0b11,
    }, this) ?? "pass";
    if (this.#held && verdict !== "later") this.decide(number, verdict);
    return { number, verdict };
  }
}
