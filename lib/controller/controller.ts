/**
 * The controller's own part: judges proven requests, carries out what is allowed, keeps the ledger, and
 * sweeps its enforcer. Where the requests come from does not matter here.
 *
 * @module
 */
import type { Enforcer } from "../../drivers/enforcer.ts";
import type { CloseReason, Pinhole } from "../pinhole/pinhole.ts";
import { tupleText } from "../pinhole/pinhole.ts";
import type { PolicyDecision } from "../pinhole/policy.ts";
import type { PinholeRequest, Verdict } from "../pinhole/request.ts";
import { bootId } from "../sys/process_facts.ts";
import { type AuditTrail, requestFields } from "./audit.ts";
import { Authorization, type PolicySource, readPolicy } from "./authorization.ts";
import { optimalBatch } from "./calibration.ts";
import type { Config } from "./config.ts";
import { Execution, type SharedLedger } from "./execution.ts";
import { Expiry } from "./expiry.ts";
import type { LedgerBook } from "./memory_ledger.ts";
import { PinholeTable } from "./pinhole_table.ts";
import type { Part } from "./plane.ts";
import { Sweep } from "./sweep.ts";

/** Says something to whoever started the daemon. */
export type Log = (level: "info" | "warning" | "error", text: string) => void;

/** What a controller works with. It closes none of it. */
export interface ControllerOptions {
  readonly config: Config;
  readonly policy: PolicySource;
  readonly enforcer: Enforcer;
  readonly audit: AuditTrail;
  readonly ledger: LedgerBook;
  readonly log: Log;
  /** The ledger that several controllers share; undefined when there is one controller. */
  readonly shared?: SharedLedger | undefined;
  /** Something went wrong, so that whoever knows sockets should compare all. */
  readonly onFault: () => void;
}

/** The policy in force, as `status` shows it. */
export interface PolicyStatus {
  readonly file: string;
  readonly rules: number;
  readonly loaded_at: string;
}

/** Most requests that wait for room at the enforcer. */
const LONGEST_LINE = 10_000;
const FOREIGN_TOLD = 250;
const RENEW_SLICE = 1000;
/** Milliseconds without a request after which one is not likely to come at this very moment. */
const QUIET_MS = 200;
/** Most pinholes with which an enforcer is listed as a whole. */
const LIST_LIMIT = 100_000;

/** Authorization, execution, ledger and sweep of one enforcer. */
export class Controller implements Part {
  /** All pinholes that are not closed. */
  readonly table: PinholeTable = new PinholeTable();
  /** The one writer of the enforcer. */
  readonly execution: Execution;
  /** The sweep of the enforcer. */
  readonly sweep: Sweep;
  readonly #options: ControllerOptions;
  readonly #authorization: Authorization;
  readonly #expiry: Expiry;
  #policy: PolicyStatus;
  #nextSecond = 0;
  #nextSweep = 0;
  /** When somebody last wanted something. */
  #busyAt = 0;

  /** @throws {Error} when the policy cannot be used. */
  constructor(options: ControllerOptions) {
    this.#options = options;
    const { enforcer, ledger, audit, config } = options;
    const policy = readPolicy(options.policy);
    this.#policy = policyStatus(options.policy.file, policy.rules.length);
    const { lease } = config.perimeter;
    this.execution = new Execution(enforcer, ledger, this.table, audit, lease, {
      capacity: Math.min(config.perimeter.capacity, enforcer.capabilities.capacity),
      wait: config.perimeter.wait,
      longestLine: LONGEST_LINE,
      batch: optimalBatch(config.state_dir, enforcer),
      shared: options.shared,
    });
    this.sweep = new Sweep(enforcer, this.execution, this.table, audit, lease);
    this.#expiry = new Expiry(this.execution);
    this.#authorization = new Authorization(policy, this.table);
  }

  /** The policy in force. */
  get policy(): PolicyStatus {
    return this.#policy;
  }

