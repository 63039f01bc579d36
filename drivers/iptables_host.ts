/**
 * What the drivers over iptables (`iptables`, `ipset`) share: the perimeter's chains in both address
 * families, its statistics, and the end of connections.
 *
 * @module
 */
import type { FiveTuple } from "../lib/pinhole/pinhole.ts";
import { Conntrack } from "../lib/sys/conntrack.ts";
import { SockDiag } from "../lib/sys/sock_diag.ts";
import { type Counters, EnforcerError } from "./enforcer.ts";
import {
  perimeterIntact,
  perimeterLines,
  removalLines,
  unhookLines,
} from "./iptables_perimeter.ts";
import { type ChainOptions, ownChainNames, ownChains } from "./iptables_rules.ts";
import type { SavedTable } from "./iptables_text.ts";
import { FilterTable, type IptablesBackend } from "./iptables_tools.ts";
import { endConnections } from "./nftables_connections.ts";
import { asEnforcerError } from "./nftables_handles.ts";
import { NO_TRANSLATION } from "./nftables_nat.ts";
import { checkOptions, checkPort, type OpenPort } from "./nftables_rules.ts";

/** Options of a perimeter over iptables; everything has a default. */
export interface HostPerimeterOptions {
  /** Begins the names of our chains; nothing else is touched but the jumps to them. Default `DIAPER`. */
  readonly prefix?: string;
  /** `input` guards this host, `forward` what it forwards. Default `["input"]`. */
  readonly hooks?: readonly ("input" | "forward")[];
  /** With `forward`: the interfaces to the outside, or ... */
  readonly outside?: readonly string[];
  /** ... those to the inside. */
  readonly inside?: readonly string[];
  /** Pinholes for each address family. */
  readonly capacity?: number;
  /** Control ports, open to all. Default none. */
  readonly openPorts?: readonly OpenPort[];
  /** Answer pings from outside. Default false. */
  readonly allowPing?: boolean;
  /** Let answers of DHCP servers in. Default true. */
  readonly allowDhcp?: boolean;
}

/** The perimeter, without its pinholes. */
export class HostPerimeter {
  readonly options: ChainOptions;
  readonly tables: readonly FilterTable[];
  readonly #driver: string;
  #ports: readonly OpenPort[];
  #handles: { readonly conntrack: Conntrack; readonly sockets: SockDiag } | undefined;

  /**
   * @param driver its name, for messages.
   * @param capacity when the options have none.
   * @throws {EnforcerError} for options that cannot be a perimeter.
   */
  constructor(
    driver: string,
    options: HostPerimeterOptions,
    backend: IptablesBackend,
    capacity: number,
  ) {
    const hooks = options.hooks ?? ["input"];
    this.#driver = driver;
    this.options = {
      prefix: options.prefix ?? "DIAPER",
      input: hooks.includes("input"),
      forward: hooks.includes("forward")
        ? { outside: options.outside ?? [], inside: options.inside ?? [] }
        : undefined,
      capacity: options.capacity ?? capacity,
      allowPing: options.allowPing ?? false,
      allowDhcp: options.allowDhcp ?? true,
    };
    if (!/^[A-Za-z][A-Za-z0-9_]{0,15}$/.test(this.options.prefix)) {
      throw new EnforcerError(
        `Cannot begin names of chains with ${JSON.stringify(this.options.prefix)}`,
        "Use a letter and then up to 15 letters, digits or underscores.",
      );
    }
    checkOptions({ ...this.options, table: "diaper", priority: 0, nat: NO_TRANSLATION });
    this.#ports = options.openPorts ?? [];
    this.#ports.forEach(checkPort);
    this.tables = ([4, 6] as const).map((family) => new FilterTable(family, backend));
  }

  /**
   * Opens what is needed to end connections.
   *
   * @throws {EnforcerError} when the kernel or the right is missing.
   */
  open(): void {
    if (this.#handles !== undefined) return;
    let conntrack: Conntrack | undefined;
    try {
      conntrack = new Conntrack();
      this.#handles = { conntrack, sockets: new SockDiag() };
    } catch (error) {
      conntrack?.close();
      throw asEnforcerError(error);
    }
  }

  /** It is connected. */
  get isOpen(): boolean {
    return this.#handles !== undefined;
  }

  /**
   * Does nothing while connected.
   *
   * @throws {EnforcerError} when it is not.
   */
  connected(): { readonly conntrack: Conntrack; readonly sockets: SockDiag } {
    if (this.#handles !== undefined) return this.#handles;
    throw new EnforcerError(
      `The ${this.#driver} driver is not connected`,
      "Call connect() first.",
    );
  }

  /** Lets go. */
  close(): void {
    this.#handles?.conntrack.close();
    this.#handles?.sockets.close();
    this.#handles = undefined;
  }

  /** These are to be the ports open to all, from the next {@link make} on. */
  setPorts(ports: readonly OpenPort[]): void {
    ports.forEach(checkPort);
    this.connected();
    this.#ports = [...ports];
  }

  /**
   * Makes the chains of one family right, in one transaction.
   *
   * @param pinholes the rules that let pinholes in.
   * @param before lines that come first in the same transaction.
   * @throws {EnforcerError} when iptables refuses.
   */
  async make(
    table: FilterTable,
    found: SavedTable,
    pinholes: readonly string[],
    before: readonly string[] = [],
  ): Promise<void> {
    const wanted = ownChains(this.options, table.family, this.#ports, pinholes);
    const unwanted = ownChainNames(this.options.prefix).filter((name) =>
      !wanted.some((chain) => chain.name === name)
    );
    const lines = [...before, ...perimeterLines(found, wanted, unwanted)];
    if (lines.length === 0) return;
    const result = await table.restore(lines);
    if (result.code !== 0) throw table.failure("make the perimeter", result);
  }

  /** True when the chains are what they should be. */
  intact(pinholes: (family: 4 | 6) => readonly string[]): boolean {
    this.connected();
    return this.tables.every((table) =>
      perimeterIntact(
        table,
        ownChains(this.options, table.family, this.#ports, pinholes(table.family)),
      )
    );
  }

  /** What the chains did not let in. */
  statistics(): { readonly dropped: Counters; readonly invalid: Counters } {
    this.connected();
    const rules = this.tables.flatMap((table) =>
      ownChainNames(this.options.prefix).flatMap((name) => table.chain(name) ?? [])
    );
    const sum = (mark: string) => {
      const marked = rules.filter((rule) => rule.spec.includes(`"diaper:${mark}"`));
      return {
        packets: marked.reduce((n, rule) => n + (rule.packets ?? 0), 0),
        bytes: marked.reduce((n, rule) => n + (rule.bytes ?? 0), 0),
      };
    };
    return { dropped: sum("dropped"), invalid: sum("invalid") };
  }

  /** Ends connections that came in by pinholes which are closed by now. */
  endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    try {
      const handles = this.connected();
      endConnections(tuples, { ...handles, local: this.options.input });
      return Promise.resolve();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Takes the chains of one family away, and others with them.
   *
   * @throws {EnforcerError} when iptables refuses.
   */
  async remove(
    table: FilterTable,
    found: SavedTable,
    others: readonly string[] = [],
  ): Promise<void> {
    const chains = [...ownChainNames(this.options.prefix), ...others];
    const lines = [...unhookLines(found, chains), ...removalLines(found, chains)];
    if (lines.length === 0) return;
    const result = await table.restore(lines);
    if (result.code !== 0) throw table.failure("take the perimeter away", result);
  }
}
