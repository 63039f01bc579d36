/**
 * One host that guards itself: broker, authorization, execution and the enforcer on one poll set, in one
 * thread that does nothing else (`diaper up`).
 *
 * @module
 */
import type { Enforcer } from "../../drivers/enforcer.ts";
import { HostSide } from "../broker/host_side.ts";
import { Poller } from "../sys/epoll.ts";
import type { AuditTrail } from "./audit.ts";
import { openAuditTrail } from "./syslog.ts";
import type { PolicySource } from "./authorization.ts";
import type { Config } from "./config.ts";
import { ControlServer } from "./control_server.ts";
import { Controller, type Log, type PolicyStatus } from "./controller.ts";
import { EventCounts } from "./event_counts.ts";
import { type LedgerBook, openLedger } from "./memory_ledger.ts";
import { Operator } from "./operator.ts";
import type { LaterOrder, Role } from "./orders.ts";
import { DataPlane } from "./plane.ts";
import { ControlPart, TrailPart } from "./plane_parts.ts";
import { listenInside } from "./run_directory.ts";

/** What the perimeter is made of, and whom it tells about itself. */
export interface PerimeterOptions {
  readonly config: Config;
  readonly policy: PolicySource;
  readonly enforcer: Enforcer;
  /** Group that may use the control socket besides root; undefined when there is none. */
  readonly controlGid: number | undefined;
  readonly log: Log;
  /** Has the administrator's side load the policy anew. */
  readonly reload: () => void;
}

/** What `status` shows. */
export interface PerimeterStatus {
  readonly role: "up";
  readonly pid: number;
  readonly started_at: string;
  readonly enforcer: { readonly name: string; readonly failed: string | null };
  readonly policy: PolicyStatus;
  readonly pinholes: { readonly open: number; readonly capacity: number };
  readonly channels: number;
  readonly notices: boolean;
  readonly audit_failed: string | null;
  readonly counts: Readonly<Record<string, number>>;
  /** Packets that were not let in, where the enforcer counts them. */
  readonly dropped: { readonly packets: number; readonly bytes: number } | null;
  readonly sweep: unknown;
}

/** The perimeter of this host. */
export class Perimeter implements Role {
  readonly #options: PerimeterOptions;
  readonly #poller = new Poller();
  readonly #audit: AuditTrail;
  readonly #ledger: LedgerBook;
  readonly #controller: Controller;
  readonly #host: HostSide;
  readonly #counts = new EventCounts();
  readonly #startedAt = Date.now();
  #control: ControlServer | undefined;
  #plane: DataPlane | undefined;

  /** @throws {LedgerError} and other errors that say why this perimeter cannot be kept. */
  constructor(options: PerimeterOptions) {
    this.#options = options;
    const { config, enforcer, log } = options;
    this.#audit = openAuditTrail(config);
    this.#ledger = openLedger(config.state_dir, enforcer);
    this.#controller = new Controller({
      config,
      policy: options.policy,
      enforcer,
      audit: this.#audit,
      ledger: this.#ledger,
      log,
      onFault: () => this.#host.compareSoon(),
    });
    this.#host = new HostSide({
      config,
      poller: this.#poller,
      audit: this.#audit,
      log,
      request: (request, answer) => void this.#controller.request(request, answer),
      table: this.#controller.table,
      closer: this.#controller,
      traffic: enforcer,
    });
    this.#audit.watch((event, line) => {
      this.#counts.count(event.event_type);
      this.#control?.broadcast(line);
    });
  }

  /**
   * Closes the perimeter, makes it equal to the ledger again, and opens the sockets for agents and the
   * command line.
   */
  async start(): Promise<boolean> {
    const { config, enforcer, controlGid } = this.#options;
    this.#host.watch();
    await this.#controller.start(() => this.#host.compare());
    this.#audit.flush();
    this.#host.listen();
    const operator = new Operator(this.#controller, {
      enforcer,
      audit: this.#audit,
      status: () => this.#status(),
      guards: (address) =>
        config.perimeter.hooks.includes("forward") || this.#host.isLocal(address),
      compare: () => this.#host.compare(),
      reload: this.#options.reload,
    });
    this.#control = new ControlServer(
      this.#poller,
      listenInside(config.run_dir, "control.sock", "stream", 0o660, controlGid),
      (request, peer) => operator.answer(request, peer),
    );
    this.#audit.add("perimeter.started", {
      pid: Deno.pid,
      enforcer: enforcer.name,
      pinholes: this.#controller.table.size,
    });
    this.#audit.flush();
    return true;
  }

  /**
   * Serves until {@link stop}. `wake` is a descriptor that is readable when somebody wants the loop's
   * attention, and `onWake` what to do then.
   */
  async run(wake: number, onWake: () => void): Promise<void> {
    if (this.#control === undefined) throw new Error("Cannot run before start");
    this.#poller.add(wake, 1, onWake);
    this.#plane = new DataPlane(this.#poller, [
      this.#controller,
      this.#host,
      new ControlPart(this.#control),
      new TrailPart(this.#audit),
    ]);
    await this.#plane.run();
  }

  /** Has {@link run} return after the present round. */
  stop(): void {
    this.#plane?.stop();
  }

  /** See {@link Role}. */
  obey(order: LaterOrder): void {
    if (order.order === "policy") this.#controller.setPolicy(order.policy);
  }

  /** Lets go of everything. The perimeter stays closed; open pinholes stay as configured. */
  async close(): Promise<void> {
    this.#host.deafen();
    await this.#controller.stop();
    this.#audit.add("perimeter.stopped", {
      pid: Deno.pid,
      pinholes: this.#controller.table.size,
    });
    this.#control?.close();
    this.#host.close();
    this.#audit.close();
    this.#ledger.close();
    await this.#options.enforcer.close();
    this.#poller.close();
  }

  #status(): PerimeterStatus {
    // Whoever watches has been told of all that came before the answer.
    this.#audit.flush();
    const { enforcer, config } = this.#options;
    const { execution, policy, sweep } = this.#controller;
    return {
      role: "up",
      pid: Deno.pid,
      started_at: new Date(this.#startedAt).toISOString(),
      enforcer: { name: enforcer.name, failed: execution.enforcerFailed ?? null },
      policy,
      pinholes: { open: execution.held, capacity: config.perimeter.capacity },
      channels: this.#host.channels,
      notices: this.#host.notices,
      audit_failed: this.#audit.failed ?? null,
      counts: this.#counts.all,
      dropped: enforcer.statistics?.().dropped ?? null,
      sweep: sweep.last ?? null,
    };
  }
}
