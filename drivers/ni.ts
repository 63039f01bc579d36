/**
 * The NI as a perimeter (`--enforcer ni`): pinholes are entries of a hash map that an eBPF program at the NI's port to the host
 * looks up, so that it does not matter how many there are. The programs and maps hang on the interfaces and need no
 * process: after `kill -9` of the controller the perimeter is as it was. They work beside an NI kernel, and without
 * one.
 *
 * @module
 */
import { ipFromBytes } from "../lib/net/ip.ts";
import { readTupleKey, TUPLE_SIZE, tupleKeyBytes } from "../lib/net/ebpf_tuple.ts";
import { type FiveTuple, tupleText } from "../lib/pinhole/pinhole.ts";
import {
  createMap,
  deleteFromMap,
  loadClassifier,
  lookupMap,
  MAP_TYPE,
  type MapInfo,
  mapKeys,
  mapsOfProgram,
  NO_PREALLOC,
  ProgramRefused,
  tryUpdateMap,
  updateMap,
} from "../lib/sys/bpf.ts";
import { monotonicNanoseconds } from "../lib/sys/clock.ts";
import { readInterface } from "../lib/sys/interfaces.ts";
import { libc, SystemError } from "../lib/sys/libc.ts";
import { egressProgram, removeEgressProgram, setEgressProgram } from "../lib/sys/rtnetlink.ts";
import {
  type ChangeResult,
  type Counters,
  type Enforcer,
  type EnforcerCapabilities,
  type EnforcerChange,
  EnforcerError,
  type ListedEntry,
} from "./enforcer.ts";
import {
  BEGAN,
  COUNTER,
  FLOW_VALUE,
  type GateMaps,
  gateProgram,
  PINHOLE_VALUE,
  watchProgram,
} from "./ni_gate.ts";
import type { OpenPort } from "./nftables_rules.ts";
import { tupleProblem } from "./nftables_tuple.ts";

/** What the driver is made with. */
export interface NiOptions {
  /** The NI's interfaces to the host and to the network. */
  readonly host?: string | undefined;
  readonly net?: string | undefined;
  /** Pinholes for each address family. Default 262,144. */
  readonly capacity?: number | undefined;
  /** Control ports, open to all. */
  readonly openPorts?: readonly OpenPort[] | undefined;
  /** Let pings in. Default: no. */
  readonly allowPing?: boolean | undefined;
  /** Let answers of DHCP servers in. Default: no. */
  readonly allowDhcp?: boolean | undefined;
}

/** The NI as an enforcer, with what only it can do. */
export interface NiEnforcer extends Enforcer {
  /** Makes these the ports that are open to all, instead of those before. */
  setOpenPorts(ports: readonly OpenPort[]): void;
  intact(): boolean;
  inspect(): Promise<ListedEntry[]>;
  statistics(): { readonly dropped: Counters; readonly invalid: Counters };
}

const CAPACITY = 262_144;
const FLOWS = 131_072;
const FRAGMENTED = 4096;
const PORTS = 1024;
const NUMBERS = { tcp: 6, udp: 17 } as const;
const GATE = "diaper_gate";
const WATCH = "diaper_watch";

/** What each map is called in the kernel. */
const NAMES: Readonly<Record<keyof GateMaps, string>> = {
  ph4: "diaper_ph4",
  ph6: "diaper_ph6",
  flows: "diaper_flows",
  frags: "diaper_frags",
  ports: "diaper_ports",
  count: "diaper_count",
};

/** Makes the driver; nothing is touched before connect(). */
export function createNi(options: NiOptions = {}): NiEnforcer {
  return new Ni(options);
}

class Ni implements NiEnforcer {
  readonly name = "ni";
  readonly capabilities: EnforcerCapabilities;
  readonly #options: NiOptions;
  #ports: readonly OpenPort[];
  #maps: GateMaps | undefined;

  constructor(options: NiOptions) {
    this.#options = options;
    this.#ports = options.openPorts ?? [];
    this.capabilities = {
      atomic: false,
      counterAge: 0,
      capacity: options.capacity ?? CAPACITY,
      optimalBatch: 1000,
      ipv6: true,
      sourcePorts: true,
      portRanges: false,
      persistent: false,
      leases: true,
    };
  }

