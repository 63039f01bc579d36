/**
 * The console: takes alerts of many peers, keeps each once, and sends orders, configurations and bundles. Knows no
 * network: channels are handed to it, whoever dialled. See docs/protocols/console.md.
 *
 * @module
 */
import type { Duplex } from "node:stream";
import { inRange, parseIp } from "../net/ip.ts";
import { controllerOrder, controllerOwner } from "./controller_orders.ts";
import {
  CONSOLE_PROTOCOL,
  type ConsoleMessage,
  type ContainmentOrder,
  type ContainRequest,
  parsePeerMessage,
  type PeerMessage,
  type ReportedPinhole,
} from "./messages.ts";
import { niOfHost, type Peer } from "./registry.ts";
import type { ConsoleState } from "./state.ts";
import { type AlertStore, type IncomingAlert, isRecord, type StoredAlert } from "./store.ts";
import { WireChannel, type WireMessage } from "./wire.ts";

/** What a console is made with. */
export interface ConsoleOptions {
  readonly store: AlertStore;
  readonly state: ConsoleState;
  readonly peers: readonly Peer[];
  /** Alerts a second that one peer may send for long; beyond that it is not read from, and waits. */
  readonly alertsPerSecond: number;
  /** Addresses that are never slowed, filtered or blocked. */
  readonly neverBlock: (host: string) => string | undefined;
  readonly log: (level: "info" | "warning" | "error", text: string) => void;
  /** Milliseconds after which a peer that says nothing is taken for gone; 35 seconds without it. */
  readonly silence?: number;
}

/** How a peer stands. */
export interface PeerStatus {
  readonly name: string;
  readonly role: Peer["role"];
  readonly groups: readonly string[];
  readonly connected: boolean;
  /** Milliseconds since the epoch; undefined: never, since the console started. */
  readonly since: number | undefined;
  readonly address: string | undefined;
  /** What it calls itself. */
  readonly host: string;
  readonly software: string;
  readonly bundle: { readonly version: string; readonly digest: string } | null;
  readonly state: Readonly<Record<string, unknown>>;
  readonly stateAt: number | undefined;
}

/** Who wants to know what happens. All are called after it is safe on the disk. */
export interface ConsoleWatcher {
  alerts?(alerts: readonly StoredAlert[]): void;
  peers?(): void;
  orders?(): void;
  pinholes?(): void;
  /** A peer's message about bundles. */
  bundle?(peer: string, message: PeerMessage): void;
}

/** An order that is not given, with the reason. */
export class OrderRefusal extends Error {
  override readonly name = "OrderRefusal";
  readonly next: string;
  constructor(message: string, next: string) {
    super(message);
    this.next = next;
  }
}

/** Octets of alerts that may wait for the disk, of all peers together. */
const MOST_WAITING = 32 * 1024 * 1024;
/** Alerts written at once. */
const BATCH = 2000;
/** Milliseconds that alerts wait for others to be written with, and how many do not wait in that time. */
const GATHER_MS = 40;
const FEW = 3;
/** A peer is told what is kept after so many alerts, or so many milliseconds: each word costs both sides. */
const ACK_EVERY = 200;
const ACK_MS = 1000;
/** Peers told in one go; pages and other peers have their turn in between. */
const ACKS_AT_ONCE = 50;
/** Seconds of its share that a peer may use at once. */
const BURST_SECONDS = 20;
/** Peers say something every ten seconds. */
const SILENCE_MS = 35_000;
/** Octets of a peer's state. */
const LARGEST_STATE = 64 * 1024;
/** Octets that a controller may leave unread before it is told of no more alerts. */
const MOST_UNREAD = 4 * 1024 * 1024;
/** Orders that one controller may give at once, and for long, a second: each is written to the disk. */
const ORDERS_AT_ONCE = 600;
const ORDERS_A_SECOND = 10;
/** Pinholes of one controller. */
const MOST_PINHOLES = 200_000;

