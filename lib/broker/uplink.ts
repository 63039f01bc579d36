/**
 * The broker's end of the protocol to a controller: what was asked and not answered, what is open, and
 * what must still be closed, however often the connection breaks (docs/protocols/broker-controller.md).
 *
 * @module
 */
import { type AuditTrail, pinholeFields } from "../controller/audit.ts";
import type { PinholeTable } from "../controller/pinhole_table.ts";
import type { CloseReason, Pinhole } from "../pinhole/pinhole.ts";
import type { PinholeRequest, Verdict } from "../pinhole/request.ts";
import type { Poller } from "../sys/epoll.ts";
import { LineConnection } from "../sys/line_connection.ts";
import {
  type ControllerMessage,
  LONGEST_LINE,
  parseControllerMessage,
  readTuple,
  REMOTE_VERSION,
  tupleFields,
} from "./remote_protocol.ts";

/** Who a broker is towards controllers. */
export interface BrokerIdentity {
  /** The same as long as the host is the same. */
  readonly broker: string;
  /** The boot of the host. */
  readonly boot: string;
  /** This process. */
  readonly instance: string;
}

/** What an uplink works with. */
export interface UplinkOptions {
  readonly poller: Poller;
  /** All pinholes of this host, of this uplink and of others. */
  readonly table: PinholeTable;
  readonly audit: AuditTrail;
  readonly identity: BrokerIdentity;
  /** The remote delegate in whose name it asks. */
  readonly delegate: string;
  /** Milliseconds that a program waits for its verdict. */
  readonly wait: number;
  /** Milliseconds of silence after which a connection counts as broken. */
  readonly silence: number;
  /** A number for a pinhole that no other of this host has. */
  readonly nextId: () => number;
  /** Something may have ended while nobody looked: sockets are to be compared. */
  readonly onAdopted: () => void;
}

/** What is known of an uplink, for `status`. */
export interface UplinkStatus {
  readonly delegate: string;
  readonly controller: string | null;
  readonly waiting: number;
  readonly open: number;
  readonly closing: number;
}

interface Entry {
  readonly pinhole: Pinhole;
  /** Undefined once it was called, and for pinholes that were taken over. */
  answer: ((verdict: Verdict) => void) | undefined;
  readonly boundAt: number | undefined;
  readonly ttl: number | undefined;
  readonly asked: number;
  /** Some controller may have heard of it. */
  sent: boolean;
  /** The controller has it, as far as this end knows. */
  confirmed: boolean;
  /** Why it is to be closed. */
  closing: CloseReason | undefined;
}

/** Requests that may wait for a controller at once; more are refused, so that memory is bounded. */
const MOST_WAITING = 20_000;
const PING_MS = 250;

/** One connection to controllers, in the name of one remote delegate. */
export class Uplink {
  readonly #options: UplinkOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #keys = new Map<Pinhole, string>();
  /** Entries whose verdict is awaited, oldest first. */
  readonly #waiting = new Map<string, Entry>();
  #sequence = 0;
  #connection: LineConnection | undefined;
  #controller: string | undefined;
  /** It was welcomed, and both ends hold the same. */
  #ready = false;
  /** What the controller says it holds, until the list is whole. */
  #listed: Set<string> | undefined;
  #heardAt = 0;
  #nextPing = 0;
  #why = "no controller has been reached yet";

  constructor(options: UplinkOptions) {
    this.#options = options;
  }

  /** What is known of it. */
  get status(): UplinkStatus {
    let closing = 0;
    for (const e of this.#entries.values()) if (e.closing !== undefined) closing++;
    return {
      delegate: this.#options.delegate,
      controller: this.#ready ? this.#controller ?? null : null,
      waiting: this.#waiting.size,
      open: this.#entries.size - this.#waiting.size - closing,
      closing,
    };
  }

  /** Why it is not connected; undefined while it is. */
  get failed(): string | undefined {
    return this.#ready ? undefined : this.#why;
  }

  /** Takes over a connected socket that leads to a controller; its end says that it is to be replaced. */
  connect(fd: number, controller: string): void {
    this.#connection?.close();
    const connection = new LineConnection(this.#options.poller, fd, LONGEST_LINE, {
      line: (text) => this.#line(text),
      end: (why) => this.#broken(why),
    });
    this.#connection = connection;
    this.#controller = controller;
    this.#ready = false;
    this.#heardAt = performance.now();
    this.#nextPing = this.#heardAt + PING_MS;
    this.#say({ op: "hello", version: REMOTE_VERSION, ...this.#options.identity });
  }

