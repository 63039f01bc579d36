/**
 * Remote authentication's inner side: the sessions of brokers, each a line protocol over a local socket that
 * an SSH server connects to once it knows who is there (docs/protocols/broker-controller.md).
 *
 * @module
 */
import {
  type BrokerMessage,
  type ControllerMessage,
  LONGEST_LINE,
  MOST_IN_FLIGHT,
  parseBrokerMessage,
  parseSessionLine,
  readTuple,
  REMOTE_VERSION,
  type SessionLine,
  tupleFields,
} from "../broker/remote_protocol.ts";
import type { CloseReason, Pinhole } from "../pinhole/pinhole.ts";
import type { Verdict } from "../pinhole/request.ts";
import { EPOLL, type Poller } from "../sys/epoll.ts";
import { LineConnection } from "../sys/line_connection.ts";
import { libc } from "../sys/libc.ts";
import { acceptUnix, type Credentials, peerCredentials } from "../sys/unix_socket.ts";
import type { AuditTrail } from "./audit.ts";
import type { Controller } from "./controller.ts";
import type { Part } from "./plane.ts";

/** What sessions are kept with. */
export interface SessionOptions {
  readonly controller: Controller;
  readonly audit: AuditTrail;
  /** Seconds for which pinholes stay of a broker that is not heard of. */
  readonly lease: number;
  /** Most sessions at once. */
  readonly maxSessions: number;
  /** The account besides root that may say who is at the other end; undefined: nobody. */
  readonly gateUid: number | undefined;
  /** Why no broker is served now, such as another controller that leads; undefined: all are. */
  readonly standby: () => string | undefined;
}

/** What is known of a broker with pinholes, whether it is connected or not. */
interface BrokerState {
  /** On the clock of `performance.now`. */
  heardAt: number;
  session: Session | undefined;
}

interface Session {
  readonly connection: LineConnection;
  readonly peer: Credentials;
  readonly since: number;
  /** Undefined until the SSH server has said who it is. */
  who: SessionLine | undefined;
  /** `delegate/broker`; undefined until hello. */
  broker: string | undefined;
  boot: string;
  heardAt: number;
  /** Requests whose verdict is not said yet. */
  inFlight: number;
}

/** A message that proves its sender wrong: the session is ended. */
class Violation extends Error {}

/** Longest time from connect to hello, in milliseconds. */
const HELLO_MS = 10_000;
/** What a broker may leave unread before it is read no further. */
const BACKLOG = 256 * 1024;
/** What a broker may leave unread before it is cut off. */
const TOO_MUCH = 4 * 1024 * 1024;

/** All sessions of brokers. */
export class BrokerSessions implements Part {
  readonly #poller: Poller;
  readonly #listener: number;
  readonly #options: SessionOptions;
  readonly #sessions = new Set<Session>();
  readonly #brokers = new Map<string, BrokerState>();
  /** Who this controller is, until it starts anew. */
  readonly #identity = crypto.randomUUID();
  #nextSecond = 0;

