/**
 * The NI's (and a controller's) side of the channel to its console: alerts up, at least once and in order; orders,
 * configurations and bundles down. The peer dials out, or waits for the console, or both. Runs on the main thread.
 *
 * @module
 */
import type { Duplex } from "node:stream";
import { openSubsystem } from "../sys/ssh_client.ts";
import { KeyedSshServer } from "../sys/ssh_server.ts";
import {
  ALERT_WINDOW,
  CONSOLE_PROTOCOL,
  CONSOLE_SUBSYSTEM,
  type ConsoleMessage,
  type ContainmentOrder,
  MOST_ALERTS,
  parseConsoleMessage,
  type PeerMessage,
  type ReportedPinhole,
} from "./messages.ts";
import type { AlertSpool, SpooledAlert } from "./spool.ts";
import { WireChannel, type WireMessage } from "./wire.ts";

/** What an order or a configuration came to. */
export interface Outcome {
  readonly ok: boolean;
  readonly why: string;
}

/** What is done with what the console sends; what is not here is refused. */
export interface NiHandlers {
  /** Contains a host or lets it go. Called once for each order, however often it is delivered. */
  readonly order?: (order: ContainmentOrder) => Promise<Outcome> | Outcome;
  /** Takes a whole configuration. */
  readonly config?: (text: string) => Promise<Outcome> | Outcome;
  /** Takes messages about bundles. */
  readonly bundle?: (message: ConsoleMessage, bytes: Uint8Array) => void;
  /** To controllers: an alert of an NI. */
  readonly alert?: (alert: ConsoleMessage & { op: "alert" }) => void;
  /** To controllers: what became of a host that was to be contained. */
  readonly contained?: (result: ConsoleMessage & { op: "contain-result" }) => void;
  /** How the peer stands; asked for again and again. */
  readonly state?: () => Promise<Record<string, unknown>> | Record<string, unknown>;
  /** The bundle that runs. */
  readonly running?: () => { readonly version: string; readonly digest: string } | null;
  /** A connection begins: the place to say what the console does not know yet. */
  readonly connected?: () => void;
}

/** What it is made with. */
export interface NiSideOptions {
  readonly role: "ni" | "controller";
  /** For people; the console goes by the key. */
  readonly host: string;
  readonly software: string;
  /** Private key, as text: it proves who we are, whichever side dials. */
  readonly privateKey: string;
  /** The console's keys, as base64. */
  readonly consoleKeys: ReadonlySet<string>;
  /** Consoles that we dial, in the order in which they are tried. */
  readonly connect: readonly { readonly host: string; readonly port: number }[];
  /** Where we wait for the console. */
  readonly listen: readonly { readonly host: string; readonly port: number }[];
  /** Address that we dial from. */
  readonly localAddress?: string | undefined;
  readonly spool: AlertSpool;
  readonly handlers: NiHandlers;
  readonly log: (level: "info" | "warning" | "error", text: string) => void;
}

const CONNECT_MS = 5000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** A connection that lasted so long was a good one. */
const GOOD_MS = 10_000;
const STATE_MS = 10_000;
/** Nothing heard for so long, although the console answers each state's ping: the connection is dead. */
const SILENCE_MS = 35_000;
/** Octets of alerts in one message, about. */
const BATCH_BYTES = 256 * 1024;
/** Outcomes of orders that are remembered, so that a repeated order is not carried out again. */
const MOST_OUTCOMES = 10_000;

interface Session {
  readonly wire: WireChannel;
  readonly end: (why?: string) => void;
  welcomed: boolean;
  /** Last alert that was sent, and that was acknowledged. */
  sent: number;
  acked: number;
  pumping: boolean;
  heard: number;
}

/** The peer's side. */
export class NiSide {
  readonly #options: NiSideOptions;
  readonly #startedAt = new Date().toISOString();
  readonly #outcomes = new Map<string, Promise<Outcome>>();
  #server: KeyedSshServer<"console"> | undefined;
  #session: Session | undefined;
  #dialling: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #end: ((why?: string) => void) | undefined;
  #stopping = false;
  #timer: ReturnType<typeof setInterval> | undefined;
  #fresh: Omit<SpooledAlert, "seq">[] = [];
  #said = "";

  constructor(options: NiSideOptions) {
    this.#options = options;
  }

  /** Connected, and taken by the console. */
  get connected(): boolean {
    return this.#session?.welcomed === true;
  }