  /**
   * Reaches the enforcer, and makes ledger and enforcer agree.
   *
   * @param compare closes what the ledger holds of sockets that have ended meanwhile.
   */
  async start(compare: (restored: readonly Pinhole[]) => void): Promise<void> {
    const { ledger, enforcer } = this.#options;
    await enforcer.connect();
    const boot = bootId();
    const rebooted = ledger.note("boot") !== boot;
    const restored: Pinhole[] = [];
    for (const p of ledger.live()) {
      // Whatever the row says, the enforcer is asked for it again: an open that is there is renewed.
      const wanted = p.state !== "closing";
      p.state = "open";
      this.table.add(p);
      this.#expiry.watch(p);
      if (!wanted) this.execution.close(p, "by-hand");
      else if (rebooted && p.cookie !== 0n) this.execution.close(p, "reboot");
      else restored.push(p);
    }
    ledger.setNote("boot", boot);
    if (!rebooted) compare(restored);
    this.#expiry.expire();
    for (const p of this.#authorization.denied()) this.execution.close(p, "policy");
    await this.execution.flush();
    await this.#renewAll(restored);
    await this.#removeForeign();
    const now = performance.now();
    this.#nextSecond = now + 1000;
    this.#nextSweep = now + this.#options.config.perimeter.sweep * 1000;
  }

  /** See {@link Part.due}. */
  due(now: number): number {
    if (this.execution.pending || this.sweep.running) return 0;
    const wait = Math.min(this.#nextSecond, this.#nextSweep) - now;
    if (this.execution.paused) return Math.min(wait, 20);
    return this.execution.unsettled ? Math.min(wait, 2) : wait;
  }

  /** See {@link Part.round}. */
  round(now: number, idle: boolean): Promise<void> | undefined {
    if (this.sweep.running || now >= this.#nextSecond || now >= this.#nextSweep) {
      return this.#longRound(now, idle);
    }
    this.#settleWhen(idle, now);
    return this.execution.pending ? this.execution.step() : undefined;
  }

  async #longRound(now: number, idle: boolean): Promise<void> {
    if (this.execution.pending) await this.execution.step();
    if (this.sweep.running) await this.#guarded("sweep", () => this.sweep.step());
    if (now >= this.#nextSecond) {
      this.#nextSecond = now + 1000;
      if (now - this.#busyAt > QUIET_MS) {
        await this.#guarded("ledger", () => this.#options.ledger.tidy());
      }
      this.#expire();
      this.execution.expireWaiting();
      this.execution.retry();
      await this.#guarded("enforcer", () => this.#mend());
    }
    if (now >= this.#nextSweep) {
      this.#nextSweep = now + this.#options.config.perimeter.sweep * 1000;
      this.sweep.start();
      const { keep, max } = this.#options.config.history;
      await this.#guarded(
        "history",
        () => void this.#options.ledger.prune(Date.now() - keep * 1000, max),
      );
    }
    this.#settleWhen(idle, now);
  }

