/**
 * One host that guards itself: broker, authorization, execution and the enforcer on one poll set, in one
 * thread that does nothing else (`diaper up`).
 *
 * @module
 */
import type { Counters, Enforcer } from "../../drivers/enforcer.ts";
import { Broker } from "../broker/broker.ts";
import { ChannelLimits } from "../broker/limits.ts";
import { ipKind, parseIp } from "../net/ip.ts";
import type { Pinhole, Requester } from "../pinhole/pinhole.ts";
import { tupleText } from "../pinhole/pinhole.ts";
import type { PinholeRequest, Verdict } from "../pinhole/request.ts";
import { userName } from "../sys/accounts.ts";
import { Poller } from "../sys/epoll.ts";
import { LocalAddresses } from "../sys/local_addresses.ts";
import { bootId } from "../sys/process_facts.ts";
import { ownNamespace } from "../sys/socket_facts.ts";
import type { Credentials } from "../sys/unix_socket.ts";
import { AuditTrail, pinholeFields, requestFields } from "./audit.ts";
import { Authorization, OPERATOR, type PolicySource, readPolicy } from "./authorization.ts";
import type { Config } from "./config.ts";
import type { ControlRequest } from "./control_protocol.ts";
import { ControlRefusal, ControlServer } from "./control_server.ts";
import { Execution } from "./execution.ts";
import { Ledger } from "./ledger.ts";
import { Lifetimes } from "./lifetimes.ts";
import { PinholeTable } from "./pinhole_table.ts";
import { listenInside } from "./run_directory.ts";
import { SocketWatch } from "./socket_watch.ts";
import { Sweep } from "./sweep.ts";

/** What the perimeter is made of, and whom it tells about itself. */
export interface PerimeterOptions {
  readonly config: Config;
  readonly policy: PolicySource;
  readonly enforcer: Enforcer;
  /** Group that may use the control socket besides root; undefined when there is none. */
  readonly controlGid: number | undefined;
  readonly log: (level: "info" | "warning" | "error", text: string) => void;
  /** Has the administrator's side load the policy anew. */
  readonly reload: () => void;
}

/** What `status` shows. */
export interface PerimeterStatus {
  readonly role: "up";
  readonly pid: number;
  readonly started_at: string;
  readonly enforcer: { readonly name: string; readonly failed: string | null };
  readonly policy: { readonly file: string; readonly rules: number; readonly loaded_at: string };
  readonly pinholes: { readonly open: number; readonly capacity: number };
  readonly channels: number;
  readonly notices: boolean;
  readonly audit_failed: string | null;
  readonly counts: Readonly<Record<string, number>>;
  /** Packets that were not let in, where the enforcer counts them. */
  readonly dropped: { readonly packets: number; readonly bytes: number } | null;
  readonly sweep: unknown;
}

const LIST_SLICE = 250;
const RENEW_SLICE = 1000;
/** Most pinholes with which an enforcer is listed as a whole. */
const LIST_LIMIT = 100_000;