  /** Asks for a pinhole; `answer` is called once. */
  open(request: PinholeRequest, answer: (verdict: Verdict) => void): void {
    if (this.#waiting.size >= MOST_WAITING) {
      return answer({ kind: "unavailable", why: "too many requests wait for the controller" });
    }
    const now = Date.now();
    const pinhole: Pinhole = {
      id: this.#options.nextId(),
      tuple: request.tuple,
      requester: request.requester,
      cookie: request.cookie,
      rule: "",
      state: "opening",
      requestedAt: now,
      openedAt: undefined,
      expiresAt: undefined,
      idle: undefined,
      packets: 0,
      bytes: 0,
      activeAt: performance.now(),
      leasedUntil: 0,
    };
    const key = `${this.#options.identity.instance}.${this.#sequence++}`;
    const entry: Entry = {
      pinhole,
      answer,
      boundAt: request.boundAt,
      ttl: request.ttl,
      asked: performance.now(),
      sent: false,
      confirmed: false,
      closing: undefined,
    };
    this.#add(key, entry);
    this.#waiting.set(key, entry);
    if (this.#ready) this.#ask(key, entry);
  }

  /** Wants a pinhole of this uplink closed; false when it is none of its. */
  close(pinhole: Pinhole, reason: CloseReason): boolean {
    const key = this.#keys.get(pinhole);
    if (key === undefined) return false;
    const entry = this.#entries.get(key) as Entry;
    if (entry.closing !== undefined) return true;
    entry.closing = reason;
    pinhole.state = "closing";
    this.#answer(key, entry, { kind: "unavailable", why: "not opened: its socket was closed" });
    if (!entry.sent) this.#remove(key, entry);
    else if (this.#ready) this.#sayClose(key, reason);
    return true;
  }

  /** Milliseconds until {@link round} has something to do. */
  due(now: number): number {
    const oldest = this.#waiting.values().next().value;
    const late = oldest === undefined ? Infinity : oldest.asked + this.#options.wait - now;
    return Math.min(late, this.#connection === undefined ? Infinity : this.#nextPing - now);
  }

  /** Sends what was said, and looks at the time. */
  round(now: number): void {
    this.#giveUp(now);
    if (this.#connection !== undefined && now >= this.#nextPing) {
      this.#nextPing = now + PING_MS;
      if (now - this.#heardAt > this.#options.silence) {
        this.#connection.close();
        this.#broken("the controller is silent");
        return;
      }
      this.#say({ op: "ping", n: Math.floor(now) });
    }
    this.#connection?.flush();
  }

  /** Lets go of the connection; pinholes stay until they are taken up again or their lease ends. */
  disconnect(): void {
    for (const [key, entry] of this.#waiting) {
      this.#answer(key, entry, { kind: "unavailable", why: "the broker stops" });
    }
    this.#connection?.flush();
    this.#connection?.close();
    this.#connection = undefined;
  }

  #line(text: string): void {
    const message = parseControllerMessage(text);
    if (typeof message === "string") return this.#distrust(`controller: ${message}`);
    this.#heardAt = performance.now();
    this.#message(message);
  }

  #message(m: ControllerMessage): void {
    switch (m.op) {
      case "welcome":
        return this.#welcome(m);
      case "standby":
      case "error":
        return this.#distrust(m.why);
      case "verdict":
        return this.#verdict(m);
      case "closed":
        return this.#closed(m.key, m.reason);
      case "pinhole":
        return this.#pinhole(m);
      case "listed":
        return this.#agree();
      case "waiting":
        return this.#options.audit.add("pinhole.waiting", { position: m.position });
      case "pong":
        return;
    }
  }

  #welcome(m: ControllerMessage & { op: "welcome" }): void {
    if (m.version !== REMOTE_VERSION) {
      return this.#distrust(`controller speaks version ${m.version}, not ${REMOTE_VERSION}`);
    }
    if (m.delegate !== this.#options.delegate) {
      return this.#distrust(`the controller takes us for ${m.delegate}`);
    }
    this.#listed = new Set();
    this.#say({ op: "list" });
  }

