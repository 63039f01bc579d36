/**
 * What every simulated device has: an SSH server, ACLs, faults, a clock that makes it as slow as the real one,
 * and a power switch. A device is written from the vendor's documents and from captured sessions, and knows
 * nothing of the drivers, so that a driver's mistake is not made twice.
 *
 * @module
 */
import { type Acl, AclStore, type Packet } from "./acl_table.ts";
import { batchTime, DeviceClock, type DeviceSpeed, lineTime } from "./clock.ts";
import { type Faults, noFaults } from "./faults.ts";
import { type DeviceChannel, type SshServer, startSshServer } from "./ssh_server.ts";

/** How a device is made; everything has a default. */
export interface DeviceOptions {
  /** 0: any free one, which {@link SimulatedDevice.port} tells. Default 0. */
  readonly port?: number;
  /** Address to listen at. Default: 127.0.0.1. */
  readonly host?: string;
  readonly hostname?: string;
  /** Default `diaper`. */
  readonly user?: string;
  /** Default `diaper`. */
  readonly password?: string;
  /** Set: the user must enable with it. */
  readonly enablePassword?: string;
  readonly authorizedKeys?: readonly string[];
  readonly hostKey?: string;
  /** How many times faster than the real device. Default: as fast as it can. */
  readonly factor?: number;
  /** Entries that fit, for each address family. */
  readonly capacity?: number;
  readonly oldAlgorithms?: boolean;
  /** Shown before the first prompt. */
  readonly banner?: string;
}

/** A simulated device. */
export abstract class SimulatedDevice {
  /** The name as in `diaper lab device NAME`. */
  abstract readonly name: string;
  readonly options: DeviceOptions;
  readonly hostname: string;
  readonly faults: Faults = noFaults();
  readonly clock: DeviceClock;
  /** What is in effect. */
  readonly acls: AclStore;
  /** What a reboot brings back. */
  #startup: AclStore;
  #server: SshServer | undefined;
  readonly #shells = new Set<DeviceChannel>();
  readonly #running = new Set<Promise<void>>();
  /** Called after each change of what is in effect. */
  onChange: () => void = () => {};

  protected constructor(options: DeviceOptions, hostname: string, capacity: number) {
    this.options = options;
    this.hostname = options.hostname ?? hostname;
    this.clock = new DeviceClock(options.factor ?? Infinity);
    this.acls = new AclStore(options.capacity ?? capacity);
    this.#startup = this.acls.copy();
  }

  /** The highest number of an entry. */
  readonly highest: number = 2_147_483_647;
  /** How fast the real device is. */
  abstract readonly speed: DeviceSpeed;

  /** The port it listens at. */
  get port(): number {
    return this.#server?.port ?? 0;
  }

  /** Its host key's fingerprint. */
  get fingerprint(): string {
    return this.#server?.fingerprint ?? "";
  }

  get user(): string {
    return this.options.user ?? "diaper";
  }

  get password(): string {
    return this.options.password ?? "diaper";
  }

  /** Switches it on. */
  async start(): Promise<void> {
    const { options } = this;
    this.#server = await startSshServer({
      port: options.port ?? 0,
      host: options.host ?? "127.0.0.1",
      hostKey: options.hostKey,
      user: this.user,
      password: this.password,
      authorizedKeys: options.authorizedKeys ?? [],
      oldAlgorithms: options.oldAlgorithms ?? false,
      shell: (channel) => this.#serve(channel, this.shell(channel)),
      netconf: this.netconf === undefined
        ? undefined
        : (channel) => this.#serve(channel, this.netconf?.(channel) ?? Promise.resolve()),
    });
  }

  /** Switches it off. */
  async stop(): Promise<void> {
    this.clock.stop();
    await this.#server?.close();
    this.#server = undefined;
    await Promise.all(this.#running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Loses power and comes back: sessions are gone, and what was not saved. */
  reboot(): void {
    this.#server?.dropAll();
    this.acls.take(this.#startup);
    for (const acl of this.acls.all) acl.clearCounters();
    this.rebooted();
    this.onChange();
  }

  /** Makes what is in effect outlast a reboot. */
  save(): void {
    this.#startup = this.acls.copy();
  }

  /** Breaks all sessions. */
  dropSessions(): void {
    this.#server?.dropAll();
  }

  /**
   * Lets packets come to the device, at an interface that has this ACL.
   *
   * @returns whether they may pass. An ACL that is not there or is empty lets everything pass.
   */
  packet(acl: string, packet: Packet, packets = 1, bytes = 60): boolean {
    const list = this.acls.get(packet.source.family, acl);
    if (list === undefined || list.entries.length === 0) return true;
    return list.match(packet, packets, bytes * packets)?.action === "permit";
  }

  /**
   * Counts the time of a batch on the device's clock.
   *
   * @param read of its updates, those whose lines' time was counted when they were read.
   */
  spendBatch(updates: number, existing: number, read = 0): void {
    const spent = read * lineTime(this.speed);
    this.clock.spend(Math.max(0, batchTime(this.speed, updates, existing) - spent));
  }

  /** Talks with a client until it is gone. */
  protected abstract shell(channel: DeviceChannel): Promise<void>;

  /** The same for NETCONF, where the device has it. */
  protected netconf?(channel: DeviceChannel): Promise<void>;

  /** What else changes at a reboot. */
  protected rebooted(): void {}

  /** ACLs in an order for people. */
  protected sorted(family: 4 | 6): Acl[] {
    return this.acls.all.filter((acl) => acl.family === family)
      .sort((a, b) => a.name < b.name ? -1 : 1);
  }

  #serve(channel: DeviceChannel, talk: Promise<void>): void {
    this.#shells.add(channel);
    const running = talk.finally(() => {
      this.#shells.delete(channel);
      this.#running.delete(running);
    });
    this.#running.add(running);
  }
}
