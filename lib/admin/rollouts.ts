/**
 * How a bundle gets to its peers: some first, the others when those are well, and nobody when they are not. Peers that
 * are away get it when they come.
 *
 * @module
 */
import { publicKeyOf } from "../sys/ssh.ts";
import {
  beyondLimits,
  type Bundle,
  BundleError,
  type BundleLimits,
  type BundleManifest,
  readBundle,
} from "./bundle.ts";
import type { Console } from "./console.ts";
import { BUNDLE_CHUNK, type PeerMessage } from "./messages.ts";
import { isPeerName } from "./registry.ts";

/** What a push is asked with. */
export interface PushRequest {
  /** The bundle, as base64. */
  readonly bundle: string;
  /** Peers and groups; everybody when there are none. */
  readonly targets: readonly string[];
  /** A peer or group that gets it first. */
  readonly canary?: string | undefined;
  /** Seconds that those must be healthy before the others get it. */
  readonly soak: number;
}

/** What happened to a push. */
export type PushNews =
  | { readonly rollout: number; readonly digest: string; readonly version: string }
  | { readonly peer: string; readonly phase: string; readonly why: string }
  | {
    readonly done: boolean;
    readonly healthy: number;
    readonly waiting: number;
    readonly why: string;
  };

/** Peers that are sent a bundle at the same time. */
const AT_ONCE = 16;
/** Phases after which a peer says nothing more about a bundle. */
const FINAL = new Set(["healthy", "refused", "rolled-back"]);

interface Active {
  readonly id: number;
  readonly digest: string;
  readonly version: string;
  readonly data: Uint8Array;
  /** Peers that may have it now, with what they said last. */
  readonly phases: Map<string, { phase: string; why: string }>;
  readonly listeners: Set<(peer: string, phase: string, why: string) => void>;
}

/** All rollouts of a console. */
export class Rollouts {
  readonly #console: Console;
  readonly #limits: BundleLimits & { readonly signers: readonly string[] };
  readonly #signers: ReadonlySet<string>;
  readonly #log: (level: "info" | "warning" | "error", text: string) => void;
  readonly #active = new Map<string, Active>();
  readonly #queue: (() => Promise<void>)[] = [];
  readonly #stop: () => void;
  #sending = 0;