interface Session {
  readonly peer: Peer;
  readonly wire: WireChannel;
  readonly end: () => void;
  readonly address: string;
  readonly since: number;
  spool: string;
  /** When it was heard last, on the clock of `performance.now`. */
  heard: number;
  greeted: boolean;
  /** Welcomed: alerts are taken. */
  ready: boolean;
  tokens: number;
  filledAt: number;
  /** Orders that it may give now. */
  orders: number;
  ordersAt: number;
  /** The last alert that was acknowledged, and one that is to be (0: none). */
  acked: number;
  ackDue: number;
  /** It waits for its share. */
  throttled: ReturnType<typeof setTimeout> | undefined;
}

interface Known {
  peer: Peer;
  session: Session | undefined;
  hello: (PeerMessage & { op: "hello" }) | undefined;
  state: Readonly<Record<string, unknown>>;
  stateAt: number | undefined;
  since: number | undefined;
  pinholes: Map<number, ReportedPinhole>;
}

interface Waiting {
  readonly session: Session;
  readonly alert: IncomingAlert;
  readonly size: number;
}

/** One console. */
export class Console {
  readonly #options: ConsoleOptions;
  readonly #known = new Map<string, Known>();
  readonly #watchers = new Set<ConsoleWatcher>();
  #waiting: Waiting[] = [];
  #waitingSize = 0;
  /** Who waits for an acknowledgement. */
  readonly #owed = new Set<Session>();
  #acking: ReturnType<typeof setTimeout> | undefined;
  #gather: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> | undefined;
  /** Alerts since this time, on the clock of `performance.now`. */
  #since = -Infinity;
  #count = 0;
  #closed = false;
  readonly #silence: number;
  readonly #listening: ReturnType<typeof setInterval>;

  constructor(options: ConsoleOptions) {
    this.#options = options;
    this.setPeers(options.peers);
    this.#silence = options.silence ?? SILENCE_MS;
    this.#listening = setInterval(() => this.#endSilent(), this.#silence / 4);
  }

  /** What it keeps besides alerts. */
  get state(): ConsoleState {
    return this.#options.state;
  }

  /** Where its alerts are. */
  get store(): AlertStore {
    return this.#options.store;
  }

