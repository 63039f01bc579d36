/**
 * The other end of a controller's SSH channel, for programs that say what they like there. Run on a host of a
 * lab.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { Client, SSH_ALGORITHMS } from "../../lib/sys/ssh.ts";
import type { ClientChannel } from "../../lib/sys/ssh2.d.ts";

/** How a controller of a lab is reached. */
export interface PeerOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** File with the private key. */
  readonly key: string;
}

/** A message as it came. */
export type Said = Record<string, unknown>;

/** One connection with the subsystem open. */
export class SshPeer {
  readonly #client: InstanceType<typeof Client>;
  readonly #channel: ClientChannel;
  readonly #waiting = new Map<string, (message: Said | undefined) => void>();
  readonly #ended = Promise.withResolvers<void>();
  #rest = "";
  #over = false;
  /** All that the controller said. */
  readonly said: Said[] = [];
  /** Called with each message. */
  onSaid: (message: Said) => void = () => {};

  private constructor(client: InstanceType<typeof Client>, channel: ClientChannel) {
    this.#client = client;
    this.#channel = channel;
    channel.on("data", (data: Buffer) => this.#read(data.toString()));
    const end = () => this.#end();
    for (const event of ["close", "error"] as const) channel.on(event, end);
    for (const event of ["close", "error"] as const) client.on(event, end);
  }

  /** Connects; the controller is that of a lab, so that its host key is not looked at. */
  static connect(options: PeerOptions): Promise<SshPeer> {
    const client = new Client();
    return new Promise((resolve, reject) => {
      client.on("error", reject);
      client.on("close", () => reject(new Error("closed before the subsystem was open")));
      client.on("ready", () => {
        client.subsys("diaper", (error, channel) => {
          if (error === undefined) resolve(new SshPeer(client, channel));
          else reject(error);
        });
      });
      client.connect({
        sock: connect({ host: options.host, port: options.port, noDelay: true }),
        username: options.user,
        privateKey: readFileSync(options.key, "utf8"),
        algorithms: SSH_ALGORITHMS,
        hostVerifier: () => true,
      });
    });
  }

  /** Says messages, a line each. */
  say(...messages: readonly unknown[]): void {
    this.raw(messages.map((m) => JSON.stringify(m) + "\n").join(""));
  }

  /** Sends whatever it is. */
  raw(data: string | Uint8Array): void {
    if (!this.#over) this.#channel.write(data);
  }

  /** The first message of a kind with a key that comes from now on; undefined when the connection ends. */
  answer(op: string, key = ""): Promise<Said | undefined> {
    if (this.#over) return Promise.resolve(undefined);
    return new Promise((resolve) => this.#waiting.set(`${op} ${key}`, resolve));
  }

  /** Settles when the connection is over. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Ends it. */
  end(): void {
    this.#client.end();
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const message = JSON.parse(line) as Said;
      this.said.push(message);
      this.onSaid(message);
      const name = `${message["op"]} ${message["key"] ?? ""}`;
      const waiting = this.#waiting.get(name);
      this.#waiting.delete(name);
      waiting?.(message);
    }
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#client.end();
    for (const waiting of this.#waiting.values()) waiting(undefined);
    this.#waiting.clear();
    this.#ended.resolve();
  }
}

/** A first message, of a broker of this name. */
export function hello(broker: string): Said {
  return { op: "hello", version: 1, broker, boot: broker, instance: broker };
}

/** A request that is understood. */
export function openRequest(
  broker: string,
  n: number,
  traffic: { readonly source: string; readonly destination: string },
): Said {
  return {
    ...{ op: "open", key: `${broker}.${n}`, proto: "tcp", source_port: 0, ...traffic },
    ...{ destination_port: 1024 + n % 60_000, user: "root", uid: 0, pid: 7 },
    ...{ program: "/usr/sbin/ftpd", cookie: String(n + 1) },
  };
}
