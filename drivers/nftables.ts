/**
 * The nftables driver: this host, or the networks behind it, guarded by a table of our own in the
 * kernel. No process is started and no text is parsed for a pinhole: elements and counters go over
 * netlink; libnftables makes only the table, its chains and its rules.
 *
 * @module
 */
import { type FiveTuple, tupleKey } from "../lib/pinhole/pinhole.ts";
import { Conntrack } from "../lib/sys/conntrack.ts";
import { E, SystemError } from "../lib/sys/libc.ts";
import { Libnftables } from "../lib/sys/libnftables.ts";
import { NetlinkError } from "../lib/sys/netlink.ts";
import { ElementTransaction } from "../lib/sys/nftables_elements.ts";
import { ElementReader } from "../lib/sys/nftables_reader.ts";
import { TableReader, type TableShape } from "../lib/sys/nftables_table.ts";
import { SockDiag } from "../lib/sys/sock_diag.ts";
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
import { PinholeWriter } from "./nftables_pinholes.ts";
import { probeKernel } from "./nftables_probe.ts";
import {
  checkOptions,
  checkPort,
  CONTROL_SETS,
  creationText,
  type OpenPort,
  type PerimeterOptions,
  rulesText,
} from "./nftables_rules.ts";
import { perimeterMatches, pinholesKept } from "./nftables_shape.ts";
import {
  PINHOLE_SETS,
  type PinholeSet,
  portWord,
  readKey,
  setOf,
  tupleProblem,
  writeKey,
} from "./nftables_tuple.ts";

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
}

