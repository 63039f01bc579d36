/**
 * The nftables driver: this host, or the networks behind it, guarded by a table of our own in the
 * kernel. No process is started and no text is parsed for a pinhole: elements and counters go over
 * netlink; libnftables makes only the table, its chains and its rules.
 *
 * @module
 */
import type { FiveTuple } from "../lib/pinhole/pinhole.ts";
import type { TableShape } from "../lib/sys/nftables_table.ts";
import {
  type ChangeResult,
  type Counters,
  type Enforcer,
  type EnforcerCapabilities,
  type EnforcerChange,
  EnforcerError,
  type ListedEntry,
} from "./enforcer.ts";
import { endConnections } from "./nftables_connections.ts";
import { controlPortsMatch, setControlPorts } from "./nftables_control.ts";
import {
  asEnforcerError,
  closeHandles,
  type Handles,
  openHandles,
  run,
} from "./nftables_handles.ts";
import { Translation } from "./nftables_nat.ts";
import { PinholeWriter } from "./nftables_pinholes.ts";
import { planText } from "./nftables_plan.ts";
import { probeKernel } from "./nftables_probe.ts";
import { listSet, readCounters } from "./nftables_read.ts";
import {
  checkOptions,
  checkPort,
  creationText,
  type OpenPort,
  type PerimeterOptions,
  rulesText,
} from "./nftables_rules.ts";
import { perimeterMatches, pinholesKept } from "./nftables_shape.ts";
import { PINHOLE_SETS } from "./nftables_tuple.ts";

/** What the driver is made with; everything has a default. */
export interface NftablesOptions {
  /** Our table of family inet; nothing outside it is touched. Default `diaper`. */
  readonly table?: string;
  /** `input` guards this host, `forward` what it forwards. Default `["input"]`. */
  readonly hooks?: readonly ("input" | "forward")[];
  /** With `forward`: the interfaces to the outside, or ... */
  readonly outside?: readonly string[];
  /** ... those to the inside. */
  readonly inside?: readonly string[];
  /** Pinholes for each address family, with and without source port. Default 1,048,576. */
  readonly capacity?: number;
  /** Control ports, open to all. Default none. */
  readonly openPorts?: readonly OpenPort[];
  /** Priority of the chains. Default 0. */
  readonly priority?: number;
  /** Answer pings from outside. Default false. */
  readonly allowPing?: boolean;
  /** Let answers of DHCP servers in (DHCPv6 does not work without). Default true. */
  readonly allowDhcp?: boolean;
  /**
   * With `forward`: IPv4 addresses of inside hosts and the outside addresses that lead to them. Each pinhole
   * for such a host has an entry that translates it. Default none.
   */
  readonly nat?: Readonly<Record<string, string>>;
}

/** The nftables enforcer, with what only it can do. */
export interface NftablesEnforcer extends Enforcer {
  /** Makes these the ports that are open to all, instead of those before, in one transaction. */
  setOpenPorts(ports: readonly OpenPort[]): void;
  /** Packets that the perimeter did not let in since the table was made. */
  statistics(): { readonly dropped: Counters; readonly invalid: Counters };
  /**
   * False when somebody else changed or removed anything in our table but the pinholes. Then
   * {@link Enforcer.connect} makes it right again.
   */
  intact(): boolean;
  /** The commands that make the perimeter, as `nft -f` would take them. */
  rules(): string;
}

/**
 * Makes the driver; nothing is touched before connect().
 *
 * @param probe finds out what the kernel can do; tests of what older kernels need pass their own
 * @throws {EnforcerError} for options that cannot be a perimeter.
 */
export function createNftables(
  options: NftablesOptions = {},
  probe: typeof probeKernel = probeKernel,
): NftablesEnforcer {
  const hooks = options.hooks ?? ["input"];
  const perimeter: PerimeterOptions = {
    table: options.table ?? "diaper",
    input: hooks.includes("input"),
    forward: hooks.includes("forward")
      ? { outside: options.outside ?? [], inside: options.inside ?? [] }
      : undefined,
    capacity: options.capacity ?? 1 << 20,
    priority: options.priority ?? 0,
    allowPing: options.allowPing ?? false,
    allowDhcp: options.allowDhcp ?? true,
    nat: new Translation(options.nat ?? {}),
  };
  checkOptions(perimeter);
  const ports = options.openPorts ?? [];
  ports.forEach(checkPort);
  return new Nftables(perimeter, ports, probe);
}

