/**
 * Two {@link ModelTcp} with a table of shadows between them, and links that lose, double and reorder, all from one seed.
 *
 * @module
 */
import { frameMemory } from "../../../lib/sys/packet_socket.ts";
import type { Direction } from "../../../lib/ni/frame.ts";
import type { Connection } from "../../../lib/ni/stream/connection.ts";
import type { StreamReader, Subscription } from "../../../lib/ni/stream/subscriber.ts";
import { StreamTable, type TableSettings, USUAL_STREAMS } from "../../../lib/ni/stream/table.ts";
import { ModelTcp } from "./model_tcp.ts";

/** A plan for one run. */
export interface NetworkPlan {
  readonly seed: number;
  /** Of 1000 frames on each of four links. */
  readonly loss: number;
  readonly duplicates: number;
  /** Milliseconds by which frames may be late. */
  readonly jitter: number;
  readonly mss: readonly [number, number];
  readonly scale: readonly [number | undefined, number | undefined];
  readonly timestamps: boolean;
  readonly sack: boolean;
  readonly ipv6: boolean;
  readonly buffer: readonly [number, number];
  readonly first: readonly [number, number];
  readonly client: Uint8Array;
  readonly server: Uint8Array;
  /** Milliseconds after which each program reads what has come; 0: at once. */
  readonly reads?: readonly [number, number];
}

/** A generator of numbers (mulberry32). */
export function random(seed: number): () => number {
  let a = seed | 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Makes the reader of the connection. */
export type MakeReader = (
  connection: Connection,
  of: (reader: StreamReader) => { connection: Connection; subscription: Subscription } | undefined,
) => StreamReader | undefined;

interface Event {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** The network. */
export class Network {
  now = 1_700_000_000_000;
  readonly client: ModelTcp;
  readonly server: ModelTcp;
  readonly table: StreamTable;
  readonly alerts: string[] = [];
  /** Frames that came to the NI and that left it. */
  readonly arrived: Uint8Array[] = [];
  readonly left: Uint8Array[] = [];
  readonly #events: Event[] = [];
  readonly #random: () => number;
  readonly #plan: NetworkPlan;
  readonly #memory = frameMemory(128 * 1024);
  #order = 0;

  constructor(plan: NetworkPlan, make: MakeReader, settings: Partial<TableSettings> = {}) {
    this.#plan = plan;
    this.#random = random(plan.seed);
    const a = plan.ipv6 ? [0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 1] : [192, 0, 2, 1];
    const b = plan.ipv6 ? [0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 2] : [198, 51, 100, 2];
    const common = { timestamps: plan.timestamps, sack: plan.sack, now: () => this.now };
    this.client = new ModelTcp({
      ...common,
      address: a,
      peer: b,
      port: 40_000,
      peerPort: 25,
      first: plan.first[0],
      mss: plan.mss[0],
      scale: plan.scale[0],
      buffer: plan.buffer[0],
      ...this.#slowly(plan.reads?.[0] ?? 0),
      send: plan.client,
      out: (frame) => this.#link(() => this.#arrive(frame, "from-host")),
    });
    this.server = new ModelTcp({
      ...common,
      address: b,
      peer: a,
      port: 25,
      peerPort: 40_000,
      first: plan.first[1],
      mss: plan.mss[1],
      scale: plan.scale[1],
      buffer: plan.buffer[1],
      ...this.#slowly(plan.reads?.[1] ?? 0),
      send: plan.server,
      out: (frame) => this.#link(() => this.#arrive(frame, "to-host")),
    });
    this.table = new StreamTable(1, {
      mayContain: true,
      wants: () => true,
      interest: () => "contain",
      readers: (_facts, connection) => {
        const reader = make(connection, (r) => this.table.connectionOf(r));
        return reader === undefined ? [] : [reader];
      },
      late: () => {
        throw new Error("late");
      },
    }, {
      forward: (memory, start, end, direction) => {
        const frame = memory.data.slice(start, end);
        this.left.push(frame);
        const to = direction === "from-host" ? this.server : this.client;
        this.#link(() => to.frame(frame));
      },
      event: (event) => this.alerts.push((event["alert"] as { signature: string }).signature),
    }, { ...USUAL_STREAMS, ...settings });
  }

  /** Runs something later. */
  later(milliseconds: number, run: () => void): void {
    this.#push(this.now + milliseconds, run);
  }

  /** A number below another one, from the seed. */
  pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  /** Runs until both ends are content, or for so long. False when they are not. */
  run(milliseconds = 3_600_000, done = () => this.isDone): boolean {
    this.table.setTime(this.now);
    this.client.open();
    const until = this.now + milliseconds;
    for (let steps = 0; steps < 400_000; steps++) {
      if (done()) return true;
      const next = this.#events[0];
      const at = Math.min(
        next?.at ?? Infinity,
        this.client.deadline,
        this.server.deadline,
        this.table.nextWork() ?? Infinity,
      );
      if (at > until) return false;
      this.now = Math.max(this.now, at);
      this.table.tick(this.now);
      this.table.settle();
      this.client.work();
      this.server.work();
      if (next !== undefined && next.at <= this.now) {
        this.#pop();
        next.run();
      }
    }
    return false;
  }

  /** Both have everything, and know that the other one has it. */
  get isDone(): boolean {
    const done = (end: ModelTcp) => end.wasReset || (end.ended && end.acknowledged);
    return done(this.client) && done(this.server);
  }

  #slowly(milliseconds: number): { later?: (read: () => void) => void } {
    return milliseconds === 0 ? {} : { later: (read) => this.later(milliseconds, read) };
  }

  #arrive(frame: Uint8Array, direction: Direction): void {
    this.arrived.push(frame);
    const start = 32;
    this.#memory.data.fill(0, 0, start);
    this.#memory.data.set(frame, start);
    this.table.frame(this.#memory, start, start + frame.length, direction, {
      seconds: Math.floor(this.now / 1000),
      nanoseconds: 0,
      wireLength: frame.length,
    });
    this.table.settle();
  }

  #link(run: () => void): void {
    const { loss, duplicates, jitter } = this.#plan;
    if (this.pick(1000) < loss) return;
    this.later(1 + this.pick(jitter + 1), run);
    if (this.pick(1000) < duplicates) this.later(1 + this.pick(jitter + 1), run);
  }

  #push(at: number, run: () => void): void {
    const event = { at, order: ++this.#order, run };
    let i = this.#events.length;
    while (i > 0 && (this.#events[i - 1] as Event).at > at) i--;
    this.#events.splice(i, 0, event);
  }

  #pop(): void {
    this.#events.shift();
  }
}
