/**
 * A perimeter's controller for other hosts: sessions of brokers, authorization, execution and one enforcer
 * on one poll set (`diaper controller`).
 *
 * @module
 */
import type { Enforcer } from "../../drivers/enforcer.ts";
import { Poller } from "../sys/epoll.ts";
import type { AuditTrail } from "./audit.ts";
import { openAuditTrail } from "./syslog.ts";
import type { PolicySource } from "./authorization.ts";
import { BrokerSessions } from "./broker_sessions.ts";
import type { Config } from "./config.ts";
import type { ControlRequest } from "./control_protocol.ts";
import { ControlRefusal, ControlServer } from "./control_server.ts";
import { Controller, type Log } from "./controller.ts";
import { EventCounts } from "./event_counts.ts";
import { Etcd } from "./etcd.ts";
import { FencedEnforcer, Leadership, type Standby } from "./leadership.ts";
import { type LedgerBook, openLedger } from "./memory_ledger.ts";
import { Operator } from "./operator.ts";
import type { LaterOrder, Role } from "./orders.ts";
import { DataPlane } from "./plane.ts";
import { ControlPart, TrailPart } from "./plane_parts.ts";
import { listenInside } from "./run_directory.ts";

/** Name of the socket that SSH servers connect to, in the run directory. */
export const BROKER_SOCKET = "broker.sock";

/** How often the command line is looked at by one that stands by, in milliseconds. */
const LOOK_MS = 50;

/** What the controller is made of. */
export interface RemoteControllerOptions {
  readonly config: Config;
  readonly policy: PolicySource;
  readonly enforcer: Enforcer;
  /** Group that may use the control socket besides root; undefined when there is none. */
  readonly controlGid: number | undefined;
  /** Account and group that run `diaper gate`; undefined when there is none. */
  readonly gate: { readonly uid: number; readonly gid: number } | undefined;
  readonly log: Log;
  /** Has the administrator's side load the policy anew. */
  readonly reload: () => void;
  /** It is well, and waits until it leads. */
  readonly standby: () => void;
}

/** The controller of one enforcer. */
export class RemoteController implements Role {
  readonly #options: RemoteControllerOptions;
  readonly #poller = new Poller();
  readonly #leadership: Leadership | undefined;
  readonly #enforcer: Enforcer;
  readonly #audit: AuditTrail;
  readonly #ledger: LedgerBook;
  readonly #controller: Controller;
  readonly #counts = new EventCounts();
  readonly #startedAt = Date.now();
  #sessions: BrokerSessions | undefined;
  #control: ControlServer | undefined;
  #plane: DataPlane | undefined;
  /** While another one leads, or none can be found out; undefined once this one does. */
  #standby: Standby | undefined;