class Nftables implements NftablesEnforcer {
  readonly name = "nftables";
  readonly capabilities: EnforcerCapabilities;
  readonly #perimeter: PerimeterOptions;
  readonly #probe: typeof probeKernel;
  #ports: readonly OpenPort[];
  #handles: Handles | undefined;
  #writer: PinholeWriter | undefined;
  /** The rules as the kernel told them when they were made. */
  #rules = "";

  constructor(
    perimeter: PerimeterOptions,
    ports: readonly OpenPort[],
    probe: typeof probeKernel,
  ) {
    this.#perimeter = perimeter;
    this.#ports = ports;
    this.#probe = probe;
    this.capabilities = {
      atomic: true,
      counterAge: 0,
      capacity: perimeter.capacity,
      optimalBatch: 1000,
      ipv6: true,
      sourcePorts: true,
      portRanges: false,
      persistent: false,
      leases: true,
      nat: true,
    };
  }

  connect(): Promise<void> {
    return settle(() => {
      const handles = this.#handles ??= openHandles(this.#perimeter.table);
      try {
        this.#writer = new PinholeWriter(
          handles.transaction,
          this.#perimeter.table,
          this.#probe(handles, this.#perimeter.table),
          this.#perimeter.nat,
        );
        this.#makePerimeter(handles, this.#writer);
        this.#rules = handles.tables.rules(this.#perimeter.table);
      } catch (error) {
        this.#letGo();
        throw asEnforcerError(error);
      }
    });
  }

  apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    return settle(() => this.applyNow(batch));
  }

  applyNow(batch: readonly EnforcerChange[]): ChangeResult[] {
    const handles = this.#connected();
    const results = (this.#writer as PinholeWriter).apply(batch);
    for (let i = 0; i < results.length; i++) {
      const result = results[i] as ChangeResult;
      if (result.ok || result.reason !== "unknown") continue;
      // What became of it can be read back: an element is there or not.
      const change = batch[i] as EnforcerChange;
      const present = readCounters(handles.reader, [change.tuple])[0] !== undefined;
      if (present === (change.action === "open")) results[i] = { ok: true };
    }
    return results;
  }

  counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    return settle(() => readCounters(this.#connected().reader, tuples));
  }

  list(): Promise<ListedEntry[]> {
    return settle(() => {
      const { reader } = this.#connected();
      return PINHOLE_SETS.flatMap((set) => listSet(reader, set));
    });
  }

  inspect(): Promise<ListedEntry[]> {
    return settle(() => {
      const borrowed = this.#handles === undefined;
      const handles = this.#handles ?? openHandles(this.#perimeter.table);
      try {
        const shape = handles.tables.read(this.#perimeter.table);
        const sets = shape === undefined ? [] : pinholesKept(shape);
        return sets.flatMap((set) => listSet(handles.reader, set));
      } finally {
        if (borrowed) closeHandles(handles);
      }
    });
  }

  endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    return settle(() => {
      const { sockets, conntrack } = this.#connected();
      // Connection tracking knows a translated flow by the address that its first packet was sent to.
      const outer = tuples.flatMap((tuple) => this.#perimeter.nat.entryOf(tuple)?.outer ?? []);
      endConnections([...tuples, ...outer], { sockets, conntrack, local: this.#perimeter.input });
    });
  }

  plan(batch: readonly EnforcerChange[]): string {
    return planText(this.#perimeter.table, batch, this.#perimeter.nat);
  }

  check(batch: readonly EnforcerChange[]): Promise<string | undefined> {
    return settle(() => {
      const borrowed = this.#handles === undefined;
      const handles = this.#handles ?? openHandles(this.#perimeter.table);
      try {
        const there = handles.tables.read(this.#perimeter.table) !== undefined;
        const text = (there ? "" : this.rules()) + this.plan(batch);
        const result = handles.nft.run(text, { dryRun: true });
        return result.ok ? undefined : result.error;
      } finally {
        if (borrowed) closeHandles(handles);
      }
    });
  }

  close(): Promise<void> {
    return settle(() => this.#letGo());
  }

  remove(): Promise<void> {
    return settle(() => {
      const borrowed = this.#handles === undefined;
      const handles = this.#handles ?? openHandles(this.#perimeter.table);
      try {
        if (handles.tables.read(this.#perimeter.table) !== undefined) {
          run(handles.nft, `delete table inet ${this.#perimeter.table}`);
        }
      } finally {
        if (borrowed) closeHandles(handles);
      }
    });
  }

  setOpenPorts(ports: readonly OpenPort[]): void {
    ports.forEach(checkPort);
    setControlPorts(this.#connected(), ports);
    this.#ports = [...ports];
  }

  held(): number | undefined {
    const sets = this.#connected().tables.sets(this.#perimeter.table);
    let held = 0;
    for (const { name } of PINHOLE_SETS) {
      const count = sets.find((set) => set.name === name)?.count;
      if (count === undefined) return undefined;
      held += count;
    }
    return held;
  }

  statistics(): { readonly dropped: Counters; readonly invalid: Counters } {
    const objects = this.#connected().tables.objects(this.#perimeter.table);
    const read = (name: string): Counters => {
      const found = objects.find((object) => object.name === name);
      return { packets: found?.packets ?? 0, bytes: found?.bytes ?? 0 };
    };
    return { dropped: read("dropped"), invalid: read("invalid") };
  }

  intact(): boolean {
    const { tables, reader } = this.#connected();
    const shape = tables.read(this.#perimeter.table);
    return shape !== undefined && perimeterMatches(shape, this.#perimeter) &&
      tables.rules(this.#perimeter.table) === this.#rules &&
      controlPortsMatch(reader, this.#ports);
  }

  rules(): string {
    return `${creationText(this.#perimeter, this.#ports)}\n${rulesText(this.#perimeter, true)}\n`;
  }

  #makePerimeter(handles: Handles, writer: PinholeWriter): void {
    const { table } = this.#perimeter;
    const shape = handles.tables.read(table);
    if (shape === undefined) {
      run(handles.nft, this.rules());
    } else if (this.#perimeter.nat.empty && perimeterMatches(shape, this.#perimeter)) {
      run(handles.nft, rulesText(this.#perimeter, true));
      this.setOpenPorts(this.#ports);
    } else {
      this.#rebuild(handles, writer, shape);
    }
  }

  /**
   * Replaces a table that is not of our shape (another capacity, other hooks, foreign parts), or that
   * translates, maybe to other addresses than before, in one transaction, and puts its pinholes back. Those that do not fit any more are left to the caller's
   * next comparison with list().
   */
  #rebuild(handles: Handles, writer: PinholeWriter, shape: TableShape): void {
    const kept = pinholesKept(shape).flatMap((set) => listSet(handles.reader, set));
    run(
      handles.nft,
      [
        `delete table inet ${this.#perimeter.table}`,
        creationText(this.#perimeter, this.#ports),
        rulesText(this.#perimeter, false),
      ].join("\n"),
    );
    writer.apply(
      // A lease of 0 would be none: what ends this very moment is not put back.
      kept.filter(({ expires }) => expires !== 0).map(({ tuple, expires }, id) => ({
        action: "open",
        tuple,
        id,
        lease: expires ?? 0,
      })),
    );
    run(handles.nft, rulesText(this.#perimeter, true));
  }

  #connected(): Handles {
    if (this.#handles === undefined) {
      throw new EnforcerError("The nftables driver is not connected", "Call connect() first.");
    }
    return this.#handles;
  }

  #letGo(): void {
    if (this.#handles !== undefined) closeHandles(this.#handles);
    this.#handles = undefined;
    this.#writer = undefined;
  }
}

/** All work here is synchronous; errors become rejections all the same. */
function settle<T>(work: () => T): Promise<T> {
  try {
    return Promise.resolve(work());
  } catch (error) {
    return Promise.reject(error);
  }
}
