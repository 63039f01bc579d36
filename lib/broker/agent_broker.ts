/**
 * The broker alone (`diaper agent-broker`): agents and sockets of this host, with controllers far away.
 *
 * @module
 */
import { type AuditTrail, pinholeFields, requestFields } from "../controller/audit.ts";
import { openAuditTrail } from "../controller/syslog.ts";
import type { Config } from "../controller/config.ts";
import type { ControlRequest } from "../controller/control_protocol.ts";
import { ControlRefusal, ControlServer } from "../controller/control_server.ts";
import type { Log } from "../controller/controller.ts";
import { EventCounts } from "../controller/event_counts.ts";
import type { LaterOrder, Role } from "../controller/orders.ts";
import { PinholeTable } from "../controller/pinhole_table.ts";
import { DataPlane, type Part } from "../controller/plane.ts";
import { ControlPart, TrailPart } from "../controller/plane_parts.ts";
import { listenInside } from "../controller/run_directory.ts";
import type { CloseReason, Pinhole } from "../pinhole/pinhole.ts";
import type { PinholeRequest, Verdict } from "../pinhole/request.ts";
import { Poller } from "../sys/epoll.ts";
import { libc } from "../sys/libc.ts";
import { bootId } from "../sys/process_facts.ts";
import type { Credentials } from "../sys/unix_socket.ts";
import { remoteDelegate, remoteDelegates } from "./delegates.ts";
import { HostSide } from "./host_side.ts";
import { Uplink } from "./uplink.ts";

/** What the broker is made of. */
export interface AgentBrokerOptions {
  readonly config: Config;
  /** Group that may use the control socket besides root; undefined when there is none. */
  readonly controlGid: number | undefined;
  readonly log: Log;
}

/** Milliseconds of silence after which a connection counts as broken: with others to go to, and without. */
const SILENCE_MS = { several: 1000, one: 10_000 };

/** The broker of one host. */
export class AgentBroker implements Role, Part {
  readonly #options: AgentBrokerOptions;
  readonly #poller = new Poller();
  readonly #table = new PinholeTable();
  readonly #audit: AuditTrail;
  readonly #host: HostSide;
  readonly #uplinks = new Map<string, Uplink>();
  readonly #counts = new EventCounts();
  readonly #startedAt = Date.now();
  #nextId = 1;
  #control: ControlServer | undefined;
  #plane: DataPlane | undefined;

