/**
 * Who reads which connection: what scanners subscribed to and the administrator allows, and what is reconstructed for its own
 * sake.
 *
 * @module
 */
import { parseIp } from "../net/ip.ts";
import { type Packet, PROTOCOL, TCP } from "../net/packet.ts";
import type { Direction } from "./frame.ts";
import type { FrameFilter, Grant, RightsChecker, ScannerRights } from "./rights.ts";
import { put16 } from "./stream/segment_writer.ts";
import type { ConnectionFacts, StreamReader } from "./stream/subscriber.ts";
import type { Interest, StreamPolicy } from "./stream/table.ts";

/** A scanner, as far as streams are concerned. */
export interface StreamScanner {
  readonly name: string;
  rights(): ScannerRights;
  checker(): RightsChecker;
  /** What it asked for and got, now or before it went away. */
  grants(): readonly Grant[];
  /** Its process is not there. */
  down(): boolean;
  /** A reader for a connection. */
  open(facts: ConnectionFacts, subscriptions: number, contain: boolean): StreamReader;
  /** It has not decided for too long. */
  late(): void;
}

/** The policy. */
export class StreamsOfScanners implements StreamPolicy {
  #scanners: readonly StreamScanner[] = [];
  readonly #reconstruct: readonly FrameFilter[];
  readonly #files: ((facts: ConnectionFacts) => StreamReader) | undefined;
  readonly #ports = new Uint8Array(65_536);
  readonly #probe = new ProbePacket();
  readonly #owners = new WeakMap<StreamReader, StreamScanner>();
  #active = false;

  /**
   * @param reconstruct filters of connections that are put together though nobody asks for them.
   * @param files makes a reader for each of these.
   */
  constructor(
    reconstruct: readonly FrameFilter[],
    files: ((facts: ConnectionFacts) => StreamReader) | undefined,
  ) {
    this.#reconstruct = reconstruct;
    this.#files = files;
    this.refresh();
  }

  /** From now on these are asked; connections that others read are read on by them. */
  setScanners(scanners: readonly StreamScanner[]): void {
    this.#scanners = scanners;
  }

  /** Some connections may be wanted. */
  get isActive(): boolean {
    return this.#active;
  }

