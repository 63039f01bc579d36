/**
 * The broker's side of a data plane: agents' channels, and the ends of the sockets that pinholes are for.
 * Who decides about requests does not matter here: a controller in the same process, or one far away.
 *
 * @module
 */
import type { AuditTrail } from "../controller/audit.ts";
import type { Config } from "../controller/config.ts";
import type { Log } from "../controller/controller.ts";
import type { Closer } from "../controller/expiry.ts";
import { Lifetimes, type Traffic } from "../controller/lifetimes.ts";
import type { PinholeTable } from "../controller/pinhole_table.ts";
import type { Part } from "../controller/plane.ts";
import { listenInside } from "../controller/run_directory.ts";
import { SocketWatch } from "../controller/socket_watch.ts";
import type { IpAddress } from "../net/ip.ts";
import type { PinholeRequest } from "../pinhole/request.ts";
import type { Poller } from "../sys/epoll.ts";
import { LocalAddresses } from "../sys/local_addresses.ts";
import { ownNamespace } from "../sys/socket_facts.ts";
import { Broker, type RequestHandler } from "./broker.ts";
import { ChannelLimits } from "./limits.ts";

/** What the host's side works with. */
export interface HostSideOptions {
  readonly config: Config;
  readonly poller: Poller;
  readonly audit: AuditTrail;
  readonly log: Log;
  /** Decides about proven requests. */
  readonly request: RequestHandler;
  /** This host's pinholes. */
  readonly table: PinholeTable;
  readonly closer: Closer;
  readonly traffic: Traffic;
}

/**
 * Milliseconds in which nobody asked for anything: then ends of sockets are looked at. Whoever waits in a
 * bind goes before what nobody waits for, but not for longer than this.
 */
const QUIET_MS = 1;
const LONGEST_MS = 5;

/** Agents and sockets of this host. */
export class HostSide implements Part {
  readonly #options: HostSideOptions;
  readonly #local = new LocalAddresses();
  readonly #sockets = new SocketWatch();
  readonly #lifetimes: Lifetimes;
  #broker: Broker | undefined;
  #mustCompare = false;
  #nextSecond = 0;
  #nextSweep = 0;

  constructor(options: HostSideOptions) {
    this.#options = options;
    this.#lifetimes = new Lifetimes(options.table, options.closer, options.traffic, this.#sockets);
  }

  /** The kernel tells of sockets' ends by itself. */
  get notices(): boolean {
    return this.#sockets.notices;
  }

  /** Agents' channels that are open now. */
  get channels(): number {
    return this.#broker?.channels ?? 0;
  }

  /** The address is one of this host's. */
  isLocal(address: IpAddress): boolean {
    return this.#local.has(address);
  }

  /** Learns of sockets' ends from now on. To be called before pinholes are taken up again. */
  watch(): void {
    const { poller, audit, log } = this.#options;
    this.#sockets.watch(poller, (protocol, port, cookie) => {
      this.#lifetimes.ended(protocol, port, cookie);
    }, () => {
      audit.add("notices.lost", {});
      this.#mustCompare = true;
    });
    if (this.#sockets.notices) return;
    log("warning", "the kernel gives no socket-destroy notices: closes come up to a second late");
  }

  /** Opens the socket for agents. */
  listen(): void {
    const { config, poller, audit, request } = this.#options;
    this.#broker = new Broker(
      poller,
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
      (wanted, answer) => {
        this.#beforeRequest(wanted);
        request(wanted, answer);
      },
      ({ event_type, ...event }) => audit.refusal(event.uid, event_type, event),
    );
    const now = performance.now();
    this.#nextSecond = now + 1000;
    this.#nextSweep = now + config.perimeter.sweep * 1000;
  }

  /** Compares all pinholes with all sockets, now. */
  compare(): void {
    this.#lifetimes.reconcile();
  }

  /** Compares all within a second: something may have been missed. */
  compareSoon(): void {
    this.#mustCompare = true;
  }

  /** See {@link Part.due}. */
  due(now: number): number {
    const due = this.#lifetimes.due(now);
    const wait = Math.min(this.#nextSecond, this.#nextSweep) - now;
    const ends = this.#sockets.waitingSince === Infinity ? Infinity : QUIET_MS;
    return Math.min(due < 0 ? Infinity : due, ends, wait);
  }

  /** See {@link Part.round}. */
  round(now: number, idle: boolean): Promise<void> | undefined {
    const waited = now - this.#sockets.waitingSince;
    if (waited >= LONGEST_MS || (idle && waited >= 0)) this.#sockets.read();
    const due = this.#lifetimes.due(now) === 0 || now >= this.#nextSecond || now >= this.#nextSweep;
    return due ? this.#longRound(now) : undefined;
  }

  async #longRound(now: number): Promise<void> {
    await this.#guarded(() => this.#lifetimes.check(now));
    if (now >= this.#nextSecond) {
      this.#nextSecond = now + 1000;
      this.#broker?.tick(Date.now());
      if (!this.#sockets.notices || this.#mustCompare) {
        this.#mustCompare = false;
        await this.#guarded(() => this.compare());
      }
    }
    if (now >= this.#nextSweep) {
      this.#nextSweep = now + this.#options.config.perimeter.sweep * 1000;
      await this.#guarded(() => this.compare());
    }
  }

  /** A port that is bound anew: what was there before may be at its end. */
  #beforeRequest({ tuple }: PinholeRequest): void {
    const { table } = this.#options;
    if (table.hasPort(tuple.protocol, tuple.destinationPort)) this.#sockets.read();
  }

  /** Takes no more of agents. */
  deafen(): void {
    this.#broker?.close();
    this.#broker = undefined;
  }

  /** Lets go of everything. */
  close(): void {
    this.deafen();
    this.#sockets.close();
  }

  /** Does work that asks the kernel or the enforcer; when that fails, the next comparison makes good. */
  async #guarded(work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#options.audit.add("fault", { what: "lifetimes", why });
      this.#options.log("error", `lifetimes: ${why}`);
      this.#mustCompare = true;
    }
  }
}
