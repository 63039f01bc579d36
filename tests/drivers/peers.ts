/**
 * A lab with programs on its hosts that make traffic, and a driver.
 *
 * @module
 */
import type { NftablesOptions } from "../../drivers/nftables.ts";
import type { Host } from "../lab/host.ts";
import { Lab } from "../lab/lab.ts";
import { RemoteEnforcer, RemoteProgram } from "./remote.ts";

/** Milliseconds after which what did not come is taken for not coming. */
export const SOON = 400;
/** Milliseconds that something certain may take on a busy machine. */
export const SURELY = 10_000;

/** A program with sockets on a host. */
export class Peer {
  readonly host: Host;
  readonly #program: RemoteProgram;

  private constructor(host: Host, program: RemoteProgram) {
    this.host = host;
    this.#program = program;
  }

  /** Starts it. */
  static async start(host: Host): Promise<Peer> {
    return new Peer(host, await RemoteProgram.start(host, "peer_program.ts"));
  }

  /** Listens on a TCP port of all addresses. */
  async listen(name: string, port: number, address = "::"): Promise<void> {
    await this.#program.call("listen", name, address, port);
  }
  /** Takes a connection; its other end's port. */
  async accept(listener: string, name: string): Promise<number> {
    return await this.#program.call("accept", listener, name) as number;
  }
  /** Connects; the local port, or what came instead. */
  async connect(
    name: string,
    address: string,
    port: number,
    timeout = SURELY,
  ): Promise<number | "refused" | "unanswered"> {
    return await this.#program.call("connect", name, address, port, timeout) as number;
  }
  /** Sends on a connection. */
  async send(name: string, text: string): Promise<void> {
    await this.#program.call("send", name, text);
  }
  /** What comes on a connection: text, "" for its end, an error's name, or "nothing". */
  async receive(name: string, timeout = SURELY): Promise<string> {
    return await this.#program.call("receive", name, timeout) as string;
  }
  /** Closes a socket. */
  async close(name: string): Promise<void> {
    await this.#program.call("close", name);
  }
  /** Binds a UDP port of all addresses of the family. */
  async bind(name: string, port: number, address = "0.0.0.0"): Promise<void> {
    await this.#program.call("bind", name, address, port);
  }
  /** Sends datagrams. */
  async sendTo(
    name: string,
    text: string,
    address: string,
    port: number,
    count = 1,
  ): Promise<void> {
    await this.#program.call("sendTo", name, text, address, port, count);
  }
  /** Sends an echo request; true when it is answered. */
  async ping(address: string, timeout = SURELY): Promise<boolean> {
    return await this.#program.call("ping", address, timeout) as boolean;
  }
  /** What datagram comes, or "nothing". */
  async receiveFrom(name: string, timeout = SURELY): Promise<string> {
    return await this.#program.call("receiveFrom", name, timeout) as string;
  }
}

/** Two hosts outside, one inside, and the perimeter between. */
export interface Scene extends AsyncDisposable {
  readonly lab: Lab;
  readonly alice: Peer;
  readonly mallory: Peer;
  readonly server: Peer;
  readonly driver: RemoteEnforcer;
}

/** Builds it; the driver runs on the server, or on the router, and is connected. */
export async function scene(
  options: NftablesOptions,
  where: "server" | "perimeter" = "server",
  driverName = "nftables",
): Promise<Scene> {
  const lab = await Lab.create({
    outside: [
      { name: "alice", addresses: ["198.51.100.10", "2001:db8:1::10"] },
      { name: "mallory", addresses: ["203.0.113.66", "2001:db8:2::66"] },
    ],
    inside: [{ name: "server", addresses: ["192.0.2.10", "2001:db8:3::10"] }],
  });
  try {
    const [alice, mallory, server, driver] = await Promise.all([
      Peer.start(lab.host("alice")),
      Peer.start(lab.host("mallory")),
      Peer.start(lab.host("server")),
      RemoteEnforcer.startDriver(
        where === "server" ? lab.host("server") : lab.perimeter,
        driverName,
        options,
      ),
    ]);
    await driver.connect();
    const dispose = () => lab.close();
    return { lab, alice, mallory, server, driver, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await lab.close();
    throw error;
  }
}