  /** @param key the console's own private key, whose bundles are taken as well. */
  constructor(
    console: Console,
    limits: BundleLimits & { readonly signers: readonly string[] },
    key: string,
    log: (level: "info" | "warning" | "error", text: string) => void,
  ) {
    this.#console = console;
    this.#limits = limits;
    this.#signers = new Set([...limits.signers, publicKeyOf(key)]);
    this.#log = log;
    this.#resume();
    this.#stop = console.watch({
      bundle: (peer, message) => this.#message(peer, message),
      peers: () => this.#offerToAll(),
    });
  }

  /** Ends it; what is under way goes on with the next start. */
  close(): void {
    this.#stop();
    this.#queue.length = 0;
  }

  /** A bundle's manifest; of the newest one without a digest. */
  manifest(digest?: string): BundleManifest | undefined {
    const { db } = this.#console.state;
    const row = digest === undefined
      ? db.prepare("SELECT manifest FROM bundles ORDER BY added DESC, rowid DESC LIMIT 1").get()
      : db.prepare("SELECT manifest FROM bundles WHERE digest = ?").get(digest);
    return row === undefined ? undefined : JSON.parse(row["manifest"] as string) as BundleManifest;
  }

  /**
   * Sends a bundle to its peers, and tells how far each has come.
   *
   * @throws {BundleError} when it is not taken.
   */
  async *push(request: PushRequest, who: string, gone: AbortSignal): AsyncGenerator<PushNews> {
    const { state } = this.#console;
    let bundle: Bundle;
    const data = Uint8Array.fromBase64(request.bundle);
    try {
      bundle = readBundle(data, this.#signers);
      const beyond = beyondLimits(bundle.manifest, this.#limits);
      if (beyond.length > 0) {
        throw new BundleError(beyond.join("; "), "ask for less, or raise bundles in console.yaml");
      }
    } catch (error) {
      if (error instanceof BundleError) state.audit(who, "bundle.refused", { why: error.message });
      throw error;
    }
    const peers = this.#peersOf(request.targets);
    const first = request.canary === undefined
      ? []
      : this.#peersOf([request.canary]).filter((p) => peers.includes(p));
    if (request.canary !== undefined && first.length === 0) {
      throw new BundleError(
        `${request.canary} is nobody of those who get it`,
        "name another canary",
      );
    }
    const active = this.#begin(bundle, data, request, who, peers, first);
    yield { rollout: active.id, digest: active.digest, version: active.version };
    if (first.length > 0) {
      yield* this.#wave(active, first, gone);
      const bad = first.filter((p) => active.phases.get(p)?.phase !== "healthy");
      const why = bad.map((p) => `${p}: ${active.phases.get(p)?.phase}`).join(", ");
      if (bad.length > 0 || gone.aborted) {
        return yield this.#end(active, "stopped", `the canary is not well: ${why || "given up"}`);
      }
      if (request.soak > 0) await pause(request.soak * 1000, gone);
      const later = first.filter((p) => active.phases.get(p)?.phase !== "healthy");
      if (later.length > 0 || gone.aborted) {
        return yield this.#end(active, "stopped", `the canary is not well any more`);
      }
    }
    this.#phase(active.id, "all");
    yield* this.#wave(active, peers.filter((p) => !first.includes(p)), gone);
    yield this.#end(active, "done", "");
  }

  #peersOf(targets: readonly string[]): string[] {
    const all = this.#console.peers.filter((p) => p.role === "ni");
    const stranger = targets.find((t) =>
      !isPeerName(t) || !all.some((p) => p.name === t || p.groups.includes(t))
    );
    if (stranger !== undefined) {
      throw new BundleError(
        `there is no NI or group ${stranger}`,
        "diaper console peers lists them",
      );
    }
    const chosen = all.filter((p) =>
      targets.length === 0 || targets.some((t) => p.name === t || p.groups.includes(t))
    );
    if (chosen.length === 0) throw new BundleError("there are no NIs", "add them to the registry");
    return chosen.map((p) => p.name);
  }

  #begin(
    { digest, manifest }: Bundle,
    data: Uint8Array,
    request: PushRequest,
    who: string,
    peers: readonly string[],
    first: readonly string[],
  ): Active {
    const { state } = this.#console;
    const now = Date.now();
    state.db.exec("BEGIN IMMEDIATE");
    state.db.prepare("INSERT OR IGNORE INTO bundles VALUES (?, ?, ?, ?, ?, ?, ?)").run(
      ...[digest, manifest.version, data.length, JSON.stringify(manifest)],
      data,
      ...[now, who],
    );
    const { lastInsertRowid } = state.db.prepare(
      "INSERT INTO rollouts (digest, target, state, started, who, why) VALUES (?, ?, ?, ?, ?, '')",
    ).run(
      digest,
      request.targets.join(" ") || "all",
      first.length > 0 ? "canary" : "all",
      now,
      who,
    );
    const id = Number(lastInsertRowid);
    const place = state.db.prepare("INSERT INTO placements VALUES (?, ?, 'waiting', '', ?, ?)");
    for (const peer of peers) place.run(id, peer, now, first.includes(peer) ? 1 : 0);
    state.db.exec("COMMIT");
    state.audit(who, "bundle.pushed", { digest, version: manifest.version, peers: peers.length });
    // A newer one takes the place of what peers still wait for.
    for (const other of this.#active.values()) for (const peer of peers) other.phases.delete(peer);
    const active: Active = {
      id,
      digest,
      version: manifest.version,
      data,
      phases: new Map(),
      listeners: new Set(),
    };
    this.#active.set(digest, active);
    return active;
  }

  async *#wave(
    active: Active,
    peers: readonly string[],
    gone: AbortSignal,
  ): AsyncGenerator<PushNews> {
    const news: PushNews[] = [];
    let wake = () => {};
    const listen = (peer: string, phase: string, why: string) => {
      news.push({ peer, phase, why });
      wake();
    };
    active.listeners.add(listen);
    gone.addEventListener("abort", () => wake());
    const watch = this.#console.watch({ peers: () => wake() });
    try {
      for (const peer of peers) active.phases.set(peer, { phase: "waiting", why: "" });
      this.#offerToAll();
      for (;;) {
        yield* news.splice(0);
        const here = new Set(this.#console.status().flatMap((p) => p.connected ? [p.name] : []));
        const open = peers.filter((p) => !FINAL.has(active.phases.get(p)?.phase ?? "refused"));
        // Those who are away get it when they come; nobody waits for them here.
        if (gone.aborted || !open.some((p) => here.has(p))) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (news.length > 0) resolve();
        });
      }
    } finally {
      watch();
      active.listeners.delete(listen);
    }
  }

  #end(active: Active, state: "done" | "stopped", why: string): PushNews {
    const phases = [...active.phases.values()].map((p) => p.phase);
    const count = (phase: string) => phases.filter((p) => p === phase).length;
    this.#phase(active.id, state, why);
    const over = phases.every((p) => FINAL.has(p));
    if (state === "stopped" || over) this.#active.delete(active.digest);
    if (state === "stopped") {
      this.#log("warning", `bundle ${active.version} goes no further: ${why}`);
    }
    return {
      done: state === "done" && count("refused") + count("rolled-back") === 0,
      healthy: count("healthy"),
      waiting: phases.filter((p) => !FINAL.has(p)).length,
      why,
    };
  }

  #phase(id: number, state: string, why = ""): void {
    this.#console.state.db.prepare("UPDATE rollouts SET state = ?, why = ?, ended = ? WHERE id = ?")
      .run(state, why, state === "done" || state === "stopped" ? Date.now() : null, id);
  }

  /** Rollouts that were let loose before the console started anew, for those who still wait. */
  #resume(): void {
    const { db } = this.#console.state;
    db.prepare(
      "UPDATE rollouts SET state = 'stopped', why = 'the console was stopped', ended = ? WHERE state = 'canary'",
    ).run(Date.now());
    const rows = db.prepare(
      `SELECT rollouts.id, digest, version, data FROM rollouts JOIN bundles USING (digest)
        WHERE state IN ('all', 'done') ORDER BY rollouts.id DESC LIMIT 1`,
    ).all() as { id: number; digest: string; version: string; data: Uint8Array }[];
    for (const { id, digest, version, data } of rows) {
      const waiting = db.prepare(
        "SELECT peer, phase, why FROM placements WHERE rollout = ? AND phase NOT IN ('healthy', 'refused', 'rolled-back')",
      ).all(id) as { peer: string; phase: string; why: string }[];
      const phases = new Map(waiting.map((w) => [w.peer, { phase: "waiting", why: w.why }]));
      if (phases.size > 0) {
        this.#active.set(digest, { id, digest, version, data, phases, listeners: new Set() });
      }
    }
  }

  #offerToAll(): void {
    if (this.#active.size === 0) return;
    for (const active of this.#active.values()) {
      for (const [peer, at] of active.phases) {
        if (at.phase !== "waiting") continue;
        const { digest, version, data } = active;
        if (this.#console.send(peer, { op: "bundle", digest, version, size: data.length })) {
          at.phase = "offered";
        }
      }
    }
    // Whoever went away in the middle begins anew when it is back.
    const here = new Set(this.#console.status().flatMap((p) => p.connected ? [p.name] : []));
    for (const active of this.#active.values()) {
      for (const [peer, at] of active.phases) {
        if (!here.has(peer) && !FINAL.has(at.phase)) at.phase = "waiting";
      }
    }
  }

  #message(peer: string, message: PeerMessage): void {
    if (message.op !== "bundle-want" && message.op !== "bundle-result") return;
    const active = this.#active.get(message.digest);
    const at = active?.phases.get(peer);
    if (active === undefined || at === undefined) return; // it was not offered to this peer, or no longer
    if (message.op === "bundle-want") {
      if (message.offset > active.data.length) return;
      this.#queue.push(() => this.#send(peer, active, message.offset));
      void this.#work();
      return;
    }
    at.phase = message.phase;
    at.why = message.why;
    this.#console.state.db.prepare(
      "UPDATE placements SET phase = ?, why = ?, at = ? WHERE rollout = ? AND peer = ?",
    ).run(message.phase, message.why, Date.now(), active.id, peer);
    if (FINAL.has(message.phase)) {
      this.#console.state.audit(peer, `bundle.${message.phase}`, {
        version: active.version,
        why: message.why,
      });
    }
    for (const listener of active.listeners) listener(peer, message.phase, message.why);
  }

  async #work(): Promise<void> {
    while (this.#sending < AT_ONCE) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      this.#sending++;
      await next().finally(() => this.#sending--);
    }
  }

  async #send(peer: string, active: Active, offset: number): Promise<void> {
    const { digest, data } = active;
    for (let at = offset; at < data.length; at += BUNDLE_CHUNK) {
      const part = data.subarray(at, at + BUNDLE_CHUNK);
      if (!this.#console.send(peer, { op: "bundle-data", digest, offset: at }, part)) return;
      await this.#console.drained(peer);
    }
  }
}

function pause(ms: number, gone: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    gone.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
