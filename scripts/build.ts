/**
 * Bundles main.ts once and makes dist/diaper of it, by one of two back ends. Called by scripts/build,
 * after make.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { parseArgs } from "node:util";
import { packPayload } from "./payload.ts";

const BINARY = "dist/diaper";
const BUNDLE = "dist/diaper.js";

/** Things that go wrong and what to do about them. */
class BuildError extends Error {
  readonly next: string;
  constructor(message: string, next: string) {
    super(message);
    this.next = next;
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { backend: { type: "string", default: "auto" } },
    args: Deno.args,
  });
  const wanted = Deno.env.get("DENO_VERSION");
  if (wanted !== undefined && Deno.version.deno !== wanted) {
    throw new BuildError(
      `Deno ${Deno.version.deno} is on PATH, ${wanted} is needed`,
      "scripts/setup",
    );
  }
  await bundleScanners();
  await bundlePage();
  await bundle();
  const denort = values.backend === "launcher" ? undefined : await findDenort();
  switch (values.backend) {
    case "launcher":
      return pack();
    case "compile":
      if (denort === undefined) {
        throw new BuildError(
          "There is no denort for deno compile",
          "set DENORT_BIN, or DIAPER_BUILD_ONLINE=1, or use --backend launcher",
        );
      }
      return await compile(denort);
    case "auto":
      return denort === undefined ? pack() : await compile(denort);
    default:
      throw new BuildError(
        `Unknown back end ${JSON.stringify(values.backend)}`,
        "use auto, launcher or compile",
      );
  }
}

/** The scanners as one module of their own: their processes get nothing else of Diaper. */
async function bundleScanners(): Promise<void> {
  await run([
    Deno.execPath(),
    ...["bundle", "--quiet", "--platform", "deno", "--output", "dist/agent/diaper-scanners.js"],
    "niapp/main.ts",
  ]);
}

/** The console's page: its program, with all libraries in it, its style, and the page itself. */
async function bundlePage(): Promise<void> {
  await run([
    Deno.execPath(),
    ...["bundle", "--quiet", "--platform", "browser", "--minify"],
    ...["--output", "dist/agent/console.js", "lib/admin/page/main.tsx"],
  ]);
  const styles = ["node_modules/uplot/dist/uPlot.min.css", "lib/admin/page/page.css"];
  const style = styles.map((path) => Deno.readTextFileSync(path)).join("\n");
  Deno.writeTextFileSync("dist/agent/console.css", style);
  Deno.copyFileSync("lib/admin/page/page.html", "dist/agent/console.html");
}

/** main.ts and all it imports as one module, with build facts and assets in front. */
async function bundle(): Promise<void> {
  const plain = "dist/.bundle.js";
  await run([
    Deno.execPath(),
    ...["bundle", "--quiet", "--platform", "deno", "--external", "*.node", "--output", plain],
    "main.ts",
  ]);
  const commit = await commitName();
  const info = {
    ...(commit === undefined ? {} : { commit }),
    assets: assets([
      ...["libdiaper-agent.so", "diaper-trace", "diaper-cage", "diaper-wrapper"],
      "diaper-scanners.js",
      ...["console.html", "console.css", "console.js"],
    ]),
  };
  const prelude = `globalThis.__diaperBuild = ${JSON.stringify(info)};\n`;
  replaceIfDifferent(
    BUNDLE,
    new TextEncoder().encode(prelude + Deno.readTextFileSync(plain)),
    0o644,
  );
  Deno.removeSync(plain);
}

function assets(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => {
    try {
      return [name, Deno.readFileSync(`dist/agent/${name}`).toBase64()];
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new BuildError(`dist/agent/${name} is missing`, "make -C agent");
    }
  }));
}

/** The commit of the tree, with `+` when files differ from it; undefined outside of a git checkout. */
async function commitName(): Promise<string | undefined> {
  const git = async (args: string[]) => {
    try {
      const { success, stdout } = await new Deno.Command("git", { args, stderr: "null" }).output();
      return success ? new TextDecoder().decode(stdout).trim() : undefined;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  };
  const [top, commit, changes] = await Promise.all([
    git(["rev-parse", "--show-toplevel"]),
    git(["rev-parse", "--short=12", "HEAD"]),
    git(["status", "--porcelain", "--untracked-files=no"]),
  ]);
  if (top !== Deno.cwd() || commit === undefined) return undefined; // the repository around an unpacked tree
  return changes === "" ? commit : `${commit}+`;
}

/** Back end B: the launcher carries the runtime that runs this script, and the bundle. */
function pack(): void {
  const launcher = Deno.readFileSync("dist/agent/diaper-launcher");
  const runtime = Deno.readFileSync(Deno.execPath());
  replaceIfDifferent(BINARY, packPayload(launcher, runtime, Deno.readFileSync(BUNDLE)), 0o755);
}

/** Back end A. Checked afterwards: a wrong denort makes a file that is not Diaper. */
async function compile(denort: Denort): Promise<void> {
  const made = `${BINARY}.compiled`;
  await run([
    Deno.execPath(),
    ...["compile", "--quiet", "--allow-all", "--no-config", "--no-lock", "--no-npm", "--no-check"],
    ...["--output", made, BUNDLE],
  ], denort.path === undefined ? {} : { DENORT_BIN: denort.path });
  const { stdout } = await new Deno.Command(`./${made}`, { args: ["version", "--json"] }).output();
  if (!new TextDecoder().decode(stdout).includes('"backend":"compile"')) {
    Deno.removeSync(made);
    throw new BuildError(
      `${denort.from} is not a denort of Deno ${Deno.version.deno}`,
      "use the denort of that release, or --backend launcher",
    );
  }
  Deno.renameSync(made, BINARY);
}

/** Where denort comes from; without a path, deno compile finds or fetches it itself. */
interface Denort {
  readonly from: string;
  readonly path?: string;
}

async function findDenort(): Promise<Denort | undefined> {
  const given = Deno.env.get("DENORT_BIN");
  if (given !== undefined && given !== "") return { from: given, path: given };
  const info = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  const { denoDir } = JSON.parse(new TextDecoder().decode(info.stdout)) as { denoDir: string };
  const cached = `${denoDir}/dl/release/v${Deno.version.deno}/denort-${Deno.build.target}.zip`;
  try {
    Deno.statSync(cached);
    return { from: cached };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return Deno.env.get("DIAPER_BUILD_ONLINE") === "1" ? { from: "the network's denort" } : undefined;
}

/** Writes a file whole or not at all, and not when it is there already, so that times stay. */
function replaceIfDifferent(path: string, content: Uint8Array, mode: number): void {
  try {
    if (Buffer.compare(Deno.readFileSync(path), content) === 0) return;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  Deno.writeFileSync(`${path}.new`, content, { mode });
  Deno.renameSync(`${path}.new`, path);
}

async function run(command: readonly string[], env: Record<string, string> = {}): Promise<void> {
  const [program = "", ...args] = command;
  const child = new Deno.Command(program, { args, env, stdout: "null", stderr: "inherit" }).spawn();
  const { success } = await child.status;
  if (!success) {
    throw new BuildError(`Failed: ${command.slice(1).join(" ")}`, "see the messages above");
  }
}

try {
  Deno.mkdirSync("dist", { recursive: true });
  await main();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  const text = new TextEncoder().encode(`build: ${error.message}\n  next: ${error.next}\n`);
  Deno.stderr.writeSync(text);
  Deno.exit(1);
}