  /** @throws {Error} that says why this broker cannot be. */
  constructor(options: AgentBrokerOptions) {
    this.#options = options;
    const { config, log } = options;
    this.#audit = openAuditTrail(config);
    const identity = {
      broker: readIdentity(`${config.state_dir}/broker_id`),
      boot: bootId(),
      instance: crypto.randomUUID(),
    };
    for (const delegate of remoteDelegates(config.remote)) {
      this.#uplinks.set(
        delegate,
        new Uplink({
          poller: this.#poller,
          table: this.#table,
          audit: this.#audit,
          identity,
          delegate,
          wait: config.remote.wait * 1000,
          silence: config.remote.controllers.length > 1 ? SILENCE_MS.several : SILENCE_MS.one,
          nextId: () => this.#nextId++,
          onAdopted: () => this.#host.compareSoon(),
        }),
      );
    }
    this.#host = new HostSide({
      config,
      poller: this.#poller,
      audit: this.#audit,
      log,
      request: (request, answer) => this.#request(request, answer),
      table: this.#table,
      closer: this,
      // What has passed is known at the perimeter only: every pinhole may have been used.
      traffic: { counters: (tuples) => Promise.resolve(tuples.map(() => undefined)) },
    });
    this.#audit.watch((event, line) => {
      this.#counts.count(event.event_type);
      this.#control?.broadcast(line);
    });
  }

  /** See {@link Role}. */
  start(): Promise<boolean> {
    const { config, controlGid } = this.#options;
    this.#host.watch();
    this.#host.listen();
    this.#control = new ControlServer(
      this.#poller,
      listenInside(config.run_dir, "control.sock", "stream", 0o660, controlGid),
      (request, peer) => this.#answer(request, peer),
    );
    this.#audit.add("broker.started", { pid: Deno.pid });
    this.#audit.flush();
    return Promise.resolve(true);
  }

  /** See {@link Role}. */
  async run(wake: number, onWake: () => void): Promise<void> {
    if (this.#control === undefined) throw new Error("Cannot run before start");
    this.#poller.add(wake, 1, onWake);
    this.#plane = new DataPlane(this.#poller, [
      this.#host,
      this,
      new ControlPart(this.#control),
      new TrailPart(this.#audit),
    ]);
    await this.#plane.run();
  }

  /** See {@link Role}. */
  stop(): void {
    this.#plane?.stop();
  }

  /** See {@link Role}. */
  obey(order: LaterOrder): void {
    if (order.order !== "link") return;
    const uplink = this.#uplinks.get(order.delegate);
    if (uplink === undefined) libc.close(order.fd);
    else uplink.connect(order.fd, order.controller);
  }

  /** Wants a pinhole closed. */
  close(): Promise<void>;
  close(pinhole: Pinhole, reason: CloseReason): void;
  close(pinhole?: Pinhole, reason?: CloseReason): Promise<void> | void {
    if (pinhole === undefined || reason === undefined) return this.#closeAll();
    for (const uplink of this.#uplinks.values()) if (uplink.close(pinhole, reason)) return;
  }

  /** See {@link Part.due}. */
  due(now: number): number {
    let wait = Infinity;
    for (const uplink of this.#uplinks.values()) wait = Math.min(wait, uplink.due(now));
    return wait;
  }

  /** See {@link Part.round}. */
  round(now: number): void {
    for (const uplink of this.#uplinks.values()) uplink.round(now);
  }

  #closeAll(): Promise<void> {
    for (const uplink of this.#uplinks.values()) uplink.disconnect();
    this.#audit.add("broker.stopped", { pid: Deno.pid, pinholes: this.#table.size });
    this.#control?.close();
    this.#host.close();
    this.#audit.close();
    this.#poller.close();
    return Promise.resolve();
  }

  #request(request: PinholeRequest, answer: (verdict: Verdict) => void): void {
    this.#audit.add("pinhole.requested", () => requestFields(request));
    if (this.#audit.failed !== undefined) {
      const why = `the audit trail cannot be written: ${this.#audit.failed}`;
      return answer({ kind: "unavailable", why });
    }
    for (const p of this.#table.ofSocket(request.cookie)) {
      const same = p.tuple.source.text === request.tuple.source.text &&
        p.tuple.destination.text === request.tuple.destination.text &&
        p.tuple.sourcePort === request.tuple.sourcePort;
      if (same && p.state === "open") {
        return answer({ kind: "open", id: p.id, why: "is open already" });
      }
    }
    const delegate = remoteDelegate(this.#options.config.remote, request.requester.delegate);
    // remoteDelegates() names every delegate that this can be.
    this.#uplinks.get(delegate)?.open(request, answer);
  }

  #answer(request: ControlRequest, peer: Credentials): AsyncIterable<unknown> | "watch" {
    switch (request.op) {
      case "status":
        return items([this.#status()]);
      case "list":
        return items([...this.#table.all()].map(pinholeFields));
      case "watch":
        return "watch";
      case "close":
        return this.#closeByHand(request.id, peer);
      case "sweep":
      case "reload":
      case "open":
        throw new ControlRefusal({
          code: 2,
          message: `a broker does not ${request.op}`,
          next: "ask the controller: run it there",
        });
    }
  }

  #closeByHand(id: number, peer: Credentials): AsyncIterable<unknown> {
    const p = this.#table.get(id);
    if (p === undefined) {
      throw new ControlRefusal({
        code: 1,
        message: `there is no pinhole ${id}`,
        next: "diaper pinhole list shows those that are open",
      });
    }
    if (peer.uid !== 0 && peer.uid !== p.requester.uid) {
      throw new ControlRefusal({
        code: 5,
        message: `pinhole ${id} belongs to ${p.requester.user}`,
        next: "run it with sudo",
      });
    }
    this.close(p, "by-hand");
    return items([pinholeFields(p)]);
  }

  #status(): Record<string, unknown> {
    // Whoever watches has been told of all that came before the answer.
    this.#audit.flush();
    return {
      role: "agent-broker",
      pid: Deno.pid,
      started_at: new Date(this.#startedAt).toISOString(),
      uplinks: [...this.#uplinks.values()].map((u) => ({ ...u.status, failed: u.failed ?? null })),
      pinholes: { open: this.#table.size },
      channels: this.#host.channels,
      notices: this.#host.notices,
      audit_failed: this.#audit.failed ?? null,
      counts: this.#counts.all,
    };
  }
}

async function* items(values: readonly unknown[]): AsyncGenerator<unknown> {
  yield* values;
}

/** The broker's identity, made when there is none. */
function readIdentity(path: string): string {
  try {
    const text = Deno.readTextFileSync(path).trim();
    if (/^[A-Za-z0-9-]{8,64}$/.test(text)) return text;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const made = crypto.randomUUID();
  Deno.writeTextFileSync(path, made + "\n", { mode: 0o600 });
  return made;
}
