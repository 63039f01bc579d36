/**
 * The addresses and ports of a connection's two ends.
 *
 * @module
 */
import { ipFromBytes } from "../../net/ip.ts";
import { type Packet, PROTOCOL, u32 } from "../../net/packet.ts";
import { flowId } from "../flow_id.ts";

/** One end, for people and scanners. */
export interface End {
  readonly address: string;
  readonly port: number;
}

/** Both ends, kept as bytes: most are never looked at. */
export class ConnectionEnds {
  /** Client's address, server's address. */
  readonly #bytes: Uint8Array;
  readonly #size: number;
  readonly #clientPort: number;
  readonly #serverPort: number;
  /** The addresses' last 32 bits, which of IPv4 are all. */
  readonly #client: number;
  readonly #server: number;

  constructor(p: Packet, fromClient: boolean) {
    const size = p.addressLength;
    const bytes = new Uint8Array(2 * size);
    const [client, server] = fromClient ? [0, size] : [size, 0];
    bytes.set(p.data.subarray(p.addresses, p.addresses + size), client);
    bytes.set(p.data.subarray(p.addresses + size, p.addresses + 2 * size), server);
    const [clientPort, serverPort] = fromClient
      ? [p.sourcePort, p.destinationPort]
      : [p.destinationPort, p.sourcePort];
    this.#bytes = bytes;
    this.#size = size;
    this.#clientPort = clientPort;
    this.#serverPort = serverPort;
    this.#client = u32(bytes, size - 4);
    this.#server = u32(bytes, 2 * size - 4);
  }

  /** Whether a packet is between these ends, in either direction. */
  are(p: Packet): boolean {
    const size = this.#size;
    if (p.addressLength !== size) return false;
    const source = u32(p.data, p.addresses + size - 4);
    const destination = u32(p.data, p.addresses + 2 * size - 4);
    const { sourcePort, destinationPort } = p;
    if (
      source === this.#client && destination === this.#server &&
      sourcePort === this.#clientPort && destinationPort === this.#serverPort
    ) return size === 4 || this.#match(p, 0, size);
    return source === this.#server && destination === this.#client &&
      sourcePort === this.#serverPort && destinationPort === this.#clientPort &&
      (size === 4 || this.#match(p, size, 0));
  }

  /** Whether a packet between these ends is the client's. */
  fromClient(p: Packet): boolean {
    if (this.#clientPort !== this.#serverPort) return p.sourcePort === this.#clientPort;
    return this.#match(p, 0, this.#size);
  }

  /** The client's port. */
  get clientPort(): number {
    return this.#clientPort;
  }

  /** The server's port. */
  get serverPort(): number {
    return this.#serverPort;
  }

  /** Both, as text. */
  endpoints(): { client: End; server: End } {
    const size = this.#size;
    const text = (at: number) => ipFromBytes(this.#bytes.subarray(at, at + size)).text;
    return {
      client: { address: text(0), port: this.clientPort },
      server: { address: text(size), port: this.serverPort },
    };
  }

  /** The fields that events of a connection have, with EVE's names. */
  fields(): Record<string, unknown> {
    const { client, server } = this.endpoints();
    const [a, b] = [`${client.address} ${client.port}`, `${server.address} ${server.port}`].sort();
    return {
      flow_id: flowId(`${PROTOCOL.TCP} ${a} ${b}`),
      src_ip: client.address,
      src_port: client.port,
      dest_ip: server.address,
      dest_port: server.port,
      proto: "TCP",
    };
  }

  #match(p: Packet, source: number, destination: number): boolean {
    const { data, addresses } = p;
    const size = this.#size;
    for (let i = 0; i < size; i++) {
      if (data[addresses + i] !== this.#bytes[source + i]) return false;
      if (data[addresses + size + i] !== this.#bytes[destination + i]) return false;
    }
    return true;
  }
}