  /** Everybody in the registry. */
  get peers(): Peer[] {
    return [...this.#known.values()].map(({ peer }) => peer);
  }

  /** Takes another registry; peers that are gone or have another key are sent away. */
  setPeers(peers: readonly Peer[]): void {
    const names = new Set(peers.map(({ name }) => name));
    for (const [name, known] of this.#known) {
      const now = peers.find((p) => p.name === name);
      if (now?.key !== known.peer.key) known.session?.end();
      if (!names.has(name)) this.#known.delete(name);
    }
    for (const peer of peers) {
      const known = this.#known.get(peer.name);
      if (known !== undefined) known.peer = peer;
      else {
        this.#known.set(peer.name, {
          peer,
          session: undefined,
          hello: undefined,
          state: {},
          stateAt: undefined,
          since: undefined,
          pinholes: new Map(),
        });
      }
    }
  }

  /** Tells somebody what happens; call the result to stop. */
  watch(watcher: ConsoleWatcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** How all peers stand. */
  status(): PeerStatus[] {
    return [...this.#known.values()].map(({ peer, session, hello, state, stateAt, since }) => ({
      name: peer.name,
      role: peer.role,
      groups: peer.groups,
      connected: session?.ready === true,
      since,
      address: session?.address,
      host: hello?.host ?? "",
      software: hello?.software ?? "",
      bundle: bundleOf(state) ?? hello?.bundle ?? null,
      state,
      stateAt,
    }));
  }

  /** Open pinholes of all controllers that report here. */
  pinholes(): (ReportedPinhole & { readonly controller: string })[] {
    return [...this.#known.values()].flatMap(({ peer, pinholes }) =>
      [...pinholes.values()].map((p) => ({ ...p, controller: peer.name }))
    );
  }

  /** Takes over a channel to a peer that has proved its key. */
  serve(channel: Duplex, name: string, address: string, end: () => void): void {
    const known = this.#known.get(name);
    if (known === undefined || this.#closed) return end();
    const session: Session = {
      peer: known.peer,
      end,
      address,
      since: Date.now(),
      spool: "",
      heard: performance.now(),
      greeted: false,
      ready: false,
      tokens: this.#options.alertsPerSecond * BURST_SECONDS,
      filledAt: performance.now(),
      orders: ORDERS_AT_ONCE,
      ordersAt: performance.now(),
      acked: 0,
      ackDue: 0,
      throttled: undefined,
      wire: new WireChannel(channel, (m) => this.#message(session, m), (why) => {
        if (session.ready || !/closed/.test(why)) {
          this.#options.log("info", `${known.peer.name} is gone: ${why}`);
        }
        clearTimeout(session.throttled);
        end();
        if (known.session !== session) return;
        known.session = undefined;
        for (const w of this.#watchers) w.peers?.();
      }),
    };
    // The newer connection counts: the older one may be dead without anybody having noticed.
    known.session?.end();
    known.session = session;
    known.since = session.since;
  }

  /** Sends a message to a peer; false when it is not there. */
  send(peer: string, message: ConsoleMessage, bytes?: Uint8Array): boolean {
    const session = this.#known.get(peer)?.session;
    if (session?.ready !== true) return false;
    session.wire.send(message, bytes);
    return true;
  }

  /** Resolves when a peer has taken what was sent, or is gone. */
  drained(peer: string): Promise<void> {
    return this.#known.get(peer)?.session?.wire.drained() ?? Promise.resolve();
  }

  /**
   * Orders that a host be contained, or let go. Peers that are not there get the order when they come, as long as its
   * time is not over.
   *
   * @param peers names; undefined: the NIs that the host is behind, and the controllers.
   * @throws {OrderRefusal} when there is nobody to carry it out, or it must not be.
   */
  order(given: ContainmentOrder, peers: readonly string[] | undefined): string[] {
    const host = parseIp(given.host);
    if (host === undefined) throw new OrderRefusal(`"${given.host}" is not an address`, "name one");
    const order = { ...given, host: host.text };
    const never = order.verb === "allow" ? undefined : this.#options.neverBlock(order.host);
    if (never !== undefined) {
      this.state.audit(order.owner, "order.refused", { ...order, why: never });
      throw new OrderRefusal(`${order.host} is never to be contained: ${never}`, "see never_block");
    }
    const targets = peers ?? [
      ...niOfHost(this.peers, host).map(({ name }) => name),
      ...this.peers.filter(({ role }) => role === "controller").map(({ name }) => name),
    ];
    const stranger = targets.find((name) => !this.#known.has(name));
    if (stranger !== undefined) {
      throw new OrderRefusal(`there is no peer ${stranger}`, "diaper console peers lists them");
    }
    if (targets.length === 0) {
      throw new OrderRefusal(
        `no NI is known to stand before ${order.host}`,
        "name one, or give it hosts= in the registry",
      );
    }
    this.#give(order, targets);
    return [...targets];
  }

  #give(order: ContainmentOrder, targets: readonly string[]): void {
    this.state.audit(order.owner, `order.${order.verb}`, { ...order, peers: targets });
    for (const peer of targets) {
      this.state.addOrder(order, peer);
      this.send(peer, { op: "order", ...order });
    }
    for (const w of this.#watchers) w.orders?.();
  }

  /** A controller wants a host contained, by a line of its policy. Asked again, the same answer is given. */
  #contain(session: Session, request: ContainRequest): string | undefined {
    const { peer } = session;
    if (peer.role !== "controller") return "an NI gives no orders";
    const answer = (ok: boolean, why: string, peers: readonly string[]) =>
      session.wire.send(
        {
          op: "contain-result",
          id: request.id,
          ok,
          why: why.slice(0, 500),
          peers: [...peers],
        } satisfies ConsoleMessage,
      );
    const owner = controllerOwner(peer.name);
    const before = this.state.orderById(request.id);
    if (before.length > 0) {
      const own = before.every(({ order }) => order.owner === owner);
      answer(own, own ? "" : "another order has this id", own ? before.map((o) => o.peer) : []);
      return undefined;
    }
    const refuse = (why: string) => {
      this.state.audit(owner, "order.refused", { ...request, why });
      answer(false, why, []);
      return undefined;
    };
    if (!mayOrder(session)) {
      answer(false, "too many orders at once", []);
      return undefined;
    }
    const judged = controllerOrder(peer, request, {
      peers: this.peers,
      neverBlock: this.#options.neverBlock,
      holding: (host) => this.state.holding(host),
    }, Date.now());
    if ("why" in judged) return refuse(judged.why);
    if (request.dry_run) this.state.audit(owner, "order.dry-run", { ...judged.order, ...judged });
    else this.#give(judged.order, judged.peers);
    answer(true, "", judged.peers);
    return undefined;
  }

  /** Ends all sessions, after what has come is written. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#listening);
    for (const { session } of this.#known.values()) {
      clearTimeout(session?.throttled);
      session?.end();
    }
    while (this.#waiting.length > 0 || this.#writing !== undefined) {
      this.#write();
      await this.#writing;
    }
    clearTimeout(this.#gather);
    clearTimeout(this.#acking);
  }

  #message(session: Session, { value, bytes, size }: WireMessage): string | undefined {
    if (this.#closed) return "the console stops";
    const message = parsePeerMessage(value);
    if (typeof message === "string") {
      this.state.audit(session.peer.name, "peer.broke-protocol", { why: message });
      return message;
    }
    session.heard = performance.now();
    const known = this.#known.get(session.peer.name);
    if (known?.session !== session) return "another connection of this peer is newer";
    if (!session.greeted) {
      if (message.op !== "hello") return "the peer does not greet";
      if (message.role !== session.peer.role) {
        this.state.audit(session.peer.name, "peer.wrong-role", { role: message.role });
        return `this key is of a ${session.peer.role}`;
      }
      session.greeted = true;
      session.spool = message.spool;
      known.hello = message;
      void this.#welcome(session);
      return undefined;
    }
    if (!session.ready) return "the peer does not wait for its welcome";
    switch (message.op) {
      case "hello":
        return "the peer greets twice";
      case "alerts":
        return this.#alerts(session, message.alerts, bytes, size);
      case "state":
        if (size > LARGEST_STATE) return "the state is too large";
        known.state = message.state;
        known.stateAt = Date.now();
        for (const w of this.#watchers) w.peers?.();
        return undefined;
      case "order-result":
        if (this.state.answerOrder(message.id, session.peer.name, message.ok, message.why)) {
          this.state.audit(session.peer.name, message.ok ? "order.done" : "order.failed", {
            id: message.id,
            why: message.why,
          });
          for (const w of this.#watchers) w.orders?.();
        }
        return undefined;
      case "config-result":
        this.state.audit(session.peer.name, message.ok ? "config.taken" : "config.refused", {
          id: message.id,
          why: message.why,
        });
        return undefined;
      case "bundle-want":
      case "bundle-result":
        for (const w of this.#watchers) w.bundle?.(session.peer.name, message);
        return undefined;
      case "pinholes":
        return this.#pinholes(known, message);
      case "contain": {
        const { op: _, ...request } = message;
        return this.#contain(session, request);
      }
      case "ping":
        session.wire.send({ op: "pong", n: message.n } satisfies ConsoleMessage);
        return undefined;
    }
  }

  /** A peer that lost its power, or its network, closes nothing. */
  #endSilent(): void {
    const now = performance.now();
    for (const { session, peer } of this.#known.values()) {
      if (session === undefined) continue;
      // What waits in a connection that is not read from was not heard yet.
      if (session.throttled !== undefined || this.#waitingSize >= MOST_WAITING) session.heard = now;
      if (now - session.heard < this.#silence) continue;
      this.#options.log("warning", `${peer.name} has said nothing for ${this.#silence / 1000} s`);
      session.end();
    }
  }

  async #welcome(session: Session): Promise<void> {
    const { name } = session.peer;
    // What an older connection has sent may be on its way to the disk: the position is right after it only.
    while (this.#waiting.length > 0 || this.#writing !== undefined) {
      this.#write();
      await this.#writing;
    }
    const { acked } = await this.store.position(name, session.spool);
    if (session.wire.ended) return;
    session.acked = acked;
    session.ready = true;
    session.wire.send(
      { op: "welcome", version: CONSOLE_PROTOCOL, ni: name, acked } satisfies ConsoleMessage,
    );
    for (const order of this.state.waitingOrders(name)) {
      session.wire.send({ op: "order", ...order } satisfies ConsoleMessage);
    }
    this.#options.log("info", `${name} is there, from ${session.address}`);
    for (const w of this.#watchers) w.peers?.();
  }

  #alerts(
    session: Session,
    alerts: (PeerMessage & { op: "alerts" })["alerts"],
    bytes: Uint8Array,
    size: number,
  ): string | undefined {
    let at = 0;
    let before = -1;
    const fresh: Waiting[] = [];
    for (const { seq, event, capture } of alerts) {
      if (seq <= before) return "alerts are not in order";
      before = seq;
      if (at + capture > bytes.length) return "captures are longer than what came";
      const alert: IncomingAlert = {
        ni: session.peer.name,
        spool: session.spool,
        seq,
        // Who it is from is said by the key alone.
        event: { ...event, ni: session.peer.name },
        capture: capture === 0 ? NOTHING : bytes.slice(at, at + capture),
      };
      at += capture;
      fresh.push({ session, alert, size: size / alerts.length });
    }
    if (at !== bytes.length) return "captures are shorter than what came";
    this.#waiting.push(...fresh);
    this.#waitingSize += size;
    this.#throttle(session, alerts.length);
    if (this.#waiting.length >= BATCH) this.#write();
    else {
      // The first few go at once: somebody may react to them. Only where there are many do they wait for each other.
      const few = this.#countNow(alerts.length) <= FEW;
      this.#gather ??= setTimeout(() => this.#write(), few ? 0 : GATHER_MS);
    }
    return undefined;
  }

  /** How many alerts came in the last moments, with these. */
  #countNow(more: number): number {
    const now = performance.now();
    if (now - this.#since >= GATHER_MS) [this.#since, this.#count] = [now, 0];
    this.#count += more;
    return this.#count;
  }

  /** A peer that sends more than its share is not read from until it has earned it: its own spool fills, nobody else's. */
  #throttle(session: Session, count: number): void {
    const now = performance.now();
    const rate = this.#options.alertsPerSecond;
    const earned = (now - session.filledAt) / 1000 * rate;
    session.tokens = Math.min(rate * BURST_SECONDS, session.tokens + earned) - count;
    session.filledAt = now;
    if (session.tokens < 0) {
      clearTimeout(session.throttled);
      session.wire.pause(true);
      session.throttled = setTimeout(() => {
        session.throttled = undefined;
        if (this.#waitingSize < MOST_WAITING) session.wire.pause(false);
      }, Math.min(5000, -session.tokens / rate * 1000 + 1));
    } else if (this.#waitingSize >= MOST_WAITING) session.wire.pause(true);
  }

  #write(): void {
    clearTimeout(this.#gather);
    this.#gather = undefined;
    if (this.#writing !== undefined || this.#waiting.length === 0) return;
    this.#writing = this.#writeAll().finally(() => {
      this.#writing = undefined;
      if (this.#waiting.length >= BATCH) this.#write();
      else if (this.#waiting.length > 0) {
        this.#gather ??= setTimeout(() => this.#write(), GATHER_MS);
      }
    });
  }

  async #writeAll(): Promise<void> {
    const batch = this.#waiting.splice(0, BATCH);
    let stored: StoredAlert[];
    try {
      stored = await this.store.append(batch.map(({ alert }) => alert));
    } catch (error) {
      // Nothing was acknowledged: the peers keep what they have and send it again.
      const why = error instanceof Error ? error.message : String(error);
      this.#options.log("error", `alerts cannot be kept: ${why}`);
      const gone = new Set(batch.map((w) => w.session));
      for (const session of gone) {
        session.ready = false; // what still comes by it would leave a gap that is none
        session.end();
      }
      this.#waiting = this.#waiting.filter((w) => !gone.has(w.session));
      this.#settle(batch);
      return;
    }
    const last = new Map<Session, number>();
    for (const { session, alert } of batch) last.set(session, alert.seq);
    for (const [session, seq] of last) {
      const waits = session.ackDue > 0;
      session.ackDue = seq;
      if (seq - session.acked >= ACK_EVERY) this.#acknowledge(session);
      else if (!waits) this.#owed.add(session);
    }
    this.#acknowledgeSoon();
    this.#settle(batch);
    if (stored.length === 0) return;
    this.#tellControllers(stored);
    for (const w of this.#watchers) w.alerts?.(stored);
  }

  /** Controllers may react to alerts (docs/protocols/console.md); to one that does not read nothing is owed. */
  #tellControllers(alerts: readonly StoredAlert[]): void {
    for (const { peer, session } of this.#known.values()) {
      if (peer.role !== "controller" || session?.ready !== true) continue;
      for (const { ni, id, event, src, dest } of alerts) {
        if (session.wire.backlog > MOST_UNREAD) break;
        const hosts = this.#behind(ni, [src, dest]);
        const never = hosts.filter((host) => this.#options.neverBlock(host) !== undefined);
        session.wire.send({ op: "alert", ni, id, event, hosts, never } satisfies ConsoleMessage);
      }
    }
  }

  /** Those of the addresses that an NI stands before. */
  #behind(ni: string, addresses: readonly string[]): string[] {
    const peer = this.#known.get(ni)?.peer;
    const ranges = peer?.role === "ni" ? peer.hosts : [];
    return addresses.flatMap((text) => {
      const address = parseIp(text);
      return address !== undefined && ranges.some((r) => inRange(address, r)) ? [address.text] : [];
    });
  }

  #acknowledgeSoon(): void {
    if (this.#owed.size === 0 || this.#acking !== undefined) return;
    this.#acking = setTimeout(() => {
      const owed = [...this.#owed];
      this.#owed.clear();
      this.#acknowledgeSome(owed);
    }, ACK_MS);
  }

  #acknowledgeSome(owed: Session[]): void {
    for (const session of owed.splice(0, ACKS_AT_ONCE)) this.#acknowledge(session);
    this.#acking = owed.length === 0 ? undefined : setTimeout(() => this.#acknowledgeSome(owed), 0);
    this.#acknowledgeSoon();
  }

  #acknowledge(session: Session): void {
    if (session.ackDue === 0) return;
    session.acked = session.ackDue;
    session.ackDue = 0;
    const { spool, acked } = session;
    session.wire.send({ op: "ack", spool, seq: acked } satisfies ConsoleMessage);
  }

  #settle(batch: readonly Waiting[]): void {
    this.#waitingSize = this.#waiting.length === 0
      ? 0
      : this.#waitingSize - batch.reduce((sum, { size }) => sum + size, 0);
    if (this.#waitingSize >= MOST_WAITING) return;
    for (const { session } of this.#known.values()) {
      if (session !== undefined && session.throttled === undefined) session.wire.pause(false);
    }
  }

  #pinholes(known: Known, m: PeerMessage & { op: "pinholes" }): string | undefined {
    if (known.peer.role !== "controller") return "an NI has no pinholes to report";
    if (m.reset) known.pinholes.clear();
    for (const id of m.closed) known.pinholes.delete(id);
    for (const p of m.pinholes) known.pinholes.set(p.id, p);
    if (known.pinholes.size > MOST_PINHOLES) return "too many pinholes";
    for (const w of this.#watchers) w.pinholes?.();
    return undefined;
  }
}

/** The bundle that a peer says it runs; undefined when it has not said. */
function bundleOf(
  state: Readonly<Record<string, unknown>>,
): { version: string; digest: string } | null | undefined {
  const { bundle } = state;
  if (!isRecord(bundle)) return bundle === null ? null : undefined;
  const { version, digest } = bundle;
  return typeof version === "string" && typeof digest === "string"
    ? { version: version.slice(0, 64), digest: digest.slice(0, 64) }
    : undefined;
}

/** Counts an order of a controller; false when it gives too many. */
function mayOrder(session: Session): boolean {
  const now = performance.now();
  const earned = (now - session.ordersAt) / 1000 * ORDERS_A_SECOND;
  session.orders = Math.min(ORDERS_AT_ONCE, session.orders + earned);
  session.ordersAt = now;
  if (session.orders < 1) return false;
  session.orders--;
  return true;
}

const NOTHING = new Uint8Array();
