/**
 * Runs launchers in a mount namespace where /var/cache and /mnt are fresh, so that tests can make any
 * mess there and nothing of the machine is touched.
 *
 * @module
 */
import { packPayload } from "../../scripts/payload.ts";

/** A user that is not root and owns nothing. */
export const STRANGER = 54321;

/** Another one. */
export const OTHER = 54322;

/** What the probe printed. */
export interface ProbeReport {
  readonly exe: string;
  readonly args: readonly string[];
  readonly env: ReadonlyMap<string, string>;
  readonly umask: string;
  readonly fds: readonly string[];
  readonly seals: readonly number[];
  /** First line of the bundle as read through the path that the launcher gave. */
  readonly bundle: string | undefined;
  /** True when it ran from memory. */
  readonly inMemory: boolean;
}

/** How a script in the namespace ended. */
export interface LabResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A launcher with the probe for a runtime, in a directory that every user can read. */
export class LauncherLab implements AsyncDisposable {
  readonly directory: string;
  /** The launcher's file. */
  readonly launcher: string;
  /** Its content. */
  readonly image: Uint8Array<ArrayBuffer>;
  readonly runtime: Uint8Array;

  private constructor(directory: string, image: Uint8Array<ArrayBuffer>, runtime: Uint8Array) {
    this.directory = directory;
    this.launcher = `${directory}/diaper`;
    this.image = image;
    this.runtime = runtime;
  }

  /** Compiles the probe and packs it. scripts/build must have made the launcher. */
  static async make(): Promise<LauncherLab> {
    const directory = await Deno.makeTempDir({ prefix: "diaper-launcher-" });
    await Deno.chmod(directory, 0o755);
    const source = decodeURIComponent(new URL("probe.c", import.meta.url).pathname);
    const built = await new Deno.Command("cc", {
      args: ["-O1", "-static", "-s", "-o", `${directory}/probe`, source],
    }).output();
    if (!built.success) throw new Error(new TextDecoder().decode(built.stderr));
    const runtime = await Deno.readFile(`${directory}/probe`);
    const image = packPayload(launcherProgram(), runtime, new TextEncoder().encode(BUNDLE));
    const lab = new LauncherLab(directory, image, runtime);
    await lab.install(image);
    return lab;
  }

  /** Replaces the launcher's file. */
  async install(image: Uint8Array): Promise<void> {
    await Deno.remove(this.launcher).catch(ignoreMissing);
    await Deno.writeFile(this.launcher, image);
    await Deno.chmod(this.launcher, 0o755);
  }

  /**
   * Runs a shell script in a namespace of its own, as root with $L the launcher, $S and $O the strangers,
   * `as UID COMMAND...` to become one, and tmpfs of mode 0755 on /var/cache and /mnt.
   */
  async run(script: string, env: Record<string, string> = {}): Promise<LabResult> {
    const prelude = `
      set -eu
      mount -t tmpfs -o mode=0755 lab /var/cache
      mount -t tmpfs -o mode=0755 lab /mnt
      L=${this.launcher} S=${STRANGER} O=${OTHER} C=/var/cache/diaper
      as() { u=$1; shift; setpriv --reuid=$u --regid=$u --clear-groups -- "$@"; }
    `;
    const { code, stdout, stderr } = await new Deno.Command("unshare", {
      args: ["--mount", "--propagation", "private", "sh", "-c", prelude + script],
      clearEnv: true,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...env },
      stdin: "null",
    }).output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  /** As {@link run}, for scripts whose whole output is the probe's. */
  async probe(script: string, env: Record<string, string> = {}): Promise<ProbeReport> {
    const result = await this.run(script, env);
    if (result.code !== 0) throw new Error(`exit ${result.code}: ${result.stderr}${result.stdout}`);
    return parseReport(result.stdout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** The bundle in the lab's launcher. */
export const BUNDLE = "// the bundle of the lab\n";

/** The launcher without a payload, as make built it. */
export function launcherProgram(): Uint8Array {
  const path = decodeURIComponent(
    new URL("../../dist/agent/diaper-launcher", import.meta.url).pathname,
  );
  try {
    return Deno.readFileSync(path);
  } catch (cause) {
    throw new Error(`Cannot read ${path}: run scripts/build first`, { cause });
  }
}

/** Reads the probe's output. */
export function parseReport(text: string): ProbeReport {
  const facts = text.split("\n").filter((line) => line !== "").map((line) => {
    const at = line.indexOf("\t");
    return [line.slice(0, at), line.slice(at + 1)] as const;
  });
  const all = (name: string) => facts.filter(([key]) => key === name).map(([, value]) => value);
  const exe = all("exe")[0] ?? "";
  return {
    exe,
    args: all("arg"),
    env: new Map(
      all("env").map((pair) => {
        const at = pair.indexOf("=");
        return [pair.slice(0, at), pair.slice(at + 1)];
      }),
    ),
    umask: all("umask")[0] ?? "",
    fds: all("fd"),
    seals: all("seals").map(Number),
    bundle: all("bundle")[0],
    inMemory: exe.startsWith("/memfd:"),
  };
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