/** The perimeter of this host. */
export class Perimeter {
  readonly #options: PerimeterOptions;
  readonly #poller = new Poller();
  readonly #table = new PinholeTable();
  readonly #local = new LocalAddresses();
  readonly #audit: AuditTrail;
  readonly #ledger: Ledger;
  readonly #execution: Execution;
  readonly #sockets: SocketWatch;
  readonly #lifetimes: Lifetimes;
  readonly #sweep: Sweep;
  readonly #authorization: Authorization;
  #policy: { file: string; rules: number; loadedAt: number };
  #broker: Broker | undefined;
  #control: ControlServer | undefined;
  readonly #startedAt = Date.now();
  readonly #counts: Record<string, number> = {
    requested: 0,
    allowed: 0,
    refused: 0,
    opened: 0,
    failed: 0,
    closed: 0,
  };
  #stopping = false;
  /** Something went wrong, so that all must be compared within a second. */
  #mustReconcile = false;
  #nextSecond = 0;
  #nextSweep = 0;

  /** @throws {LedgerError} and other errors that say why this perimeter cannot be kept. */
  constructor(options: PerimeterOptions) {
    this.#options = options;
    const { config, enforcer } = options;
    const policy = readPolicy(options.policy);
    this.#policy = { file: options.policy.file, rules: policy.rules.length, loadedAt: Date.now() };
    this.#audit = new AuditTrail(`${config.log_dir}/audit.jsonl`);
    this.#ledger = new Ledger(`${config.state_dir}/ledger.db`);
    this.#execution = new Execution(
      enforcer,
      this.#ledger,
      this.#table,
      this.#audit,
      config.perimeter.lease,
    );
    this.#sockets = new SocketWatch();
    this.#lifetimes = new Lifetimes(this.#table, this.#execution, enforcer, this.#sockets);
    this.#sweep = new Sweep(
      enforcer,
      this.#execution,
      this.#table,
      this.#audit,
      config.perimeter.lease,
    );
    this.#authorization = new Authorization(policy, this.#table);
    this.#audit.watch((event, line) => {
      this.#count(event.event_type);
      this.#control?.broadcast(line);
    });
  }

  /**
   * Closes the perimeter, makes it equal to the ledger again, and opens the sockets for agents and the
   * command line.
   */
  async start(): Promise<void> {
    const { config, enforcer } = this.#options;
    await enforcer.connect();
    this.#sockets.watch(this.#poller, (protocol, port, cookie) => {
      this.#lifetimes.ended(protocol, port, cookie);
    }, () => {
      this.#audit.add("notices.lost", {});
      this.#mustReconcile = true;
    });
    if (!this.#sockets.notices) {
      this.#options.log(
        "warning",
        "the kernel gives no socket-destroy notices: closes come up to a second late",
      );
    }
    await this.#restore();
    this.#broker = new Broker(
      this.#poller,
      listenInside(config.run_dir, "agent.sock", "seqpacket", 0o666),
      {
        failBind: config.broker.fail_bind,
        delegates: new Map(
          Object.entries(config.broker.delegates).map(([d, users]) => [d, new Set(users)]),
        ),
        namespace: ownNamespace(),
        isLocal: (address) => this.#local.has(address),
        openPorts: new Set(config.perimeter.open_ports.map((p) => `${p.protocol}/${p.port}`)),
        limits: new ChannelLimits(
          config.broker.max_channels,
          config.broker.max_channels_per_user,
        ),
        recordStart: !this.#sockets.coversBound,
      },
      (request, answer) => this.#request(request, answer),
      ({ event_type, ...event }) => this.#audit.refusal(event.uid, event_type, event),
    );
    this.#control = new ControlServer(
      this.#poller,
      listenInside(config.run_dir, "control.sock", "stream", 0o660, this.#options.controlGid),
      (request, peer) => this.#answer(request, peer),
    );
    this.#audit.add("perimeter.started", {
      pid: Deno.pid,
      enforcer: enforcer.name,
      pinholes: this.#table.size,
    });
    this.#audit.flush();
  }

  /**
   * Serves until {@link stop}. `wake` is a descriptor that is readable when somebody wants the loop's
   * attention, and `onWake` what to do then.
   */
  async run(wake: number, onWake: () => void): Promise<void> {
    this.#poller.add(wake, 1, onWake);
    const now = performance.now();
    this.#nextSecond = now + 1000;
    this.#nextSweep = now + this.#options.config.perimeter.sweep * 1000;
    while (!this.#stopping) {
      const ready = this.#poller.wait(this.#timeout());
      await this.#execution.flush();
      await this.#guarded("lifetimes", () => this.#lifetimes.check(performance.now()));
      if (this.#sweep.running) await this.#guarded("sweep", () => this.#sweep.step());
      await this.#execution.flush();
      await this.#control?.pump();
      await this.#periodic();
      // Answers go first: lines are made when nobody waits, or when they have waited long enough.
      if (ready === 0 || this.#audit.overdue) this.#audit.flush();
      if (ready === 0) this.#execution.settle();
    }
  }

  /**
   * Does work that asks the kernel for something. When the kernel refuses, that is told, and the next
   * comparison makes good for it: a daemon that ends would serve nobody.
   */
  async #guarded(what: string, work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
    } catch (error) {
      const why = message(error);
      this.#audit.add("fault", { what, why });
      this.#options.log("error", `${what}: ${why}`);
      this.#mustReconcile = true;
    }
  }

  /** Has {@link run} return after the present round. */
  stop(): void {
    this.#stopping = true;
  }

  /** Puts another policy in force, and closes what it denies. */
  setPolicy(source: PolicySource): void {
    let policy;
    try {
      policy = readPolicy(source);
    } catch (error) {
      this.#audit.add("policy.rejected", { file: source.file, why: message(error) });
      this.#options.log("error", `policy not loaded, the old one stays: ${message(error)}`);
      return;
    }
    this.#policy = { file: source.file, rules: policy.rules.length, loadedAt: Date.now() };
    this.#authorization.replace(policy);
    const denied = this.#authorization.denied();
    for (const p of denied) this.#execution.close(p, "policy");
    this.#audit.add("policy.loaded", {
      file: source.file,
      rules: policy.rules.length,
      closing: denied.length,
    });
    this.#audit.reopen();
  }

  /** Lets go of everything. The perimeter stays closed; open pinholes stay as configured. */
  async close(): Promise<void> {
    this.#broker?.close();
    if (this.#options.config.perimeter.on_exit === "close") {
      for (const p of this.#table.all()) this.#execution.close(p, "by-hand");
      await this.#execution.flush();
    }
    this.#execution.settle();
    this.#audit.add("perimeter.stopped", { pid: Deno.pid, pinholes: this.#table.size });
    this.#control?.close();
    this.#sockets.close();
    this.#audit.close();
    this.#ledger.close();
    await this.#options.enforcer.close();
    this.#poller.close();
  }

  #timeout(): number {
    if (this.#execution.pending || this.#sweep.running || this.#control?.busy === true) return 0;
    if (this.#audit.waiting) return 0;
    const now = performance.now();
    const due = this.#lifetimes.due(now);
    const waits = [this.#nextSecond - now, this.#nextSweep - now];
    if (due >= 0) waits.push(due);
    if (this.#execution.unsettled) waits.push(2);
    return Math.max(0, Math.ceil(Math.min(...waits)));
  }

  async #periodic(): Promise<void> {
    const now = performance.now();
    if (now >= this.#nextSecond) {
      this.#nextSecond = now + 1000;
      this.#broker?.tick(Date.now());
      this.#audit.tick();
      this.#lifetimes.expire(Date.now());
      this.#execution.retry();
      if (!this.#sockets.notices || this.#mustReconcile) {
        this.#mustReconcile = false;
        await this.#guarded("lifetimes", () => this.#lifetimes.reconcile());
      }
      await this.#execution.flush();
      await this.#guarded("enforcer", () => this.#mend());
    }
    if (now >= this.#nextSweep) {
      this.#nextSweep = now + this.#options.config.perimeter.sweep * 1000;
      await this.#guarded("lifetimes", () => this.#lifetimes.reconcile());
      this.#sweep.start();
      const { keep, max } = this.#options.config.history;
      await this.#guarded("history", () => void this.#ledger.prune(Date.now() - keep * 1000, max));
    }
  }

  /** Puts the perimeter up again when somebody else took it down, such as by `nft flush ruleset`. */
  async #mend(): Promise<void> {
    const { enforcer, log } = this.#options;
    if (enforcer.intact?.() !== false) return;
    this.#audit.add("enforcer.damaged", { why: "somebody else changed or removed it" });
    log("warning", "the perimeter was changed or removed by somebody else: putting it up again");
    await enforcer.connect();
    await this.#renewAll([...this.#table.all()]);
  }

  async #renewAll(pinholes: readonly Pinhole[]): Promise<void> {
    for (let i = 0; i < pinholes.length; i += RENEW_SLICE) {
      await this.#execution.renew(pinholes.slice(i, i + RENEW_SLICE));
    }
  }

  /** Makes ledger, sockets and enforcer agree after a start. */
  async #restore(): Promise<void> {
    const boot = bootId();
    const rebooted = this.#ledger.note("boot") !== boot;
    const restored: Pinhole[] = [];
    for (const p of this.#ledger.live()) {
      // Whatever the row says, the enforcer is asked for it again: an open that is there is renewed.
      const wanted = p.state !== "closing";
      p.state = "open";
      this.#table.add(p);
      this.#lifetimes.watch(p);
      if (!wanted) this.#execution.close(p, "by-hand");
      else if (rebooted && p.cookie !== 0n) this.#execution.close(p, "reboot");
      else restored.push(p);
    }
    this.#ledger.setNote("boot", boot);
    if (!rebooted) this.#lifetimes.reconcile();
    this.#lifetimes.expire(Date.now());
    for (const p of this.#authorization.denied()) this.#execution.close(p, "policy");
    await this.#execution.flush();
    await this.#renewAll(restored);
    await this.#removeForeign();
    this.#audit.flush();
  }

  /** Takes away what the enforcer holds and the ledger does not know. */
  async #removeForeign(): Promise<void> {
    const { enforcer } = this.#options;
    // A kernel's listing takes time by the square. What is foreign among very many ends with its lease.
    if (this.#table.size > LIST_LIMIT) {
      this.#audit.add("enforcer.not-listed", { pinholes: this.#table.size });
      return;
    }
    const foreign = (await enforcer.list()).filter((e) =>
      this.#table.sameTuple(e.tuple).length === 0
    );
    if (foreign.length === 0) return;
    await enforcer.apply(
      foreign.map((e) => ({ action: "close" as const, tuple: e.tuple, id: 0, lease: 0 })),
    );
    await enforcer.endConnections(foreign.map((e) => e.tuple));
    for (const e of foreign.slice(0, LIST_SLICE)) {
      this.#audit.add("enforcer.removed", {
        tuple: tupleText(e.tuple),
        why: "at the enforcer, but not in the ledger",
      });
    }
  }

  #request(request: PinholeRequest, answer: (verdict: Verdict) => void): void {
    const fields = () => requestFields(request);
    this.#audit.add("pinhole.requested", fields);
    for (const p of this.#table.ofSocket(request.cookie)) {
      if (p.state === "open" && tupleText(p.tuple) === tupleText(request.tuple)) {
        return answer({ kind: "open", id: p.id, why: "is open already" });
      }
    }
    const decision = this.#authorization.judge(request);
    const rule = decision.rule === undefined ? "" : `${decision.rule.file}:${decision.rule.line}`;
    if (!decision.permitted) {
      this.#audit.refusal(request.requester.uid, "pinhole.refused", {
        ...fields(),
        rule: rule === "" ? null : rule,
        why: decision.why,
      });
      return answer({ kind: "refused", why: decision.why });
    }
    this.#audit.add("pinhole.allowed", () => ({ ...fields(), rule, why: decision.why }));
    this.#open(request, rule, answer, decision.ttlSeconds, decision.idleSeconds);
  }

  #open(
    request: PinholeRequest,
    rule: string,
    answer: (verdict: Verdict) => void,
    ttlLimit: number | undefined,
    idle: number | undefined,
  ): Pinhole | undefined {
    const obstacle = this.#obstacle();
    if (obstacle !== undefined) {
      this.#audit.refusal(request.requester.uid, "pinhole.failed", {
        ...requestFields(request),
        why: obstacle,
      });
      answer({ kind: "unavailable", why: obstacle });
      return undefined;
    }
    const now = Date.now();
    const ttl = Math.min(request.ttl ?? Infinity, ttlLimit ?? Infinity);
    const pinhole: Pinhole = {
      id: this.#ledger.nextId(),
      tuple: request.tuple,
      requester: request.requester,
      cookie: request.cookie,
      rule,
      state: "opening",
      requestedAt: now,
      openedAt: undefined,
      expiresAt: Number.isFinite(ttl) ? now + ttl * 1000 : undefined,
      idle,
      packets: 0,
      bytes: 0,
      activeAt: now,
      leasedUntil: 0,
    };
    this.#lifetimes.watch(pinhole);
    this.#execution.open(pinhole, request.boundAt, answer);
    return pinhole;
  }

  /** Why nothing can be opened now, whatever the policy says. */
  #obstacle(): string | undefined {
    if (this.#audit.failed !== undefined) {
      return `the audit trail cannot be written: ${this.#audit.failed}`;
    }
    const { capacity } = this.#options.config.perimeter;
    return this.#table.size < capacity
      ? undefined
      : `the perimeter is full: ${this.#table.size} pinholes, the most that the configuration allows`;
  }

  #answer(request: ControlRequest, peer: Credentials): AsyncIterable<unknown> | "watch" {
    switch (request.op) {
      case "status":
        return one(this.#status());
      case "list":
        return this.#list();
      case "watch":
        return "watch";
      case "open":
        return this.#openByHand(request, peer);
      case "close":
        return this.#closeByHand(request.id, peer);
      case "sweep":
        this.#mustBeRoot(peer, "sweep");
        this.#lifetimes.reconcile();
        this.#sweep.start();
        return this.#afterSweep();
      case "reload":
        this.#mustBeRoot(peer, "load the policy anew");
        this.#options.reload();
        return one({ reloading: true });
    }
  }

  #mustBeRoot(peer: Credentials, what: string): void {
    if (peer.uid === 0) return;
    throw new ControlRefusal({
      code: 5,
      message: `only root may ${what}`,
      next: "run it with sudo",
    });
  }

  async *#afterSweep(): AsyncGenerator<unknown> {
    while (this.#sweep.running) await this.#sweep.step();
    yield this.#sweep.last ?? {};
  }

  async *#list(): AsyncGenerator<unknown> {
    let slice: Pinhole[] = [];
    const show = async () => {
      const counters = await this.#options.enforcer.counters(slice.map((p) => p.tuple));
      return slice.map((p, i) => withCounters(p, counters[i]));
    };
    for (const p of this.#table.all()) {
      slice.push(p);
      if (slice.length < LIST_SLICE) continue;
      yield* await show();
      slice = [];
    }
    if (slice.length > 0) yield* await show();
  }

  #openByHand(
    request: ControlRequest & { op: "open" },
    peer: Credentials,
  ): AsyncIterable<unknown> {
    const source = parseIp(request.source);
    const destination = parseIp(request.destination);
    const refuse = (message: string, next: string): never => {
      this.#audit.refusal(peer.uid, "request.refused", { pid: peer.pid, why: message });
      throw new ControlRefusal({ code: 5, message, next });
    };
    if (source === undefined || ipKind(source) !== "host") {
      return refuse(`source ${request.source} is not one host's address`, "give one address");
    }
    if (destination === undefined || destination.family !== source.family) {
      return refuse(
        `destination ${request.destination} is not an address of the source's family`,
        "give two addresses of one family",
      );
    }
    const hooks = this.#options.config.perimeter.hooks;
    if (!hooks.includes("forward") && !this.#local.has(destination)) {
      return refuse(
        `${destination.text} is not an address of this host`,
        "this perimeter guards its own host alone; see perimeter.hooks in diaper.yaml(5)",
      );
    }
    const user = userName(peer.uid);
    if (user === undefined) {
      return refuse(`uid ${peer.uid} has no account on this host`, "use an account with a name");
    }
    const requester: Requester = {
      delegate: OPERATOR,
      user,
      uid: peer.uid,
      pid: 0,
      pidStart: 0n,
      program: "",
    };
    const tuple = {
      protocol: request.proto,
      source,
      sourcePort: request.source_port,
      destination,
      destinationPort: request.destination_port,
    };
    return this.#grantByHand({
      tuple,
      requester,
      cookie: 0n,
      boundAt: undefined,
      ttl: request.ttl,
    });
  }

  async *#grantByHand(request: PinholeRequest): AsyncGenerator<unknown> {
    this.#audit.add("pinhole.requested", requestFields(request));
    const decision = this.#authorization.judge(request);
    // Root holds the enforcer anyway: its order needs no allow rule, but no deny rule is broken for it.
    const ordered = !decision.permitted && decision.rule === undefined &&
      request.requester.uid === 0;
    if (!decision.permitted && !ordered) {
      this.#audit.refusal(request.requester.uid, "pinhole.refused", {
        ...requestFields(request),
        why: decision.why,
      });
      throw new ControlRefusal({
        code: 5,
        message: `refused: ${decision.why}`,
        next: "diaper policy explain shows what each rule says",
      });
    }
    const rule = ordered || decision.rule === undefined
      ? "by order of root"
      : `${decision.rule.file}:${decision.rule.line}`;
    this.#audit.add("pinhole.allowed", { ...requestFields(request), rule });
    let verdict: Verdict | undefined;
    const p = this.#open(
      request,
      rule,
      (v) => verdict = v,
      decision.ttlSeconds,
      decision.idleSeconds,
    );
    await this.#execution.flush();
    if (p === undefined || verdict?.kind !== "open") {
      throw new ControlRefusal({
        code: 1,
        message: `not opened: ${verdict?.why ?? "no answer"}`,
        next: "diaper status and diaper doctor show what is wrong",
      });
    }
    yield pinholeFields(p);
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
    return this.#endByHand(p);
  }

  async *#endByHand(p: Pinhole): AsyncGenerator<unknown> {
    this.#execution.close(p, "by-hand");
    await this.#execution.flush();
    if (p.state !== "closed") {
      throw new ControlRefusal({
        code: 1,
        message: `pinhole ${p.id} is not closed yet: ${
          this.#execution.enforcerFailed ?? "the enforcer did not confirm it"
        }`,
        next: "it is tried again every second; diaper status shows the enforcer's state",
      });
    }
    yield pinholeFields(p);
  }

  #status(): PerimeterStatus {
    const { enforcer, config } = this.#options;
    return {
      role: "up",
      pid: Deno.pid,
      started_at: new Date(this.#startedAt).toISOString(),
      enforcer: { name: enforcer.name, failed: this.#execution.enforcerFailed ?? null },
      policy: {
        file: this.#policy.file,
        rules: this.#policy.rules,
        loaded_at: new Date(this.#policy.loadedAt).toISOString(),
      },
      pinholes: { open: this.#table.size, capacity: config.perimeter.capacity },
      channels: this.#broker?.channels ?? 0,
      notices: this.#sockets.notices,
      audit_failed: this.#audit.failed ?? null,
      counts: this.#counts,
      dropped: enforcer.statistics?.().dropped ?? null,
      sweep: this.#sweep.last ?? null,
    };
  }

  #count(eventType: string): void {
    const what = eventType === "request.refused" ? "refused" : eventType.replace("pinhole.", "");
    const count = this.#counts[what];
    if (count !== undefined) this.#counts[what] = count + 1;
  }
}

async function* one(value: unknown): AsyncGenerator<unknown> {
  yield value;
}

function withCounters(p: Pinhole, c: Counters | undefined): Record<string, unknown> {
  if (c !== undefined) [p.packets, p.bytes] = [c.packets, c.bytes];
  return pinholeFields(p);
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