  /** To be called when scanners came, went or subscribed. */
  refresh(): void {
    const ports = this.#ports.fill(
      this.#reconstruct.length > 0 || this.#files !== undefined ? 1 : 0,
    );
    for (const scanner of this.#scanners) {
      const grants = scanner.grants();
      // Before it has said what it wants, everything that it may contain meets `on_failure`.
      if (grants.length === 0 && scanner.checker().containStreams.length > 0) ports.fill(1);
      for (const { streams } of grants.filter((grant) => grant.right !== undefined)) {
        if (streams?.ports.length === 0) ports.fill(1);
        for (const [first, last] of streams?.ports ?? []) ports.fill(1, first, last + 1);
      }
    }
    this.#active = ports.includes(1);
  }

  /** As {@link StreamPolicy.mayContain}. */
  get mayContain(): boolean {
    return this.#scanners.some((scanner) => scanner.checker().containStreams.length > 0);
  }

  /** As {@link StreamPolicy.wants}. */
  wants(port: number): boolean {
    return this.#ports[port] === 1;
  }

  /** As {@link StreamPolicy.interest}. */
  interest(
    p: Packet,
    clientPort: number,
    serverPort: number,
    client: Direction,
    clientFirst: boolean,
  ): Interest {
    this.#probe.set(p, clientPort, serverPort, clientFirst);
    let interest: Interest = this.#files !== undefined || this.#probe.matches(this.#reconstruct)
      ? "read"
      : "none";
    for (const scanner of this.#scanners) {
      const wanted = this.#wanted(scanner, serverPort, client);
      if (wanted === undefined) continue;
      if (wanted.contain && wanted.down) {
        if (scanner.rights().onFailure === "closed") return "refuse";
        continue;
      }
      if (wanted.contain) interest = "contain";
      else if (interest === "none") interest = "read";
    }
    return interest;
  }

  /** As {@link StreamPolicy.readers}. */
  readers(facts: ConnectionFacts): readonly StreamReader[] | undefined {
    const readers: StreamReader[] = [];
    this.#probe.setFacts(facts);
    const file = this.#files?.(facts);
    if (file !== undefined) readers.push(file);
    for (const scanner of this.#scanners) {
      const wanted = this.#wanted(scanner, facts.server.port, facts.clientDirection);
      if (wanted === undefined) continue;
      const reader = wanted.down
        ? undefined
        : scanner.open(facts, wanted.subscriptions, wanted.contain);
      if (reader !== undefined) {
        this.#owners.set(reader, scanner);
        readers.push(reader);
      } else if (wanted.contain && scanner.rights().onFailure === "closed") return undefined;
    }
    return readers;
  }

  /** As {@link StreamPolicy.late}. */
  late(reader: StreamReader): void {
    this.#owners.get(reader)?.late();
  }

  #wanted(
    scanner: StreamScanner,
    serverPort: number,
    client: Direction,
  ): { subscriptions: number; contain: boolean; down: boolean } | undefined {
    const granted = scanner.grants();
    if (granted.length === 0) {
      return this.#probe.matches(scanner.checker().containStreams)
        ? { subscriptions: 0, contain: true, down: true }
        : undefined;
    }
    let subscriptions = 0;
    let contain = false;
    for (const [i, grant] of granted.entries()) {
      if (grant.right === undefined || grant.streams === undefined) continue;
      const { ports, opener } = grant.streams;
      const opened = client === "from-host" ? "host" : "net";
      if (opener !== "either" && opener !== opened) continue;
      if (ports.length > 0 && !ports.some(([a, b]) => a <= serverPort && serverPort <= b)) continue;
      if (!this.#probe.matches(grant.within)) continue;
      subscriptions |= 1 << i;
      contain ||= grant.right === "contain";
    }
    return subscriptions === 0 ? undefined : { subscriptions, contain, down: scanner.down() };
  }
}

/** A packet from a connection's client to its server, made up so that filters can be asked about it. */
class ProbePacket {
  readonly #data = new Uint8Array(14 + 40 + 20);
  #end = 0;

  set(p: Packet, clientPort: number, serverPort: number, fromClient: boolean): void {
    const size = p.addressLength;
    const first = p.data.subarray(p.addresses, p.addresses + size);
    const second = p.data.subarray(p.addresses + size, p.addresses + 2 * size);
    const [client, server] = fromClient ? [first, second] : [second, first];
    this.#write(client, server, clientPort, serverPort);
  }

  setFacts({ client, server }: ConnectionFacts): void {
    const bytes = (text: string) => Uint8Array.from(parseIp(text)?.bytes ?? []);
    this.#write(bytes(client.address), bytes(server.address), client.port, server.port);
  }

  matches(filters: readonly FrameFilter[]): boolean {
    return filters.some(({ match }) => match(this.#data, 0, this.#end, this.#end, -1) !== 0);
  }

  #write(client: Uint8Array, server: Uint8Array, clientPort: number, serverPort: number): void {
    const data = this.#data.fill(0);
    const ipv4 = client.length === 4;
    const tcp = ipv4 ? 34 : 54;
    put16(data, 12, ipv4 ? 0x0800 : 0x86dd);
    data[14] = ipv4 ? 0x45 : 0x60;
    if (ipv4) put16(data, 16, 40);
    else put16(data, 18, 20);
    data[ipv4 ? 22 : 21] = 64;
    data[ipv4 ? 23 : 20] = PROTOCOL.TCP;
    data.set(client, ipv4 ? 26 : 22);
    data.set(server, ipv4 ? 30 : 38);
    put16(data, tcp, clientPort);
    put16(data, tcp + 2, serverPort);
    data[tcp + 12] = 0x50;
    data[tcp + 13] = TCP.SYN;
    this.#end = tcp + 20;
  }
}