  /**
   * Begins to dial and to wait for the console.
   *
   * @returns the ports that it listens at.
   * @throws {Error} when an address cannot be listened at.
   */
  async start(): Promise<number[]> {
    const { listen, connect } = this.#options;
    const ports: number[] = [];
    if (listen.length > 0) {
      this.#server = new KeyedSshServer({
        hostKey: this.#options.privateKey,
        subsystem: CONSOLE_SUBSYSTEM,
        know: (key) => this.#options.consoleKeys.has(key) ? "console" : undefined,
        serve: (channel, _who, _address, end) => this.#open(channel, end),
      });
      for (const { host, port } of listen) ports.push(await this.#server.listen(host, port));
    }
    this.#timer = setInterval(() => this.#beat(), STATE_MS);
    if (connect.length > 0) this.#dialling = this.#dial();
    return ports;
  }

  /** Ends the connection. What is in the spool stays there. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#flush();
    clearInterval(this.#timer);
    this.#server?.close();
    this.#session?.end();
    this.#end?.();
    this.#wake?.();
    await this.#dialling;
  }

  /**
   * Tells the console, now or when it is there. Kept on the disk before anything else happens to it.
   *
   * @param capture a capture file with its packets.
   */
  alert(event: Readonly<Record<string, unknown>>, capture: Uint8Array = new Uint8Array()): void {
    this.#fresh.push({ event, capture });
    if (this.#fresh.length === 1) queueMicrotask(() => this.#flush());
  }

  /** Says something to the console when it is there; false when it is not. */
  say(message: PeerMessage, bytes?: Uint8Array): boolean {
    if (this.#session?.welcomed !== true) return false;
    this.#session.wire.send(message, bytes);
    // What runs is another thing now.
    if (message.op === "bundle-result") void this.#state();
    return true;
  }

  /** Tells which pinholes are open: all (`reset`), or what changed. */
  pinholes(pinholes: readonly ReportedPinhole[], closed: readonly number[], reset: boolean): void {
    for (let at = 0; at === 0 || at < Math.max(pinholes.length, closed.length); at += 1000) {
      this.say({
        op: "pinholes",
        reset: reset && at === 0,
        pinholes: pinholes.slice(at, at + 1000),
        closed: closed.slice(at, at + 1000),
      });
    }
  }

  #flush(): void {
    const alerts = this.#fresh;
    this.#fresh = [];
    if (alerts.length === 0) return;
    const { spool, log } = this.#options;
    try {
      const lost = spool.add(alerts);
      if (lost > 0) log("warning", `the spool of alerts is full: ${lost} more are lost`);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      log("error", `${alerts.length} alerts are lost, the spool does not take them: ${why}`);
      return;
    }
    void this.#pump();
  }

  async #dial(): Promise<void> {
    const { connect, privateKey, consoleKeys, localAddress, log } = this.#options;
    let failures = 0;
    for (let next = 0; !this.#stopping; next++) {
      const target = connect[next % connect.length] as { host: string; port: number };
      const since = Date.now();
      const why = await new Promise<string>((resolve) => {
        this.#end = openSubsystem({
          ...target,
          user: "diaper",
          privateKey,
          pins: consoleKeys,
          subsystem: CONSOLE_SUBSYSTEM,
          timeout: CONNECT_MS,
          localAddress,
        }, { open: (channel, end) => this.#open(channel, end), ended: resolve });
      });
      this.#end = undefined;
      if (this.#stopping) return;
      if (this.#said !== why) log("warning", `console ${target.host}:${target.port}: ${why}`);
      this.#said = why;
      failures = Date.now() - since >= GOOD_MS ? 0 : failures + 1;
      const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 10));
      await this.#pause(pause);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      // NIs that lost the same console do not come back all at once.
      const timer = setTimeout(resolve, ms * (0.5 + Math.random() / 2));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #open(channel: Duplex, end: (why?: string) => void): void {
    // The newer connection counts: the older one may be dead without anybody having noticed.
    this.#session?.end("the console came again");
    const { spool, handlers } = this.#options;
    const session: Session = {
      end,
      welcomed: false,
      sent: 0,
      acked: 0,
      pumping: false,
      heard: Date.now(),
      wire: new WireChannel(channel, (message) => this.#message(session, message), (why) => {
        if (this.#session === session) this.#session = undefined;
        end(why);
      }),
    };
    this.#session = session;
    const { first, next } = spool.state;
    session.wire.send(
      {
        op: "hello",
        version: CONSOLE_PROTOCOL,
        role: this.#options.role,
        host: this.#options.host,
        software: this.#options.software,
        started_at: this.#startedAt,
        spool: spool.id,
        first,
        next,
        bundle: handlers.running?.() ?? null,
      } satisfies PeerMessage,
    );
  }

  #message(session: Session, { value, bytes }: WireMessage): string | undefined {
    const message = parseConsoleMessage(value);
    if (typeof message === "string") return message;
    session.heard = Date.now();
    const { spool, handlers, log } = this.#options;
    if (message.op === "error") return message.why;
    if (!session.welcomed) {
      if (message.op !== "welcome") return "the console does not greet";
      session.welcomed = true;
      this.#said = "";
      session.sent = session.acked = message.acked;
      spool.acknowledge(message.acked);
      log("info", `the console is there, it calls us ${message.ni}`);
      handlers.connected?.();
      void this.#state();
      void this.#pump();
      return undefined;
    }
    switch (message.op) {
      case "welcome":
        return "the console greets twice";
      case "ack":
        if (message.spool !== spool.id || message.seq > session.sent) return "a wrong ack";
        session.acked = Math.max(session.acked, message.seq);
        spool.acknowledge(message.seq);
        void this.#pump();
        return undefined;
      case "order": {
        const { op: _, ...order } = message;
        void this.#order(session, order);
        return undefined;
      }
      case "config":
        void this.#config(session, message.id, message.text);
        return undefined;
      case "bundle":
      case "bundle-data":
        handlers.bundle?.(message, bytes);
        return undefined;
      case "alert":
        handlers.alert?.(message);
        return undefined;
      case "contain-result":
        handlers.contained?.(message);
        return undefined;
      case "pong":
        return undefined;
    }
  }

  async #order(session: Session, order: ContainmentOrder): Promise<void> {
    let outcome = this.#outcomes.get(order.id);
    if (outcome === undefined) {
      outcome = this.#carryOut(order);
      this.#outcomes.set(order.id, outcome);
      if (this.#outcomes.size > MOST_OUTCOMES) {
        this.#outcomes.delete(this.#outcomes.keys().next().value as string);
      }
    }
    const { ok, why } = await outcome;
    session.wire.send(
      { op: "order-result", id: order.id, ok, why: why.slice(0, 500) } satisfies PeerMessage,
    );
    await this.#state();
  }

  async #carryOut(order: ContainmentOrder): Promise<Outcome> {
    const { order: handler } = this.#options.handlers;
    if (handler === undefined) return { ok: false, why: "this peer contains no hosts" };
    if (Date.parse(order.issued_at) + order.lifetime * 1000 <= Date.now()) {
      return { ok: false, why: "its time was over before it came" };
    }
    return await attempt(() => handler(order));
  }

  async #config(session: Session, id: string, text: string): Promise<void> {
    const { config: handler } = this.#options.handlers;
    const { ok, why } = handler === undefined
      ? { ok: false, why: "this peer takes no configuration" }
      : await attempt(() => handler(text));
    session.wire.send(
      { op: "config-result", id, ok, why: why.slice(0, 2000) } satisfies PeerMessage,
    );
  }

  /** Sends what the spool has, as far as the window and the connection allow. */
  async #pump(): Promise<void> {
    const session = this.#session;
    if (session === undefined || !session.welcomed || session.pumping) return;
    session.pumping = true;
    try {
      while (this.#session === session && !session.wire.ended) {
        const room = Math.min(MOST_ALERTS, ALERT_WINDOW - (session.sent - session.acked));
        if (room <= 0) return;
        const alerts = this.#options.spool.after(session.sent, room, BATCH_BYTES);
        const last = alerts.at(-1);
        if (last === undefined) return;
        session.sent = last.seq;
        session.wire.send(
          {
            op: "alerts",
            alerts: alerts.map(({ seq, event, capture }) => ({
              seq,
              event,
              capture: capture.length,
            })),
          } satisfies PeerMessage,
          joined(alerts),
        );
        await session.wire.drained();
      }
    } finally {
      session.pumping = false;
    }
  }

  #beat(): void {
    const session = this.#session;
    if (session === undefined) return;
    if (Date.now() - session.heard > SILENCE_MS) return session.end("the console is silent");
    if (session.welcomed) {
      session.wire.send({ op: "ping", n: 0 } satisfies PeerMessage);
      void this.#state();
    }
  }

  async #state(): Promise<void> {
    const { handlers, spool } = this.#options;
    const state = await handlers.state?.() ?? {};
    const { waiting, bytes, lost } = spool.state;
    const bundle = handlers.running?.() ?? null;
    this.say({ op: "state", state: { ...state, bundle, spool: { waiting, bytes, lost } } });
  }
}

async function attempt(work: () => Promise<Outcome> | Outcome): Promise<Outcome> {
  try {
    return await work();
  } catch (error) {
    return { ok: false, why: error instanceof Error ? error.message : String(error) };
  }
}

function joined(alerts: readonly SpooledAlert[]): Uint8Array {
  const all = new Uint8Array(alerts.reduce((sum, { capture }) => sum + capture.length, 0));
  let at = 0;
  for (const { capture } of alerts) {
    all.set(capture, at);
    at += capture.length;
  }
  return all;
}