/** The nftables enforcer, with what only it can do. */
export interface NftablesEnforcer extends Enforcer {
  /** Makes these the ports that are open to all, instead of those before, in one transaction. */
  setOpenPorts(ports: readonly OpenPort[]): void;
  /** Packets that the perimeter did not let in since the table was made. */
  statistics(): { readonly dropped: Counters; readonly invalid: Counters };
  /**
   * False when somebody else changed or removed our table's sets or chains; rules are not compared.
   * Then {@link Enforcer.connect} makes it right again.
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
  };
  checkOptions(perimeter);
  const ports = options.openPorts ?? [];
  ports.forEach(checkPort);
  return new Nftables(perimeter, ports, probe);
}

/** Everything that is held open while connected. */
interface Handles {
  readonly nft: Libnftables;
  readonly tables: TableReader;
  readonly transaction: ElementTransaction;
  readonly reader: ElementReader;
  readonly conntrack: Conntrack;
  readonly sockets: SockDiag;
}

class Nftables implements NftablesEnforcer {
  readonly name = "nftables";
  readonly capabilities: EnforcerCapabilities;
  readonly #perimeter: PerimeterOptions;
  readonly #probe: typeof probeKernel;
  #ports: readonly OpenPort[];
  #handles: Handles | undefined;
  #writer: PinholeWriter | undefined;

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
      persistent: false,
      leases: true,
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
        );
        this.#makePerimeter(handles, this.#writer);
      } catch (error) {
        this.#letGo();
        throw asEnforcerError(error);
      }
    });
  }

  apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    return settle(() => {
      const handles = this.#connected();
      const results = (this.#writer as PinholeWriter).apply(batch);
      for (let i = 0; i < results.length; i++) {
        const result = results[i] as ChangeResult;
        if (result.ok || result.reason !== "unknown") continue;
        // What became of it can be read back: an element is there or not.
        const change = batch[i] as EnforcerChange;
        let present = false;
        handles.reader.read(
          setOf(change.tuple),
          1,
          (_, words, at) => writeKey(change.tuple, words, at),
          () => present = true,
        );
        if (present === (change.action === "open")) results[i] = { ok: true };
      }
      return results;
    });
  }

  counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    return settle(() => {
      const { reader } = this.#connected();
      const results = new Array<Counters | undefined>(tuples.length).fill(undefined);
      for (const [set, members] of bySet(tuples)) {
        reader.read(
          set,
          members.length,
          (i, words, at) => writeKey(tuples[members[i] as number] as FiveTuple, words, at),
          (i, state) => {
            results[members[i] as number] = { packets: state.packets, bytes: state.bytes };
          },
        );
      }
      return results;
    });
  }

  list(): Promise<ListedEntry[]> {
    return settle(() => {
      const { reader } = this.#connected();
      return PINHOLE_SETS.flatMap((set) => listSet(reader, set));
    });
  }

  endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    return settle(() => {
      const { sockets, conntrack } = this.#connected();
      endConnections(tuples, { sockets, conntrack, local: this.#perimeter.input });
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
    const { transaction, reader } = this.#connected();
    transaction.begin();
    for (const set of CONTROL_SETS) {
      const wanted = new Set(ports.filter((p) => p.protocol === set.protocol).map((p) => p.port));
      const open = new Set<number>();
      reader.dump(set, (view, key) => open.add(view.getUint16(key)));
      const step = (action: "add" | "delete", port: number) => {
        const at = transaction.step(action, set, 0);
        if (at < 0) throw new RangeError(`Cannot open ${ports.length} control ports at once`);
        transaction.words[at] = portWord(port);
      };
      for (const port of open) if (!wanted.has(port)) step("delete", port);
      for (const port of wanted) if (!open.has(port)) step("add", port);
    }
    const failure = transaction.commit();
    if (failure !== undefined) {
      throw new EnforcerError(
        new NetlinkError("Cannot set the control ports", failure.code, failure.text, -1).message,
        "Make the perimeter anew: restart the controller.",
      );
    }
    this.#ports = [...ports];
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
    const shape = this.#connected().tables.read(this.#perimeter.table);
    return shape !== undefined && perimeterMatches(shape, this.#perimeter);
  }

  rules(): string {
    return `${creationText(this.#perimeter, this.#ports)}\n${rulesText(this.#perimeter, true)}\n`;
  }

  #makePerimeter(handles: Handles, writer: PinholeWriter): void {
    const { table } = this.#perimeter;
    const shape = handles.tables.read(table);
    if (shape === undefined) {
      run(handles.nft, this.rules());
    } else if (perimeterMatches(shape, this.#perimeter)) {
      run(handles.nft, rulesText(this.#perimeter, true));
      this.setOpenPorts(this.#ports);
    } else {
      this.#rebuild(handles, writer, shape);
    }
  }

  /**
   * Replaces a table that is not of our shape (another capacity, other hooks, foreign parts) in one
   * transaction, and puts its pinholes back. Those that do not fit any more are left to the caller's
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
      kept.map((entry, id) => ({
        action: "open",
        tuple: entry.tuple,
        id,
        lease: entry.expires ?? 0,
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

function listSet(reader: ElementReader, set: PinholeSet): ListedEntry[] {
  // A set that changes while it is read can show an element twice.
  const found = new Map<string, ListedEntry>();
  reader.dump(set, (view, key, state) => {
    const tuple = readKey(set, view, key);
    if (tuple === undefined) return;
    found.set(tupleKey(tuple), {
      tuple,
      packets: state.packets,
      bytes: state.bytes,
      expires: state.expires < 0 ? undefined : state.expires / 1000,
    });
  });
  return [...found.values()];
}

/** The numbers of the tuples for each set; impossible tuples are in none. */
function bySet(tuples: readonly FiveTuple[]): Map<PinholeSet, number[]> {
  const sets = new Map<PinholeSet, number[]>();
  tuples.forEach((tuple, i) => {
    if (tupleProblem(tuple) !== undefined) return;
    const set = setOf(tuple);
    const members = sets.get(set);
    if (members === undefined) sets.set(set, [i]);
    else members.push(i);
  });
  return sets;
}

function openHandles(table: string): Handles {
  const made: { close(): void }[] = [];
  const keep = <T extends { close(): void }>(thing: T): T => {
    made.push(thing);
    return thing;
  };
  try {
    return {
      nft: keep(new Libnftables()),
      tables: keep(new TableReader()),
      transaction: keep(new ElementTransaction(table)),
      reader: keep(new ElementReader(table)),
      conntrack: keep(new Conntrack()),
      sockets: keep(new SockDiag()),
    };
  } catch (error) {
    for (const thing of made) thing.close();
    throw asEnforcerError(error);
  }
}

function closeHandles(handles: Handles): void {
  for (const thing of Object.values(handles) as { close(): void }[]) thing.close();
}

function run(nft: Libnftables, commands: string): void {
  const result = nft.run(commands);
  if (result.ok) return;
  throw new EnforcerError(
    `nftables refused the perimeter: ${result.error}`,
    "The kernel needs nf_tables with concatenated sets and conntrack (Linux 5.10 or later); " +
      "`diaper doctor` says what is missing.",
  );
}

function asEnforcerError(error: unknown): unknown {
  if (error instanceof EnforcerError || !(error instanceof Error)) return error;
  if (error.name === "LibnftablesMissing") {
    return new EnforcerError(
      error.message,
      "Install libnftables (Debian: apt install libnftables1).",
    );
  }
  const code = error instanceof NetlinkError || error instanceof SystemError ? error.code : 0;
  if (code === E.PERM || code === E.ACCES) {
    return new EnforcerError(
      `Not permitted to change the packet filter: ${error.message}`,
      "Run as root, or with the capability CAP_NET_ADMIN.",
    );
  }
  if (code === 0) return error;
  return new EnforcerError(
    `The kernel cannot be a perimeter: ${error.message}`,
    "Load the modules nf_tables and nf_conntrack_netlink (modprobe), or use a kernel that has them.",
  );
}

/** All work here is synchronous; errors become rejections all the same. */
function settle<T>(work: () => T): Promise<T> {
  try {
    return Promise.resolve(work());
  } catch (error) {
    return Promise.reject(error);
  }
}