  #settleWhen(idle: boolean, now: number): void {
    if (!idle) this.#busyAt = now;
    else this.execution.settle();
  }

  /** Judges a proven request, and carries it out where that is allowed; `answer` is called once. */
  request(request: PinholeRequest, answer: (verdict: Verdict) => void): Pinhole | undefined {
    const { audit } = this.#options;
    const fields = () => requestFields(request);
    audit.add("pinhole.requested", fields);
    for (const p of this.table.ofSocket(request.cookie)) {
      if (p.state === "open" && tupleText(p.tuple) === tupleText(request.tuple)) {
        answer({ kind: "open", id: p.id, why: "is open already" });
        return p;
      }
    }
    const decision = this.#authorization.judge(request);
    const rule = decision.rule === undefined ? "" : `${decision.rule.file}:${decision.rule.line}`;
    if (!decision.permitted) {
      audit.refusal(request.requester.uid, "pinhole.refused", {
        ...fields(),
        rule: rule === "" ? null : rule,
        why: decision.why,
      });
      answer({ kind: "refused", why: decision.why });
      return undefined;
    }
    audit.add("pinhole.allowed", () => ({ ...fields(), rule, why: decision.why }));
    return this.open(request, rule, decision, answer);
  }

  /** What the policy says of a request; it counts as one. */
  judge(request: PinholeRequest): PolicyDecision {
    return this.#authorization.judge(request);
  }

  /**
   * Carries out a request that is allowed.
   *
   * @param patient it waits in line when the enforcer is full.
   */
  open(
    request: PinholeRequest,
    rule: string,
    limits: Pick<PolicyDecision, "ttlSeconds" | "idleSeconds">,
    answer: (verdict: Verdict) => void,
    patient = true,
  ): Pinhole | undefined {
    const obstacle = this.#obstacle(patient);
    if (obstacle !== undefined) {
      this.#options.audit.refusal(request.requester.uid, "pinhole.failed", {
        ...requestFields(request),
        why: obstacle,
      });
      answer({ kind: "unavailable", why: obstacle });
      return undefined;
    }
    const now = Date.now();
    const ttl = Math.min(request.ttl ?? Infinity, limits.ttlSeconds ?? Infinity);
    const pinhole: Pinhole = {
      id: this.#options.ledger.nextId(),
      tuple: request.tuple,
      requester: request.requester,
      cookie: request.cookie,
      origin: request.origin,
      rule,
      state: "opening",
      requestedAt: now,
      openedAt: undefined,
      expiresAt: Number.isFinite(ttl) ? now + ttl * 1000 : undefined,
      idle: limits.idleSeconds,
      packets: 0,
      bytes: 0,
      activeAt: performance.now(),
      leasedUntil: 0,
    };
    this.#expiry.watch(pinhole);
    this.execution.open(pinhole, request.boundAt, answer);
    return pinhole;
  }

  /** Wants a pinhole closed. */
  close(pinhole: Pinhole, reason: CloseReason): void {
    this.execution.close(pinhole, reason);
  }

  /** Puts another policy in force, and closes what it denies. */
  setPolicy(source: PolicySource): void {
    const { audit, log } = this.#options;
    let policy;
    try {
      policy = readPolicy(source);
    } catch (error) {
      audit.add("policy.rejected", { file: source.file, why: message(error) });
      log("error", `policy not loaded, the old one stays: ${message(error)}`);
      return;
    }
    this.#policy = policyStatus(source.file, policy.rules.length);
    this.#authorization.replace(policy);
    const denied = this.#authorization.denied();
    for (const p of denied) this.execution.close(p, "policy");
    audit.add("policy.loaded", {
      file: source.file,
      rules: policy.rules.length,
      closing: denied.length,
    });
    audit.reopen();
  }

  /** Ends in good order. The perimeter stays closed; open pinholes stay as configured. */
  async stop(): Promise<void> {
    if (this.#options.config.perimeter.on_exit === "close") {
      for (const p of this.table.all()) this.execution.close(p, "by-hand");
      await this.execution.flush();
    }
    this.execution.settle();
  }

  /**
   * Does work that asks the enforcer for something. When it refuses, that is told, and the next comparison
   * makes good for it: a daemon that ends would serve nobody.
   */
  async #guarded(what: string, work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
    } catch (error) {
      const why = message(error);
      this.#options.audit.add("fault", { what, why });
      this.#options.log("error", `${what}: ${why}`);
      this.#options.onFault();
    }
  }

  /** Puts the perimeter up again when somebody else took it down, such as by `nft flush ruleset`. */
  async #mend(): Promise<void> {
    const { enforcer, log, audit } = this.#options;
    if (enforcer.intact?.() !== false) return;
    audit.add("enforcer.damaged", { why: "somebody else changed or removed it" });
    log("warning", "the perimeter was changed or removed by somebody else: putting it up again");
    await enforcer.connect();
    await this.#renewAll([...this.table.all()]);
  }

  #expire(): void {
    const jump = this.#expiry.expire();
    if (jump === 0) return;
    const seconds = Math.round(jump / 1000);
    this.#options.audit.add("clock.set", { seconds });
    this.#options.log(
      "warning",
      `the clock was set ${seconds > 0 ? "forward" : "back"} by ${
        Math.abs(seconds)
      } s: no pinhole ` +
        "stays open longer for that; rules with hours, days or until go by the new time",
    );
  }

  async #renewAll(pinholes: readonly Pinhole[]): Promise<void> {
    for (let i = 0; i < pinholes.length; i += RENEW_SLICE) {
      await this.execution.renew(pinholes.slice(i, i + RENEW_SLICE));
    }
  }

  /** Takes away what the enforcer holds and the ledger does not know. */
  async #removeForeign(): Promise<void> {
    const { enforcer, audit } = this.#options;
    // All of ours were just put there: when there are no more, none is foreign.
    if (enforcer.held?.() === this.table.tuples) return;
    // A kernel's listing takes time by the square. What is foreign among very many ends with its lease.
    if (this.table.size > LIST_LIMIT) {
      audit.add("enforcer.not-listed", { pinholes: this.table.size });
      return;
    }
    const foreign = (await enforcer.list()).filter((e) =>
      this.table.sameTuple(e.tuple).length === 0
    );
    if (foreign.length === 0) return;
    await enforcer.apply(
      foreign.map((e) => ({ action: "close" as const, tuple: e.tuple, id: 0, lease: 0 })),
    );
    await enforcer.endConnections(foreign.map((e) => e.tuple));
    for (const e of foreign.slice(0, FOREIGN_TOLD)) {
      audit.add("enforcer.removed", {
        tuple: tupleText(e.tuple),
        why: "at the enforcer, but not in the ledger",
      });
    }
  }

  /** Why nothing can be opened now, whatever the policy says. */
  #obstacle(patient: boolean): string | undefined {
    const { audit } = this.#options;
    if (audit.failed !== undefined) return `the audit trail cannot be written: ${audit.failed}`;
    return this.execution.obstacle(patient);
  }
}

function policyStatus(file: string, rules: number): PolicyStatus {
  return { file, rules, loaded_at: new Date().toISOString() };
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
