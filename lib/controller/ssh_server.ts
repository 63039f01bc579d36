/**
 * Remote authentication by the controller itself: an SSH server that lets known keys open one subsystem,
 * and nothing else. What comes through it goes to the data plane's socket, after a line that says who it
 * is from. Runs on the main thread.
 *
 * @module
 */
import { connect } from "node:net";
import { SUBSYSTEM } from "../broker/remote_protocol.ts";
import { parseIp, unmapIp } from "../net/ip.ts";
import type { ServerChannel } from "../sys/ssh2.d.ts";
import { KeyedSshServer } from "../sys/ssh_server.ts";
import { type AuthorizedKey, mayComeFrom } from "./authorized_keys.ts";

/** What the server is made with. */
export interface SshServerOptions {
  /** Private host key, as text. */
  readonly hostKey: string;
  readonly keys: readonly AuthorizedKey[];
  /** Path of the data plane's socket. */
  readonly socket: string;
  readonly log: (level: "info" | "warning" | "error", text: string) => void;
}

/** The embedded SSH server. */
export class SshServer {
  readonly #options: SshServerOptions;
  readonly #server: KeyedSshServer<AuthorizedKey>;
  #keys: ReadonlyMap<string, AuthorizedKey>;

  constructor(options: SshServerOptions) {
    this.#options = options;
    this.#keys = byKey(options.keys);
    this.#server = new KeyedSshServer({
      hostKey: options.hostKey,
      subsystem: SUBSYSTEM,
      know: (text, address) => {
        const key = this.#keys.get(text);
        const ip = parseIp(address);
        return key !== undefined && ip !== undefined && mayComeFrom(key, unmapIp(ip))
          ? key
          : undefined;
      },
      serve: (channel, { delegate }, address, end) => this.#join(channel, delegate, address, end),
    });
  }

  /**
   * Listens at an address.
   *
   * @returns the port.
   * @throws {Error} when that address or port cannot be had.
   */
  listen(host: string, port: number): Promise<number> {
    return this.#server.listen(host, port);
  }

  /** Takes other keys from now on; connections of keys that are gone are ended. */
  setKeys(keys: readonly AuthorizedKey[]): void {
    this.#keys = byKey(keys);
    this.#server.check((before, now) => before.delegate === now.delegate);
  }

  /** Ends everything. */
  close(): void {
    this.#server.close();
  }

  #join(channel: ServerChannel, delegate: string, address: string, endConnection: () => void) {
    const socket = connect(this.#options.socket);
    const first = { op: "session", delegate, via: "ssh", peer: address };
    socket.write(JSON.stringify(first) + "\n");
    channel.pipe(socket);
    socket.pipe(channel);
    const end = () => {
      socket.destroy();
      endConnection();
    };
    channel.on("error", end);
    channel.on("close", end);
    socket.on("close", end);
    socket.on("error", (error) => {
      this.#options.log("error", `the data plane does not take a session: ${error.message}`);
    });
  }
}

function byKey(keys: readonly AuthorizedKey[]): Map<string, AuthorizedKey> {
  return new Map(keys.map((k) => [k.key, k]));
}