  connect(): Promise<void> {
    return settle(() => {
      const { host, net } = this.#interfaces();
      const { allowPing, allowDhcp } = this.#options;
      this.#letGo();
      const found = findMaps(host);
      const maps = keepOrMake(found, this.capabilities.capacity);
      try {
        writePorts(maps, this.#ports);
        attach(
          host,
          gateProgram(maps, { ping: allowPing === true, dhcp: allowDhcp === true }),
          GATE,
        );
        attach(net, watchProgram(maps), WATCH);
      } catch (error) {
        for (const fd of Object.values(maps)) libc.close(fd);
        if (!(error instanceof SystemError) && !(error instanceof ProgramRefused)) throw error;
        throw new EnforcerError(
          `The perimeter cannot be attached to the NI: ${error.message}`,
          "Run it as root, on a kernel with eBPF and clsact (Linux 5.8 or later).",
        );
      }
      this.#maps = maps;
    });
  }

  apply(batch: readonly EnforcerChange[]): Promise<ChangeResult[]> {
    return settle(() => {
      const maps = this.#connected();
      const now = monotonicNanoseconds();
      return batch.map((change) => this.#change(maps, change, now));
    });
  }

  counters(tuples: readonly FiveTuple[]): Promise<(Counters | undefined)[]> {
    return settle(() => {
      const maps = this.#connected();
      const now = monotonicNanoseconds();
      return tuples.map((tuple) => {
        if (tupleProblem(tuple) !== undefined) return undefined;
        const entry = read(mapOf(maps, tuple), keyOf(tuple));
        if (entry === undefined || hasEnded(entry.ends, now)) return undefined;
        return { packets: entry.packets, bytes: entry.bytes };
      });
    });
  }

  list(): Promise<ListedEntry[]> {
    return settle(() => listMaps(this.#connected(), true));
  }

  inspect(): Promise<ListedEntry[]> {
    return settle(() => {
      const { host } = this.#interfaces();
      const maps = findMaps(host);
      if (maps === undefined) return [];
      try {
        return listMaps(toMaps(maps) as GateMaps, false);
      } finally {
        for (const { fd } of maps) libc.close(fd);
      }
    });
  }

  endConnections(tuples: readonly FiveTuple[]): Promise<void> {
    return settle(() => {
      const { flows } = this.#connected();
      // A closed pinhole's flow has ended with the next packet; what is left would let its FIN in.
      const wide: FiveTuple[] = [];
      for (const tuple of tuples) {
        if (tupleProblem(tuple) !== undefined) continue;
        if (tuple.sourcePort === 0) wide.push(tuple);
        else forgetOutside(flows, keyOf(tuple));
      }
      if (wide.length === 0) return;
      const ended = new Set(wide.map((tuple) => keyOf(tuple).toHex()));
      for (const key of [...mapKeys(flows, TUPLE_SIZE)]) {
        const any = key.slice();
        any.fill(0, 34, 36);
        if (ended.has(any.toHex())) forgetOutside(flows, key);
      }
    });
  }

  setOpenPorts(ports: readonly OpenPort[]): void {
    this.#ports = ports;
    if (this.#maps !== undefined) writePorts(this.#maps, ports);
  }

  intact(): boolean {
    const { host, net } = this.#interfaces();
    return egressProgram(host) !== undefined && egressProgram(net) !== undefined;
  }

  statistics(): { readonly dropped: Counters; readonly invalid: Counters } {
    const { count } = this.#connected();
    return {
      dropped: readCounter(count, COUNTER.DROPPED),
      invalid: readCounter(count, COUNTER.INVALID),
    };
  }

  plan(batch: readonly EnforcerChange[]): string {
    return batch.map(({ action, tuple, lease }) => {
      const problem = tupleProblem(tuple);
      if (problem !== undefined) return `# refused: ${problem}\n`;
      const map = NAMES[tuple.source.family === 4 ? "ph4" : "ph6"];
      const ends = action === "open" && lease > 0 ? ` lease ${lease}` : "";
      return `${action === "open" ? "update" : "delete"} ${map} ${tupleText(tuple)}${ends}\n`;
    }).join("");
  }

  close(): Promise<void> {
    return settle(() => this.#letGo());
  }

  remove(): Promise<void> {
    return settle(() => {
      this.#letGo();
      const { host, net } = this.#interfaces();
      for (const index of [host, net]) removeEgressProgram(index);
    });
  }

  #change(maps: GateMaps, { action, tuple, lease }: EnforcerChange, now: bigint): ChangeResult {
    const problem = tupleProblem(tuple);
    if (problem !== undefined) return { ok: false, reason: "refused", message: problem };
    const map = mapOf(maps, tuple);
    const key = keyOf(tuple);
    if (action === "close") {
      deleteFromMap(map, key);
      return { ok: true };
    }
    const known = read(map, key);
    const value = new DataView(new ArrayBuffer(PINHOLE_VALUE));
    // A renewal keeps what was counted; one packet in between may be forgotten. A new lease counts anew.
    if (known !== undefined && !hasEnded(known.ends, now)) {
      value.setBigUint64(0, BigInt(known.packets), true);
      value.setBigUint64(8, BigInt(known.bytes), true);
    }
    value.setBigUint64(16, lease === 0 ? 0n : now + BigInt(Math.ceil(lease * 1e9)), true);
    const bytes = new Uint8Array(value.buffer);
    if (tryUpdateMap(map, key, bytes)) return { ok: true };
    if (removeEnded(map, now) > 0 && tryUpdateMap(map, key, bytes)) return { ok: true };
    return { ok: false, reason: "full", message: `no room for ${tupleText(tuple)}` };
  }

  #connected(): GateMaps {
    if (this.#maps !== undefined) return this.#maps;
    throw new EnforcerError("The NI driver is not connected", "Call connect() first.");
  }

  #letGo(): void {
    if (this.#maps === undefined) return;
    for (const fd of Object.values(this.#maps)) libc.close(fd);
    this.#maps = undefined;
  }

  /** Numbers of the two interfaces. */
  #interfaces(): { host: number; net: number } {
    const { host, net } = this.#options;
    if (host === undefined || net === undefined) {
      throw new EnforcerError(
        "The enforcer ni needs to know the NI's two interfaces",
        "Set host and net in the section enforcer of the configuration.",
      );
    }
    try {
      return { host: readInterface(host).index, net: readInterface(net).index };
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      throw new EnforcerError(error.message, "ip link shows the interfaces that there are.");
    }
  }
}

function attach(index: number, program: Uint8Array<ArrayBuffer>, name: string): void {
  const fd = loadClassifier(program, name);
  try {
    setEgressProgram(index, fd, name);
  } finally {
    // The filter keeps it.
    libc.close(fd);
  }
}

/** The maps of the gate at an interface; undefined when there is none of ours. */
function findMaps(index: number): MapInfo[] | undefined {
  const id = egressProgram(index);
  if (id === undefined) return undefined;
  const maps = mapsOfProgram(id);
  if (toMaps(maps) !== undefined) return maps;
  for (const { fd } of maps) libc.close(fd);
  throw new EnforcerError(
    "The NI's port to the host has a program at Diaper's place that is not Diaper's",
    "tc filter show dev IF egress shows it; tc filter del removes it.",
  );
}

function toMaps(found: readonly MapInfo[]): GateMaps | undefined {
  const pairs = Object.entries(NAMES).map(([field, name]) =>
    [field, found.find((map) => map.name === name)?.fd] as const
  );
  return pairs.some(([, fd]) => fd === undefined)
    ? undefined
    : Object.fromEntries(pairs) as unknown as GateMaps;
}

/** The maps that are there, where their size is right; those of another size are made anew with what fits. */
function keepOrMake(found: MapInfo[] | undefined, capacity: number): GateMaps {
  const old = found === undefined ? undefined : toMaps(found);
  const pinholes = (field: "ph4" | "ph6"): number => {
    const known = found?.find(({ name }) => name === NAMES[field]);
    if (known?.entries === capacity) return known.fd;
    const fd = createMap(MAP_TYPE.HASH, TUPLE_SIZE, PINHOLE_VALUE, capacity, {
      flags: NO_PREALLOC,
      name: NAMES[field],
    });
    if (known !== undefined) {
      const value = new Uint8Array(PINHOLE_VALUE);
      for (const key of mapKeys(known.fd, TUPLE_SIZE)) {
        if (lookupMap(known.fd, key, value) && !tryUpdateMap(fd, key, value)) break;
      }
      libc.close(known.fd);
    }
    return fd;
  };
  const [ph4, ph6] = [pinholes("ph4"), pinholes("ph6")];
  if (old !== undefined) return { ...old, ph4, ph6 };
  const make = (field: keyof GateMaps, type: number, key: number, value: number, most: number) =>
    createMap(type, key, value, most, { name: NAMES[field] });
  return {
    ph4,
    ph6,
    flows: make("flows", MAP_TYPE.LRU_HASH, TUPLE_SIZE, FLOW_VALUE, FLOWS),
    frags: make("frags", MAP_TYPE.LRU_HASH, TUPLE_SIZE, 8, FRAGMENTED),
    ports: make("ports", MAP_TYPE.HASH, 4, 8, PORTS),
    count: make("count", MAP_TYPE.ARRAY, 4, 16, 2),
  };
}

function writePorts({ ports }: GateMaps, wanted: readonly OpenPort[]): void {
  const keys = new Map(wanted.map(({ protocol, port }) => {
    // The protocol as the processor has it, the port as the frame does.
    const key = Uint8Array.of(NUMBERS[protocol], 0, port >> 8, port & 0xff);
    return [key.toHex(), key];
  }));
  for (const key of [...mapKeys(ports, 4)]) if (!keys.has(key.toHex())) deleteFromMap(ports, key);
  for (const key of keys.values()) updateMap(ports, key, new Uint8Array(8));
}

function mapOf(maps: GateMaps, tuple: FiveTuple): number {
  return tuple.source.family === 4 ? maps.ph4 : maps.ph6;
}

function keyOf(tuple: FiveTuple): Uint8Array<ArrayBuffer> {
  return tupleKeyBytes({
    inside: tuple.destination.bytes,
    outside: tuple.source.bytes,
    insidePort: tuple.destinationPort,
    outsidePort: tuple.sourcePort,
    protocol: NUMBERS[tuple.protocol],
    tag: 0,
  });
}

interface Entry extends Counters {
  readonly ends: bigint;
}

const VALUE = new DataView(new ArrayBuffer(PINHOLE_VALUE));
const VALUE_BYTES = new Uint8Array(VALUE.buffer);

function read(map: number, key: Uint8Array<ArrayBuffer>): Entry | undefined {
  if (!lookupMap(map, key, VALUE_BYTES)) return undefined;
  return {
    packets: Number(VALUE.getBigUint64(0, true)),
    bytes: Number(VALUE.getBigUint64(8, true)),
    ends: VALUE.getBigUint64(16, true),
  };
}

function hasEnded(ends: bigint, now: bigint): boolean {
  return ends !== 0n && ends <= now;
}

/** Takes out what the programs do not let in any more. @returns how many. */
function removeEnded(map: number, now: bigint): number {
  let removed = 0;
  for (const key of [...mapKeys(map, TUPLE_SIZE)]) {
    const entry = read(map, key);
    if (entry !== undefined && hasEnded(entry.ends, now) && deleteFromMap(map, key)) removed++;
  }
  return removed;
}

function listMaps(maps: GateMaps, tidy: boolean): ListedEntry[] {
  const now = monotonicNanoseconds();
  const entries: ListedEntry[] = [];
  for (const map of [maps.ph4, maps.ph6]) {
    for (const key of [...mapKeys(map, TUPLE_SIZE)]) {
      const entry = read(map, key);
      if (entry === undefined) continue;
      if (hasEnded(entry.ends, now)) {
        if (tidy) deleteFromMap(map, key);
        continue;
      }
      const { inside, outside, insidePort, outsidePort, protocol } = readTupleKey(key);
      entries.push({
        tuple: {
          protocol: protocol === NUMBERS.tcp ? "tcp" : "udp",
          source: ipFromBytes(outside),
          sourcePort: outsidePort,
          destination: ipFromBytes(inside),
          destinationPort: insidePort,
        },
        packets: entry.packets,
        bytes: entry.bytes,
        expires: entry.ends === 0n ? undefined : Number(entry.ends - now) / 1e9,
      });
    }
  }
  return entries;
}

function forgetOutside(flows: number, key: Uint8Array<ArrayBuffer>): void {
  const value = new DataView(new ArrayBuffer(FLOW_VALUE));
  if (!lookupMap(flows, key, new Uint8Array(value.buffer))) return;
  if (value.getBigUint64(0, true) === BigInt(BEGAN.OUTSIDE)) deleteFromMap(flows, key);
}

function readCounter(map: number, place: number): Counters {
  const key = Uint8Array.of(place, 0, 0, 0);
  const value = new DataView(new ArrayBuffer(16));
  lookupMap(map, key, new Uint8Array(value.buffer));
  return {
    packets: Number(value.getBigUint64(0, true)),
    bytes: Number(value.getBigUint64(8, true)),
  };
}

/** All work here is synchronous; errors become rejections all the same. */
function settle<T>(work: () => T): Promise<T> {
  try {
    return Promise.resolve(work());
  } catch (error) {
    return Promise.reject(error);
  }
}
