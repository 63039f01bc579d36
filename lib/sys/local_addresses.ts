/**
 * The addresses of this host.
 *
 * @module
 */
import { type IpAddress, ipKind, parseIp } from "../net/ip.ts";

/** Addresses come and go; an unknown one makes us look again, but not more often than this. */
const REFRESH_MS = 1000;

/** Knows which addresses are the host's own. */
export class LocalAddresses {
  #known = new Set<string>();
  #read = 0;

  constructor() {
    this.#refresh();
  }

  /** True when the address is one of this host's in this network namespace. */
  has(address: IpAddress): boolean {
    if (ipKind(address) === "loopback") return true;
    if (this.#known.has(address.text)) return true;
    const now = Date.now();
    // A clock that was set back makes us look once more than needed.
    if (now >= this.#read && now - this.#read < REFRESH_MS) return false;
    this.#refresh();
    return this.#known.has(address.text);
  }

  /** All addresses, as text. */
  all(): readonly string[] {
    this.#refresh();
    return [...this.#known];
  }

  #refresh(): void {
    this.#known = new Set(
      Deno.networkInterfaces().flatMap((i) => parseIp(i.address.split("%")[0] ?? "")?.text ?? []),
    );
    this.#read = Date.now();
  }
}
