/**
 * What this process runs as: from the source tree, from one file with the launcher, or compiled; and how
 * it starts workers and itself again in each case.
 *
 * @module
 */
import config from "../../deno.json" with { type: "json" };

/** What scripts/build puts in front of the bundle. */
export interface BuildInfo {
  /** The commit it was built from, with `+` when files differed from it; absent when not known. */
  readonly commit?: string;
  /** Files inside, by name, as base64. */
  readonly assets: Readonly<Record<string, string>>;
}

declare global {
  /** Present in the bundle, absent in the source tree. */
  var __diaperBuild: BuildInfo | undefined;
}

/** Version of Diaper, as in deno.json. */
export const VERSION: string = config.version;

/** How this process was started: `launcher` and `compile` are the two kinds of the one binary. */
export type Backend = "launcher" | "compile" | "source";

/** What scripts/build knew, or undefined in the source tree. */
export function buildInfo(): BuildInfo | undefined {
  return globalThis.__diaperBuild;
}

/** How this process was started. */
export function backend(): Backend {
  if (buildInfo() === undefined) return "source";
  return Deno.build.standalone ? "compile" : "launcher";
}

/**
 * The module that this process started with: main.ts in the source tree, the bundle otherwise. In a
 * worker it is the same, except when the bundle is in memory, where it is the worker's copy.
 */
export function entryUrl(): URL {
  // The bundle is one module, so that this module's URL is the bundle's.
  return buildInfo() === undefined
    ? new URL("../../main.ts", import.meta.url)
    : new URL(import.meta.url);
}

/**
 * The directory that the launcher unpacked to; undefined when it had none and runs from memory, and in
 * the other back ends. Taken from where the code itself is, not from the environment.
 */
export function unpackedDirectory(): string | undefined {
  if (backend() !== "launcher" || isInMemory(entryUrl())) return undefined;
  return decodeURIComponent(new URL(".", entryUrl()).pathname).replace(/\/$/, "");
}

/** True in a worker, false on the main thread. */
export function isWorker(): boolean {
  return "WorkerGlobalScope" in globalThis;
}

/**
 * Starts a thread that runs {@link entryUrl} under a name; main.ts has the table of what each name does.
 *
 * @param role a name of that table.
 */
export function startWorker(role: string): Worker {
  const entry = entryUrl();
  if (!isInMemory(entry)) return new Worker(entry, { type: "module", name: role });
  // A worker's module needs a type, which `/proc/self/fd/7` does not tell and a Blob does.
  const text = Deno.readTextFileSync(entry);
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  // Not revoked: the worker loads it later, and it lives as long as the process.
  return new Worker(url, { type: "module", name: role });
}

/**
 * The command that starts Diaper again, without arguments for it: the launcher or compiled binary, or
 * Deno with main.ts.
 *
 * @throws {Error} when the launcher's file was deleted since.
 */
export function ownCommand(): string[] {
  switch (backend()) {
    case "source":
      return [Deno.execPath(), "run", "--allow-all", fromFileUrl(entryUrl())];
    case "compile":
      return [Deno.execPath()];
    case "launcher": {
      const path = Deno.env.get("DIAPER_LAUNCHER");
      if (path === undefined) {
        throw new Error("Cannot start diaper again: its file was deleted or replaced while it ran");
      }
      return [path];
    }
  }
}

const KEPT = "DIAPER_CALLER_";
const SET_BY_LAUNCHER = [
  "DENO_DIR",
  "DENO_NO_UPDATE_CHECK",
  "DENO_NO_PACKAGE_JSON",
  "DENO_DISABLE_NODE_SHIM",
  "DIAPER_LAUNCHER",
];

/**
 * The environment as diaper was called with. The launcher keeps variables that would change its own
 * runtime (`NODE_OPTIONS`, `LD_PRELOAD`, ...) away from it; a program that diaper starts gets them back.
 */
export function callerEnvironment(): Record<string, string> {
  const result = Deno.env.toObject();
  if (backend() !== "launcher") return result;
  for (const name of SET_BY_LAUNCHER) delete result[name];
  for (const [name, value] of Object.entries(result)) {
    if (!name.startsWith(KEPT)) continue;
    delete result[name];
    result[name.slice(KEPT.length)] = value;
  }
  return result;
}

/**
 * Keeps the bundle's descriptor, when it runs from memory, from programs that this process starts. The
 * launcher cannot do it: the runtime must be able to open it first.
 */
export async function hideBundle(): Promise<void> {
  const entry = entryUrl();
  if (isWorker() || backend() !== "launcher" || !isInMemory(entry)) return;
  const { check, libc } = await import("./libc.ts"); // other starts need not wait for dlopen
  const F_SETFD = 2;
  const FD_CLOEXEC = 1;
  const fd = Number(entry.pathname.slice(IN_MEMORY.length));
  check("fcntl", libc.fcntl(fd, F_SETFD, FD_CLOEXEC));
}

const IN_MEMORY = "/proc/self/fd/";

function isInMemory(entry: URL): boolean {
  return entry.protocol === "file:" && entry.pathname.startsWith(IN_MEMORY);
}

function fromFileUrl(url: URL): string {
  return decodeURIComponent(url.pathname);
}