  /** @param listener a listening stream socket; closed in the end. */
  constructor(poller: Poller, listener: number, options: SessionOptions) {
    this.#poller = poller;
    this.#listener = listener;
    this.#options = options;
    poller.add(listener, EPOLL.IN, () => this.#accept());
    // What the ledger holds of brokers from before: they have one lease to come back.
    const now = performance.now();
    for (const broker of options.controller.table.brokers()) {
      this.#brokers.set(broker, { heardAt: now, session: undefined });
    }
    options.controller.execution.onClosed = (p, reason) => this.#ended(p, reason);
  }

  /** Brokers that are connected, for `status`. */
  list(): { broker: string; via: string; peer: string; in_flight: number }[] {
    return [...this.#sessions].flatMap((s) =>
      s.broker === undefined || s.who === undefined
        ? []
        : [{ broker: s.broker, via: s.who.via, peer: s.who.peer, in_flight: s.inFlight }]
    );
  }

  /**
   * That none of the brokers that have sessions is heard of: then it is this controller that is cut off.
   *
   * @param silence milliseconds without a word after which a broker is not heard of.
   */
  unheard(now: number, silence: number): string | undefined {
    let brokers = 0;
    for (const s of this.#sessions) {
      if (s.broker === undefined) continue;
      if (now - s.heardAt <= silence) return undefined;
      brokers++;
    }
    return brokers === 0 ? undefined : `none of ${brokers} brokers is heard of any more`;
  }

  /** Ends sessions of delegates that are known no more. */
  keepDelegates(known: ReadonlySet<string>): void {
    for (const s of [...this.#sessions]) {
      if (s.who !== undefined && !known.has(s.who.delegate)) this.#refuse(s, "delegate is revoked");
    }
  }

  /** Tells all brokers to go elsewhere. */
  standDown(why: string): void {
    for (const s of [...this.#sessions]) {
      this.#say(s, { op: "standby", why });
      this.#drop(s, why);
    }
  }

  /** See {@link Part.due}. */
  due(now: number): number {
    return this.#nextSecond - now;
  }

  /** See {@link Part.round}. */
  round(now: number): void {
    if (now >= this.#nextSecond) {
      this.#nextSecond = now + 1000;
      this.#tick(now);
    }
    this.flush();
  }

  /** Sends what was said. */
  flush(): void {
    for (const s of this.#sessions) {
      s.connection.flush();
      if (s.connection.backlog > TOO_MUCH) this.#refuse(s, "does not read its answers");
      else this.#regulate(s);
    }
  }

  /** Closes all sessions and the listener. */
  close(): void {
    this.#poller.remove(this.#listener);
    libc.close(this.#listener);
    for (const s of [...this.#sessions]) this.#drop(s, "the controller stops");
  }

  #accept(): void {
    for (;;) {
      const fd = acceptUnix(this.#listener);
      if (fd === "none" || fd === "limit") return;
      const peer = peerCredentials(fd);
      const { gateUid, maxSessions, audit } = this.#options;
      const refused = peer.uid !== 0 && peer.uid !== gateUid
        ? "this account may not say who a broker is"
        : this.#sessions.size >= maxSessions
        ? `all ${maxSessions} sessions are in use`
        : undefined;
      if (refused !== undefined) {
        libc.close(fd);
        audit.refusal(peer.uid, "session.refused", { pid: peer.pid, why: refused });
        continue;
      }
      this.#begin(fd, peer);
    }
  }

  #begin(fd: number, peer: Credentials): void {
    const session: Session = {
      connection: new LineConnection(this.#poller, fd, LONGEST_LINE, {
        line: (text) => this.#line(session, text),
        end: (why) => this.#drop(session, why),
      }),
      peer,
      since: performance.now(),
      who: undefined,
      broker: undefined,
      boot: "",
      heardAt: performance.now(),
      inFlight: 0,
    };
    this.#sessions.add(session);
  }

  #line(s: Session, text: string): void {
    try {
      if (s.who === undefined) {
        const who = parseSessionLine(text);
        if (typeof who === "string") throw new Violation(who);
        s.who = who;
        return;
      }
      const message = parseBrokerMessage(text);
      if (typeof message === "string") throw new Violation(message);
      s.heardAt = performance.now();
      this.#message(s, s.who, message);
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.#refuse(s, error.message);
    }
  }

  #message(s: Session, who: SessionLine, m: BrokerMessage): void {
    if (m.op === "hello") return this.#hello(s, who, m);
    if (s.broker === undefined) throw new Violation("no hello before the rest");
    switch (m.op) {
      case "open":
        return this.#open(s, who, s.broker, m);
      case "close":
        return this.#close(s, s.broker, m);
      case "list":
        return this.#list(s, s.broker);
      case "ping":
        return this.#say(s, { op: "pong", n: m.n });
    }
  }

  #hello(s: Session, who: SessionLine, m: BrokerMessage & { op: "hello" }): void {
    if (s.broker !== undefined) throw new Violation("second hello");
    if (m.version !== REMOTE_VERSION) {
      throw new Violation(`protocol version ${m.version} is not ${REMOTE_VERSION}`);
    }
    const standby = this.#options.standby();
    if (standby !== undefined) {
      this.#say(s, { op: "standby", why: standby });
      return this.#drop(s, standby);
    }
    const broker = `${who.delegate}/${m.broker}`;
    const state = this.#brokers.get(broker);
    // What the older connection still brings is void: the newer one says all that is wanted.
    if (state?.session !== undefined) this.#drop(state.session, "the broker has connected anew");
    s.broker = broker;
    s.boot = m.boot;
    this.#brokers.set(broker, { heardAt: s.heardAt, session: s });
    const { controller, audit, lease } = this.#options;
    for (const p of controller.table.ofBroker(broker)) {
      if (p.origin?.boot !== m.boot) controller.close(p, "reboot");
    }
    audit.add("session.opened", { broker, via: who.via, peer: who.peer });
    this.#say(s, {
      op: "welcome",
      version: REMOTE_VERSION,
      delegate: who.delegate,
      controller: this.#identity,
      lease,
    });
  }

  #open(s: Session, who: SessionLine, broker: string, m: BrokerMessage & { op: "open" }): void {
    const { key } = m;
    const { controller } = this.#options;
    s.inFlight++;
    let answered = false;
    const answer = (v: Verdict) => {
      answered = true;
      s.inFlight--;
      this.#say(s, {
        op: "verdict",
        key,
        kind: v.kind,
        id: v.kind === "open" ? v.id : 0,
        why: v.why.slice(0, 512),
      });
    };
    const known = controller.table.ofRequest(broker, key);
    if (known !== undefined) return this.#again(known, answer);
    const tuple = readTuple(m);
    if (typeof tuple === "string") return answer({ kind: "refused", why: tuple });
    const p = controller.request({
      tuple,
      requester: {
        delegate: who.delegate,
        user: m.user,
        uid: m.uid,
        pid: m.pid,
        pidStart: 0n,
        program: m.program,
      },
      cookie: 0n,
      origin: { broker, boot: s.boot, key, cookie: BigInt(m.cookie) },
      boundAt: m.bound_at,
      ttl: m.ttl,
    }, answer);
    if (answered || p === undefined) return;
    const position = controller.execution.positionOf(p);
    if (position !== undefined) this.#say(s, { op: "waiting", key, position });
  }

  /** The same request once more, since its verdict was lost with a connection. */
  #again(p: Pinhole, answer: (verdict: Verdict) => void): void {
    if (p.state === "open") answer({ kind: "open", id: p.id, why: p.rule });
    else if (p.state === "opening") this.#options.controller.execution.answerLater(p, answer);
    else answer({ kind: "unavailable", why: "it is being closed" });
  }

  #close(s: Session, broker: string, m: BrokerMessage & { op: "close" }): void {
    const { controller } = this.#options;
    const p = controller.table.ofRequest(broker, m.key);
    // What is not known is closed: it was never opened, or it has ended by itself.
    if (p === undefined) return this.#say(s, { op: "closed", key: m.key, reason: m.reason });
    controller.close(p, m.reason);
  }

  #list(s: Session, broker: string): void {
    let count = 0;
    for (const p of this.#options.controller.table.ofBroker(broker)) {
      if (p.origin === undefined || p.state !== "open") continue;
      count++;
      const { requester: r } = p;
      this.#say(s, {
        op: "pinhole",
        key: p.origin.key,
        id: p.id,
        ...tupleFields(p.tuple),
        user: r.user,
        uid: r.uid,
        pid: r.pid,
        program: r.program,
        cookie: String(p.origin.cookie),
      });
    }
    this.#say(s, { op: "listed", count });
  }

  /** Tells a broker that a pinhole of its is no more, whoever wanted that. */
  #ended(p: Pinhole, reason: CloseReason): void {
    if (p.origin === undefined) return;
    const session = this.#brokers.get(p.origin.broker)?.session;
    if (session !== undefined) this.#say(session, { op: "closed", key: p.origin.key, reason });
  }

  #tick(now: number): void {
    const { lease, controller } = this.#options;
    for (const s of [...this.#sessions]) {
      const silent = now - s.heardAt;
      if (s.broker === undefined && now - s.since > HELLO_MS) this.#refuse(s, "no hello in time");
      else if (silent > lease * 1000) this.#drop(s, "was not heard of for its lease");
    }
    for (const [broker, state] of this.#brokers) {
      if (state.session !== undefined) {
        state.heardAt = state.session.heardAt;
        continue;
      }
      if (now - state.heardAt <= lease * 1000) continue;
      for (const p of controller.table.ofBroker(broker)) controller.close(p, "broker-lost");
      this.#brokers.delete(broker);
    }
  }

  /** A broker that has much under way, or that does not read, is not read: that slows it alone. */
  #regulate(s: Session): void {
    const full = s.inFlight >= MOST_IN_FLIGHT || s.connection.backlog > BACKLOG;
    s.connection.read(!full);
  }

  #say(s: Session, message: ControllerMessage): void {
    s.connection.send(JSON.stringify(message));
  }

  #refuse(s: Session, why: string): void {
    this.#options.audit.refusal(s.peer.uid, "session.refused", {
      pid: s.peer.pid,
      delegate: s.who?.delegate ?? null,
      peer: s.who?.peer ?? null,
      why,
    });
    this.#say(s, { op: "error", why });
    this.#drop(s, why);
  }

  #drop(s: Session, why: string): void {
    if (!this.#sessions.delete(s)) return;
    s.connection.finish();
    if (s.broker === undefined) return;
    const state = this.#brokers.get(s.broker);
    if (state?.session === s) {
      state.session = undefined;
      state.heardAt = s.heardAt;
    }
    this.#options.audit.add("session.closed", { broker: s.broker, why });
  }
}
