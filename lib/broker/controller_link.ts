/**
 * The way to the controllers: an SSH connection to the first that answers and serves, kept as long as it
 * lasts, and then to another. Runs on the main thread; the data plane gets one end of a socket pair.
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

/** Milliseconds that a controller has to answer. */
const CONNECT_MS = 2000;
/** Milliseconds after which the next controller is tried as well: one that is cut off says nothing at all. */
const STAGGER_MS = 250;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 5000;
/** Longest pause at the beginning, and after a connection that lasted: a controller may be taking over. */
const SHORT_PAUSE_MS = 200;
const SHORT_FOR_MS = 15_000;
/** A connection that lasted so long was a good one. */
const GOOD_MS = 1000;

/** A connection whose subsystem is open. */
interface Way {
  readonly name: string;
  readonly channel: ClientChannel;
  /** Ends it, and says why. */
  readonly end: (why?: string) => void;
  /** Why it ended, once it has. */
  readonly ended: Promise<string>;
}

/** One try to reach a controller. */
interface Attempt {
  readonly name: string;
  /** The way, or why there is none. */
  readonly result: Promise<Way | string>;
  readonly end: () => void;
}

/** Keeps one connection, in the name of one remote delegate. */
export class ControllerLink {
  readonly #options: LinkOptions;
  #stopping = false;
  #wake: (() => void) | undefined;
  readonly #attempts = new Set<Attempt>();
  /** What becomes of attempts, by the names of controllers. */
  readonly #pending = new Map<string, Promise<{ name: string; result: Way | string }>>();
  /** The last failure of each controller, so that the same is said once. */
  readonly #said = new Map<string, string>();
  /** The controller to begin with. */
  #next = 0;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /** Connects again and again until {@link stop}. */
  async run(): Promise<void> {
    let failures = 0;
    // Who has just begun is like one that has just lost a controller: hosts start when sites do.
    let lostAt = performance.now();
    while (!this.#stopping) {
      const since = performance.now();
      const way = await this.#first();
      if (way !== undefined) {
        this.#said.delete(way.name);
        this.#join(way);
        const why = await way.ended;
        if (this.#stopping) return;
        this.#say(way.name, why);
        if (performance.now() - since >= GOOD_MS) {
          failures = 0;
          lostAt = performance.now();
          continue;
        }
      }
      failures++;
      const most = performance.now() - lostAt < SHORT_FOR_MS ? SHORT_PAUSE_MS : LONGEST_PAUSE_MS;
      await this.#pause(Math.min(most, FIRST_PAUSE_MS * 2 ** Math.min(failures, 10)));
    }
  }

  /** Ends the connection and {@link run}. */
  stop(): void {
    this.#stopping = true;
    this.#wake?.();
    for (const attempt of this.#attempts) attempt.end();
  }

  /** The first controller that serves, all of them tried once; undefined when none does. */
  async #first(): Promise<Way | undefined> {
    const { controllers } = this.#options;
    let found: Way | undefined;
    for (let tried = 0; found === undefined && !this.#stopping;) {
      const last = tried === controllers.length;
      if (!last) {
        const address = controllers[(this.#next + tried++) % controllers.length];
        this.#try(address as ControllerAddress);
      } else if (this.#pending.size === 0) break;
      const settled = await within(Promise.race(this.#pending.values()), STAGGER_MS);
      if (settled === undefined) {
        // One that is cut off may still come; meanwhile another may have begun to serve.
        if (last) break;
        continue;
      }
      const { name, result } = settled;
      this.#pending.delete(name);
      if (typeof result === "string") this.#say(name, result);
      else found = result;
    }
    if (found === undefined) return undefined;
    this.#pending.clear();
    for (const attempt of this.#attempts) if (attempt.name !== found.name) attempt.end();
    // After this one the next is tried first.
    const at = controllers.findIndex((c) => controllerName(c) === found.name);
    this.#next = (at + 1) % controllers.length;
    if (!this.#stopping) return found;
    found.end();
    return undefined;
  }

  /** Begins an attempt, unless one is under way. */
  #try(address: ControllerAddress): void {
    const name = controllerName(address);
    if (this.#pending.has(name)) return;
    const attempt = this.#attempt(address);
    this.#pending.set(name, attempt.result.then((result) => ({ name, result })));
  }

  #say(name: string, why: string): void {
    if (this.#stopping) return;
    if (this.#said.get(name) !== why) this.#options.log("warning", `controller ${name}: ${why}`);
    this.#said.set(name, why);
  }

  /** Connects, proves who we are and opens the subsystem. */
  #attempt(address: ControllerAddress): Attempt {
    const name = controllerName(address);
    const pins = this.#options.pins.get(name);
    if (pins === undefined) {
      const why = "its host key is not known; run diaper enroll";
      return { name, result: Promise.resolve(why), end: () => {} };
    }
    const over = Promise.withResolvers<string>();
    const result = Promise.withResolvers<Way | string>();
    const end = openSubsystem({
      ...address,
      user: this.#options.user,
      privateKey: this.#options.privateKey,
      pins,
      subsystem: SUBSYSTEM,
      timeout: CONNECT_MS,
    }, {
      open: (channel, end) => result.resolve({ name, channel, end, ended: over.promise }),
      ended: (why) => {
        this.#attempts.delete(attempt);
        over.resolve(why);
        result.resolve(why);
      },
    });
    const attempt: Attempt = { name, result: result.promise, end };
    this.#attempts.add(attempt);
    return attempt;
  }

  #join({ channel, name, end }: Way): void {
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

/** What a promise comes to; undefined when that takes longer than `ms` milliseconds, if there is a limit. */
async function within<T>(promise: Promise<T>, ms: number | undefined): Promise<T | undefined> {
  if (ms === undefined) return await promise;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
