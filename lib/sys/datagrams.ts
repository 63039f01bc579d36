/**
 * Datagrams to one address, sent without ever waiting.
 *
 * @module
 */
import { parseIp } from "../net/ip.ts";
import { check, libc } from "./libc.ts";

const AF = { UNIX: 1, INET: 2, INET6: 10 } as const;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const DONTWAIT_NOSIGNAL = 0x40 | 0x4000;

/** Where datagrams go: a socket's path, or an address and port. */
export type DatagramTarget =
  | { readonly path: string }
  | { readonly host: string; readonly port: number };

/** Sends to one address. */
export class DatagramSender {
  readonly #fd: number;
  readonly #address: Uint8Array<ArrayBuffer>;

  /** @throws {TypeError} for a host that is no address. */
  constructor(target: DatagramTarget) {
    const { family, address } = socketAddress(target);
    this.#address = address;
    this.#fd = check("socket", libc.socket(family, SOCK_DGRAM_CLOEXEC, 0));
  }

  /** Sends one; false when nobody took it. */
  send(data: Uint8Array<ArrayBuffer>): boolean {
    const a = this.#address;
    return libc.sendto(this.#fd, data, data.length, DONTWAIT_NOSIGNAL, a, a.length) >= 0;
  }

  /** Lets go of the socket. */
  close(): void {
    libc.close(this.#fd);
  }
}

function socketAddress(
  target: DatagramTarget,
): { family: number; address: Uint8Array<ArrayBuffer> } {
  if ("path" in target) {
    const name = new TextEncoder().encode(target.path);
    if (name.length > 107) {
      throw new TypeError(`${target.path}: longer than a socket's path can be`);
    }
    const address = new Uint8Array(2 + name.length + 1);
    address[0] = AF.UNIX;
    address.set(name, 2);
    return { family: AF.UNIX, address };
  }
  const ip = parseIp(target.host);
  if (ip === undefined) throw new TypeError(`${target.host} is not an address`);
  const family = ip.family === 4 ? AF.INET : AF.INET6;
  const address = new Uint8Array(ip.family === 4 ? 16 : 28);
  address[0] = family;
  address[2] = target.port >> 8;
  address[3] = target.port & 0xff;
  address.set(ip.bytes, ip.family === 4 ? 4 : 8);
  return { family, address };
}
