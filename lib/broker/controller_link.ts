/**
 * The way to the controllers: an SSH connection to the first that answers and serves, kept as long as it
 * lasts, and then to the next. Runs on the main thread; the data plane gets one end of a socket pair.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { Socket } from "node:net";
import { libc } from "../sys/libc.ts";
import type { ClientChannel } from "../sys/ssh2.d.ts";
import { openSubsystem } from "../sys/ssh_client.ts";
import { unixPair } from "../sys/unix_socket.ts";
import { type ControllerAddress, controllerName } from "./known_controllers.ts";
import { SUBSYSTEM } from "./remote_protocol.ts";

/** What a link is made with. */
export interface LinkOptions {
  /** In the order in which they are tried. */
  readonly controllers: readonly ControllerAddress[];
  readonly user: string;
  /** Private key, as text. */
  readonly privateKey: string;
  /** Pinned host keys as base64, by {@link controllerName}. */
  readonly pins: ReadonlyMap<string, ReadonlySet<string>>;
  /** Takes over the data plane's end of a connection to a controller. */
  readonly connected: (fd: number, controller: string) => void;
  readonly log: (level: "info" | "warning" | "error", text: string) => void;
}

/** Milliseconds that one controller has to answer before the next is tried. */
const CONNECT_MS = 2000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 5000;
/** A connection that lasted so long was a good one. */
const GOOD_MS = 10_000;

/** Keeps one connection, in the name of one remote delegate. */
export class ControllerLink {
  readonly #options: LinkOptions;
  #stopping = false;
  #wake: (() => void) | undefined;
  #end: (() => void) | undefined;
  /** The last failure of each controller, so that the same is said once. */
  readonly #said = new Map<string, string>();

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /** Connects again and again until {@link stop}. */
  async run(): Promise<void> {
    const { controllers } = this.#options;
    let failures = 0;
    for (let next = 0; !this.#stopping; next++) {
      const address = controllers[next % controllers.length] as ControllerAddress;
      const since = Date.now();
      const why = await this.#serve(address);
      if (this.#stopping) return;
      const name = controllerName(address);
      if (this.#said.get(name) !== why) this.#options.log("warning", `controller ${name}: ${why}`);
      this.#said.set(name, why);
      if (Date.now() - since >= GOOD_MS) failures = 0;
      else failures++;
      // All are tried once without waiting; then with more and more time between.
      const rounds = Math.floor(failures / controllers.length);
      await this.#pause(
        rounds === 0 ? 0 : Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(rounds, 10)),
      );
    }
  }

  /** Ends the connection and {@link run}. */
  stop(): void {
    this.#stopping = true;
    this.#wake?.();
    this.#end?.();
  }

  /** Serves one connection to its end; returns why it ended. */
  #serve(address: ControllerAddress): Promise<string> {
    const name = controllerName(address);
    const pins = this.#options.pins.get(name);
    if (pins === undefined) {
      return Promise.resolve("its host key is not known; run diaper enroll");
    }
    return new Promise((resolve) => {
      this.#end = openSubsystem({
        ...address,
        user: this.#options.user,
        privateKey: this.#options.privateKey,
        pins,
        subsystem: SUBSYSTEM,
        timeout: CONNECT_MS,
      }, {
        open: (channel, end) => {
          this.#said.delete(name);
          this.#join(channel, name, end);
        },
        ended: (why) => {
          this.#end = undefined;
          resolve(why);
        },
      });
    });
  }

  #join(
    channel: ClientChannel,
    name: string,
    end: (why?: string) => void,
  ): void {
    const [ours, theirs] = unixPair("stream");
    const socket = new Socket({ fd: ours, readable: true, writable: true });
    channel.pipe(socket);
    socket.pipe(channel);
    channel.stderr.on("data", (text: Buffer) => {
      this.#options.log("warning", `controller ${name}: ${text.toString().trim().slice(0, 300)}`);
    });
    channel.on("error", (error: Error) => end(error.message));
    channel.on("close", () => {
      socket.destroy();
      end();
    });
    socket.on("error", () => {}); // the data plane's end is gone: "close" follows
    socket.on("close", () => end());
    if (this.#stopping) {
      libc.close(theirs);
      return end();
    }
    this.#options.connected(theirs, name);
  }

  #pause(ms: number): Promise<void> {
    if (this.#stopping || ms === 0) return Promise.resolve();
    return new Promise((resolve) => {
      // Brokers that lost the same controller do not come back all at once.
      const timer = setTimeout(resolve, ms * (0.5 + Math.random() / 2));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