  /** @throws {LedgerError} and other errors that say why this controller cannot be. */
  constructor(options: RemoteControllerOptions) {
    const { config, log } = options;
    this.#leadership = leadershipOf(config);
    this.#enforcer = this.#leadership === undefined
      ? options.enforcer
      : new FencedEnforcer(options.enforcer, this.#leadership);
    const enforcer = this.#enforcer;
    this.#options = { ...options, enforcer };
    this.#audit = openAuditTrail(config);
    this.#ledger = openLedger(config.state_dir, enforcer);
    this.#controller = new Controller({
      config,
      policy: options.policy,
      enforcer,
      audit: this.#audit,
      ledger: this.#ledger,
      log,
      shared: this.#leadership,
      onFault: () => this.#controller.sweep.start(),
    });
    this.#audit.watch((event, line) => {
      this.#counts.count(event.event_type);
      this.#control?.broadcast(line);
    });
  }

  /** See {@link Role}. */
  async start(patience: () => boolean): Promise<boolean> {
    const { config, enforcer, gate } = this.#options;
    this.#control = this.#listen();
    if (!await this.#lead(patience)) return false;
    await this.#controller.start(() => {});
    this.#sessions = new BrokerSessions(
      this.#poller,
      listenInside(
        config.run_dir,
        BROKER_SOCKET,
        "stream",
        gate === undefined ? 0o600 : 0o660,
        gate?.gid,
      ),
      {
        controller: this.#controller,
        audit: this.#audit,
        lease: config.controller.lease,
        maxSessions: config.controller.max_brokers,
        gateUid: gate?.uid,
        standby: () => undefined,
      },
    );
    this.#audit.add("controller.started", {
      pid: Deno.pid,
      enforcer: enforcer.name,
      pinholes: this.#controller.table.size,
    });
    this.#audit.flush();
    return true;
  }

  /** Takes questions of the command line from now on. */
  #listen(): ControlServer {
    const { config, enforcer, controlGid } = this.#options;
    const operator = new Operator(this.#controller, {
      enforcer,
      audit: this.#audit,
      status: () => this.#status(),
      guards: () => true,
      compare: () => {},
      reload: this.#options.reload,
    });
    return new ControlServer(
      this.#poller,
      listenInside(config.run_dir, "control.sock", "stream", 0o660, controlGid),
      (request, peer) => {
        const standby = this.#standby;
        if (standby !== undefined && NEEDS_LEADER.has(request.op)) throw standingBy(standby);
        return operator.answer(request, peer);
      },
    );
  }

  /** Waits until this controller leads, where there are several, and takes over what is open. */
  async #lead(patience: () => boolean): Promise<boolean> {
    const leadership = this.#leadership;
    if (leadership === undefined) return true;
    this.#standby = { leader: null, why: "it has just been started" };
    this.#options.standby();
    const tell = (state: Standby) => {
      this.#standby = state;
      this.#options.log("info", state.why);
    };
    if (!await this.#meanwhile(leadership.campaign(tell, () => !patience()))) return false;
    this.#standby = undefined;
    const { pinholes, nextId } = await leadership.read();
    this.#ledger.takeOver(pinholes, nextId);
    leadership.health = {
      enforcer: () => this.#controller.execution.enforcerFailed,
      brokers: (now, silence) => this.#sessions?.unheard(now, silence),
    };
    await leadership.round(performance.now());
    this.#audit.add("controller.leads", { pinholes: pinholes.length });
    this.#options.log("info", `leads, with ${pinholes.length} pinholes taken over`);
    return true;
  }

  /** Answers the command line while something else is waited for. */
  async #meanwhile<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const end = work.finally(() => over = true);
    while (!over) {
      this.#poller.wait(0);
      await this.#control?.pump();
      await Promise.race([end, new Promise((resolve) => setTimeout(resolve, LOOK_MS))]);
    }
    return await end;
  }

  /** See {@link Role}. */
  async run(wake: number, onWake: () => void): Promise<void> {
    if (this.#control === undefined || this.#sessions === undefined) {
      throw new Error("Cannot run before start");
    }
    this.#poller.add(wake, 1, onWake);
    this.#plane = new DataPlane(this.#poller, [
      ...(this.#leadership === undefined ? [] : [this.#leadership]),
      this.#controller,
      this.#sessions,
      new ControlPart(this.#control),
      new TrailPart(this.#audit),
    ], () => {
      this.#leadership?.mustLead();
      // A device may take long, and brokers must hear that it is not this controller that is gone.
      this.#sessions?.flush();
    });
    await this.#plane.run();
  }

  /** See {@link Role}. */
  stop(): void {
    this.#plane?.stop();
  }

  /** See {@link Role}. */
  obey(order: LaterOrder): void {
    if (order.order === "policy") this.#controller.setPolicy(order.policy);
    else if (order.order === "delegates") {
      this.#sessions?.keepDelegates(new Set(order.delegates));
    }
  }

  /** See {@link Role}. */
  async close(): Promise<void> {
    this.#sessions?.close();
    const lost = this.#leadership?.lost !== undefined;
    if (!lost) await this.#controller.stop();
    await this.#leadership?.resign();
    this.#audit.add("controller.stopped", {
      pid: Deno.pid,
      pinholes: this.#controller.table.size,
    });
    this.#control?.close();
    this.#audit.close();
    this.#ledger.close();
    // It may be the enforcer that does not answer; the process ends, and with it whatever it has open.
    if (!lost) await this.#options.enforcer.close();
    this.#poller.close();
  }

  #status(): Record<string, unknown> {
    // Whoever watches has been told of all that came before the answer.
    this.#audit.flush();
    const { enforcer, config } = this.#options;
    const { execution, policy, sweep } = this.#controller;
    return {
      role: "controller",
      pid: Deno.pid,
      started_at: new Date(this.#startedAt).toISOString(),
      enforcer: { name: enforcer.name, failed: execution.enforcerFailed ?? null },
      policy,
      pinholes: {
        open: execution.held,
        capacity: Math.min(config.perimeter.capacity, enforcer.capabilities.capacity),
        waiting: execution.waiting,
      },
      brokers: this.#sessions?.list() ?? [],
      channels: 0,
      notices: true,
      audit_failed: this.#audit.failed ?? null,
      counts: this.#counts.all,
      dropped: this.#standby === undefined ? enforcer.statistics?.().dropped ?? null : null,
      sweep: sweep.last ?? null,
      ...(this.#standby === undefined ? {} : { standby: this.#standby }),
    };
  }
}

/** What cannot be asked of one that stands by. */
const NEEDS_LEADER: ReadonlySet<ControlRequest["op"]> = new Set(["list", "open", "close", "sweep"]);

function standingBy({ leader, why }: Standby): ControlRefusal {
  const next = leader === null ? "diaper status says why; see etcd" : `ask it there: ${leader}`;
  return new ControlRefusal({
    code: 1,
    message: `this controller holds no pinholes: ${why}`,
    next,
  });
}

/** The part in a cluster; undefined when there is one controller. */
function leadershipOf(config: Config): Leadership | undefined {
  const { etcd, prefix, patience, ca, certificate, key } = config.cluster;
  if (etcd.length === 0) return undefined;
  const read = (path: string | null) => path === null ? undefined : Deno.readTextFileSync(path);
  const client = new Etcd({
    endpoints: etcd,
    ca: read(ca),
    certificate: read(certificate),
    key: read(key),
  });
  return new Leadership(client, prefix, `${Deno.hostname()}:${Deno.pid}`, patience * 1000);
}
