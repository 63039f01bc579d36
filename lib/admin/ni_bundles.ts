/**
 * Bundles at the NI: fetched, checked, tried, kept or taken back. What runs is changed by whoever runs the NI kernel;
 * this decides when, and remembers it on the disk.
 *
 * @module
 */
import { removeIfThere } from "../sys/files.ts";
import { beyondLimits, type Bundle, BundleError, type BundleLimits, readBundle } from "./bundle.ts";
import type { ConsoleMessage, PeerMessage } from "./messages.ts";

/** What bundles are handled with. */
export interface NiBundleOptions {
  /** A directory that only this user can write. */
  readonly directory: string;
  /** Keys whose bundles are taken. */
  readonly signers: ReadonlySet<string>;
  readonly limits: BundleLimits;
  /**
   * Puts a bundle in force beside what runs, switches, and ends what ran; undefined: what the NI itself is configured
   * with. @throws {Error} when it cannot: nothing was changed then.
   */
  readonly apply: (bundle: Bundle | undefined) => Promise<void>;
  /** Why what runs since the last `apply` is not well; undefined when it is. */
  readonly health: () => Promise<string | undefined>;
  /** Milliseconds that a bundle must be well before it is kept, and between two looks. */
  readonly probation: number;
  readonly look: number;
  readonly say: (message: PeerMessage) => void;
  readonly log: (level: "info" | "warning" | "error", text: string) => void;
}

interface Incoming {
  readonly digest: string;
  readonly version: string;
  readonly data: Uint8Array;
  length: number;
}

type Phase = (PeerMessage & { op: "bundle-result" })["phase"];

/** The bundles of one NI. */
export class NiBundles {
  readonly #options: NiBundleOptions;
  #running: Bundle | undefined;
  #incoming: Incoming | undefined;
  #trying = false;
  #closed = false;
  /** The last word about a bundle, said again when the console asks again. */
  #last: (PeerMessage & { op: "bundle-result" }) | undefined;

  /** Reads what was kept; {@link running} is to be put in force by whoever starts the NI. */
  constructor(options: NiBundleOptions) {
    this.#options = options;
    Deno.mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    try {
      const data = Deno.readFileSync(this.#path);
      this.#running = this.#check(data);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      if (!(error instanceof BundleError)) throw error;
      options.log("warning", `the bundle that was kept is not used: ${error.message}`);
    }
  }

  get #path(): string {
    return `${this.#options.directory}/current.bundle`;
  }

  /** What is in force. */
  get running(): Bundle | undefined {
    return this.#running;
  }

  /** What was kept could not be put in force: the NI runs what it is configured with. */
  withoutBundle(): void {
    this.#running = undefined;
  }

  /** Takes the console's messages about bundles. */
  message(message: ConsoleMessage, bytes: Uint8Array): void {
    if (message.op === "bundle") this.#offered(message);
    else if (message.op === "bundle-data") this.#data(message.digest, message.offset, bytes);
  }

  /** Looks at nothing any more. */
  close(): void {
    this.#closed = true;
  }

  #offered({ digest, version, size }: ConsoleMessage & { op: "bundle" }): void {
    if (this.#trying) return; // it is asked again when we come again
    if (this.#running?.digest === digest) return this.#say(digest, version, "healthy", "it runs");
    if (this.#last?.digest === digest && this.#last.phase !== "healthy") {
      return this.#options.say(this.#last);
    }
    if (this.#incoming?.digest !== digest) {
      this.#incoming = { digest, version, data: new Uint8Array(size), length: 0 };
    }
    this.#options.say({ op: "bundle-want", digest, offset: this.#incoming.length });
  }

  #data(digest: string, offset: number, bytes: Uint8Array): void {
    const incoming = this.#incoming;
    if (incoming?.digest !== digest || offset !== incoming.length) return;
    if (incoming.length + bytes.length > incoming.data.length) {
      this.#incoming = undefined;
      return this.#say(digest, incoming.version, "refused", "it is longer than was said");
    }
    incoming.data.set(bytes, offset);
    incoming.length += bytes.length;
    if (incoming.length < incoming.data.length) return;
    this.#incoming = undefined;
    this.#trying = true;
    void this.#try(incoming).finally(() => this.#trying = false);
  }

  #check(data: Uint8Array): Bundle {
    const bundle = readBundle(data, this.#options.signers);
    const beyond = beyondLimits(bundle.manifest, this.#options.limits);
    if (beyond.length > 0) throw new BundleError(beyond.join("; "));
    return bundle;
  }

  async #try({ digest, version, data }: Incoming): Promise<void> {
    const { apply, health, probation, look, log } = this.#options;
    let bundle: Bundle;
    try {
      bundle = this.#check(data);
      if (bundle.digest !== digest) throw new BundleError("it is not the one that was offered");
    } catch (error) {
      if (!(error instanceof BundleError)) throw error;
      log("warning", `bundle ${version} is refused: ${error.message}`);
      return this.#say(digest, version, "refused", error.message);
    }
    const before = this.#running;
    this.#say(digest, version, "started", "");
    try {
      await apply(bundle);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return this.#say(digest, version, "refused", `it cannot be put in force: ${why}`);
    }
    this.#running = bundle;
    this.#say(digest, version, "switched", "");
    const until = performance.now() + probation;
    while (performance.now() < until && !this.#closed) {
      await new Promise((resolve) => setTimeout(resolve, Math.min(look, probation)));
      const why = await health();
      if (why === undefined) continue;
      log("error", `bundle ${version} is taken back: ${why}`);
      this.#running = before;
      try {
        await apply(before);
      } catch (error) {
        log("error", `${error instanceof Error ? error.message : error}`);
      }
      return this.#say(digest, version, "rolled-back", why);
    }
    if (this.#closed) return;
    this.#keep(data);
    log("info", `bundle ${version} is in force`);
    this.#say(digest, version, "healthy", "");
  }

  /** Only what has proved itself is started with the next time. */
  #keep(data: Uint8Array): void {
    const temporary = `${this.#path}.new`;
    removeIfThere(temporary);
    Deno.writeFileSync(temporary, data, { createNew: true, mode: 0o600 });
    Deno.renameSync(temporary, this.#path);
  }

  #say(digest: string, version: string, phase: Phase, why: string): void {
    const message = {
      op: "bundle-result" as const,
      digest,
      version,
      phase,
      why: why.slice(0, 2000),
    };
    this.#last = message;
    this.#options.say(message);
  }
}