  /** A pinhole that the controller holds of ours: known, to be closed, or of a process before this one. */
  #pinhole(m: ControllerMessage & { op: "pinhole" }): void {
    if (this.#listed === undefined) return this.#distrust("a pinhole that nobody asked for");
    this.#listed.add(m.key);
    const known = this.#entries.get(m.key);
    if (known !== undefined) return;
    const tuple = readTuple(m);
    if (typeof tuple === "string") return this.#distrust(tuple);
    const now = Date.now();
    const pinhole: Pinhole = {
      id: this.#options.nextId(),
      tuple,
      requester: {
        delegate: this.#options.delegate,
        user: m.user,
        uid: m.uid,
        pid: m.pid,
        pidStart: 0n,
        program: m.program,
      },
      cookie: BigInt(m.cookie),
      rule: "taken up again",
      state: "open",
      requestedAt: now,
      openedAt: now,
      expiresAt: undefined,
      idle: undefined,
      packets: 0,
      bytes: 0,
      activeAt: performance.now(),
      leasedUntil: 0,
    };
    this.#add(m.key, {
      pinhole,
      answer: undefined,
      boundAt: undefined,
      ttl: undefined,
      asked: 0,
      sent: true,
      confirmed: true,
      closing: undefined,
    });
  }

  /** The list is whole: what one end holds and the other does not is put right. */
  #agree(): void {
    const listed = this.#listed;
    if (listed === undefined) return this.#distrust("the end of a list that nobody asked for");
    this.#listed = undefined;
    this.#ready = true;
    for (const [key, entry] of [...this.#entries]) {
      if (entry.closing !== undefined) this.#sayClose(key, entry.closing);
      else if (!entry.confirmed || !listed.has(key)) this.#ask(key, entry);
    }
    this.#options.onAdopted();
    this.#options.audit.add("controller.connected", {
      controller: this.#controller,
      delegate: this.#options.delegate,
      pinholes: listed.size,
    });
  }

  #verdict(m: ControllerMessage & { op: "verdict" }): void {
    const entry = this.#entries.get(m.key);
    // An answer to what is closed meanwhile: the close is on its way, or has arrived.
    if (entry === undefined || entry.closing !== undefined) return;
    const p = entry.pinhole;
    if (m.kind === "open") {
      entry.confirmed = true;
      if (p.state === "open") return; // opened anew at another controller
      p.state = "open";
      p.openedAt = Date.now();
      this.#answer(m.key, entry, { kind: "open", id: p.id, why: m.why });
      this.#options.audit.add("pinhole.opened", () => ({
        ...pinholeFields(p),
        rule: m.why,
        remote_id: m.id,
        open_ms: Math.round((performance.now() - entry.asked) * 1000) / 1000,
      }));
      return;
    }
    p.state = "closed";
    this.#answer(m.key, entry, { kind: m.kind, why: m.why });
    this.#remove(m.key, entry);
    this.#options.audit.refusal(
      p.requester.uid,
      m.kind === "refused" ? "pinhole.refused" : "pinhole.failed",
      { ...pinholeFields(p), why: m.why },
    );
  }

  #closed(key: string, reason: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    const p = entry.pinhole;
    p.state = "closed";
    this.#answer(key, entry, { kind: "unavailable", why: `not opened: ${reason}` });
    this.#remove(key, entry);
    this.#options.audit.add("pinhole.closed", () => ({ ...pinholeFields(p), reason }));
  }

  /** Answers those that have waited too long; what comes of them later is closed. */
  #giveUp(now: number): void {
    for (const [key, entry] of this.#waiting) {
      if (now - entry.asked < this.#options.wait) break;
      const why = this.#ready ? "the controller has not decided in time" : this.#why;
      this.#answer(key, entry, { kind: "unavailable", why });
      this.#options.audit.refusal(entry.pinhole.requester.uid, "pinhole.failed", {
        ...pinholeFields(entry.pinhole),
        why,
      });
      this.close(entry.pinhole, "socket-closed");
    }
  }

  #ask(key: string, entry: Entry): void {
    const p = entry.pinhole;
    const { user, uid, pid, program } = p.requester;
    entry.sent = true;
    this.#say({
      op: "open",
      key,
      ...tupleFields(p.tuple),
      user,
      uid,
      pid,
      program: program.slice(0, 1024),
      cookie: String(p.cookie),
      ...(entry.boundAt === undefined ? {} : { bound_at: Math.max(0, Math.floor(entry.boundAt)) }),
      ...(entry.ttl === undefined ? {} : { ttl: entry.ttl }),
    });
  }

  #sayClose(key: string, reason: CloseReason): void {
    const own = reason === "process-exited" || reason === "by-hand" ? reason : "socket-closed";
    this.#say({ op: "close", key, reason: own });
  }

  #answer(key: string, entry: Entry, verdict: Verdict): void {
    this.#waiting.delete(key);
    const { answer } = entry;
    entry.answer = undefined;
    answer?.(verdict);
  }

  #add(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#keys.set(entry.pinhole, key);
    this.#options.table.add(entry.pinhole);
  }

  #remove(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#keys.delete(entry.pinhole);
    this.#options.table.delete(entry.pinhole);
  }

  #distrust(why: string): void {
    this.#connection?.close();
    this.#broken(why);
  }

  #broken(why: string): void {
    this.#connection = undefined;
    this.#listed = undefined;
    this.#why = `no controller: ${why}`;
    this.#ready = false;
    this.#options.audit.add("controller.lost", {
      controller: this.#controller,
      delegate: this.#options.delegate,
      why,
    });
  }

  #say(message: unknown): void {
    this.#connection?.send(JSON.stringify(message));
  }
}
