/**
 * dist/diaper as scripts/build made it, whichever the back end.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import config from "../../deno.json" with { type: "json" };
import type { VersionReport } from "../../lib/cli/version.ts";
import { packPayload } from "../../scripts/payload.ts";
import type { WorkerFacts } from "./fixtures/worker_entry.ts";
import { launcherProgram } from "./launcher_lab.ts";

const root = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const binary = `${root}dist/diaper`;
const ignore = Deno.uid() !== 0;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  program: string,
  args: string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Ended> {
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args,
    cwd: options.cwd ?? "/",
    clearEnv: true,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", ...options.env },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs a script in a mount namespace with a fresh /var/cache. */
function inNamespace(script: string, options: Parameters<typeof run>[2] = {}): Promise<Ended> {
  const prelude = "set -eu; mount -t tmpfs -o mode=0755 lab /var/cache; ";
  return run(
    "unshare",
    ["--mount", "--propagation", "private", "sh", "-c", prelude + script, "sh", binary],
    options,
  );
}

async function withDirectory(fn: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "diaper-binary-" });
  try {
    await fn(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function version(ended: Ended): VersionReport {
  assert.equal(ended.code, 0, ended.stderr);
  assert.equal(ended.stderr, "");
  return JSON.parse(ended.stdout) as VersionReport;
}

Deno.test("binary: says what it is", async () => {
  const report = version(await run(binary, ["version", "--json"]));
  assert.equal(report.name, "diaper");
  assert.equal(report.version, config.version);
  assert.equal(report.runtime.deno, Deno.version.deno);
  assert.ok(["launcher", "compile"].includes(report.backend), report.backend);
});

Deno.test({
  name: "binary: runs from memory where nothing can be unpacked (needs root)",
  ignore,
  fn: async () => {
    const onDisk = version(await inNamespace('"$1" version --json'));
    const inMemory = version(
      await inNamespace('mount -o remount,ro /var/cache; "$1" version --json'),
    );
    assert.deepEqual(inMemory, onDisk);
  },
});

const TRAPS: Record<string, string> = {
  "deno.json": "{ broken",
  "deno.lock": "{ broken",
  "package.json": '{ "type": "commonjs", broken',
  ".npmrc": "registry=http://127.0.0.1:1/\n",
  ".env": "DENO_V8_FLAGS=--help\nTRAPPED=1\n",
  "trap.js": "throw new Error('trapped');\n",
};

Deno.test("binary: files of the working directory and of HOME have no say", async () => {
  await withDirectory(async (directory) => {
    await Deno.chmod(directory, 0o755);
    for (const [name, text] of Object.entries(TRAPS)) {
      await Deno.writeTextFile(`${directory}/${name}`, text);
    }
    const expected = await run(binary, ["version", "--json"]);
    const env = { HOME: directory };
    const found = await run(binary, ["version", "--json"], { cwd: directory, env });
    assert.deepEqual(found, expected);
    if (!ignore) {
      const script = 'mount -o remount,ro /var/cache; "$1" version --json';
      assert.deepEqual(await inNamespace(script, { cwd: directory, env }), expected);
    }
  });
});

Deno.test("binary: variables of the runtime have no say", async () => {
  await withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/trap.js`, TRAPS["trap.js"] ?? "");
    const report = version(await run(binary, ["version", "--json"]));
    if (report.backend !== "launcher") return; // deno compile has no one who could take them away
    const env = {
      DENO_DIR: directory,
      DENO_V8_FLAGS: "--help",
      DENO_CONDITIONS: "trap",
      NODE_OPTIONS: `--require ${directory}/trap.js`,
      OTEL_DENO: "true",
      LD_PRELOAD: `${directory}/trap.js`,
    };
    assert.deepEqual(version(await run(binary, ["version", "--json"], { env })), report);
    assert.deepEqual([...Deno.readDirSync(directory)].map((entry) => entry.name), ["trap.js"]);
  });
});

Deno.test("binary: errors go to stderr, with the next step and the exit code", async () => {
  for (const args of [["no-such-verb"], ["version", "--no-such-option"], ["version", "surplus"]]) {
    const { code, stdout, stderr } = await run(binary, args);
    assert.equal(code, 2, args.join(" "));
    assert.equal(stdout, "");
    assert.match(stderr, /^diaper: .+\n {2}next: .+\n$/);
  }
});

Deno.test("binary: ends quietly when nobody reads its output", async () => {
  await withDirectory(async (directory) => {
    const fifo = `${directory}/fifo`;
    const script = `mkfifo "$2"; exec 3<>"$2" 4>"$2" 3<&-; "$1" --help >&4`;
    const { code, stderr } = await run("sh", ["-c", script, "sh", binary, fifo]);
    assert.equal(stderr, "");
    assert.equal(code, 141);
  });
});

Deno.test({
  name: "binary: workers start from the source tree, from disk and from memory (needs root)",
  ignore,
  fn: async () => {
    await withDirectory(async (directory) => {
      const entry = new URL("fixtures/worker_entry.ts", import.meta.url);
      const source = await run(Deno.execPath(), ["run", "-A", entry.pathname], {
        cwd: root,
        env: { WORKER_ENTRY: entry.href },
      });
      const expected = "perimeter: 1 4 9";
      assert.equal(source.code, 0, source.stderr);
      assert.equal((JSON.parse(source.stdout) as WorkerFacts).answer, expected);

      const bundled = await run(
        Deno.execPath(),
        ["bundle", "--quiet", "--output", `${directory}/b.js`, entry.pathname],
        { cwd: root },
      );
      assert.equal(bundled.code, 0, bundled.stderr);
      const prelude = "globalThis.__diaperBuild = { assets: {} };\n";
      const bundle = prelude + await Deno.readTextFile(`${directory}/b.js`);
      await Deno.writeFile(
        `${directory}/diaper`,
        packPayload(
          launcherProgram(),
          await Deno.readFile(Deno.execPath()),
          new TextEncoder().encode(bundle),
        ),
        { mode: 0o755 },
      );
      for (const place of ["disk", "memory"]) {
        const setup = place === "memory" ? "mount -o remount,ro /var/cache; " : "";
        const ended = await inNamespace(`${setup} ${directory}/diaper`);
        assert.equal(ended.code, 0, ended.stderr);
        const facts = JSON.parse(ended.stdout) as WorkerFacts;
        assert.equal(facts.backend, "launcher");
        assert.equal(facts.answer, expected, place);
        assert.equal(facts.entry.startsWith("file:///proc/self/fd/"), place === "memory");
        assert.doesNotMatch(facts.childFds, /memfd/);
      }
    });
  },
});

Deno.test("build: the same parts give the same file", () => {
  const [a, b, c] = [1, 2, 3].map((n) => new Uint8Array(5000 * n).fill(n));
  assert.ok(a !== undefined && b !== undefined && c !== undefined);
  assert.deepEqual(packPayload(a, b, c), packPayload(a, b, c));
});

Deno.test("build: the bundle does not depend on where the tree is", async () => {
  await withDirectory(async (directory) => {
    const bundle = async (tree: string, output: string) => {
      const ended = await run(Deno.execPath(), [
        "bundle",
        ...["--quiet", "--platform", "deno", "--external", "*.node", "--output", output],
        "main.ts",
      ], { cwd: tree });
      assert.equal(ended.code, 0, ended.stderr);
      return await Deno.readTextFile(output);
    };
    const tree = `${directory}/elsewhere/tree`;
    await Deno.mkdir(tree, { recursive: true });
    const copied = await run("cp", [
      ...["-r", "main.ts", "deno.json", "deno.lock", "lib", "drivers", "niapp", "node_modules"]
        .filter((name) => name === "-r" || existsSync(root + name))
        .map((name) => name === "-r" ? name : root + name),
      tree,
    ]);
    assert.equal(copied.code, 0, copied.stderr);
    const [here, there] = [
      await bundle(root, `${directory}/here.js`),
      await bundle(tree, `${directory}/there.js`),
    ];
    assert.ok(here === there, "the two bundles differ");
    assert.ok(!here.includes(root), "a path of the tree is in the bundle");
  });
});

Deno.test("build: a denort that is none is refused", async () => {
  const before = (await Deno.stat(binary)).ino;
  const { code, stderr } = await run(`${root}scripts/build`, ["--backend", "compile"], {
    cwd: root,
    env: { DENORT_BIN: Deno.execPath() },
  });
  assert.equal(code, 1);
  assert.match(stderr, /is not a denort of Deno .+\n {2}next: /);
  assert.equal((await Deno.stat(binary)).ino, before);
});

Deno.test("build: a second time changes nothing", async () => {
  const facts = async () => {
    const { ino, mtime, size } = await Deno.stat(binary);
    return { ino, mtime, size };
  };
  const report = version(await run(binary, ["version", "--json"]));
  if (report.backend !== "launcher") return;
  const build = () => run(`${root}scripts/build`, ["--backend", "launcher"], { cwd: root });
  assert.equal((await build()).code, 0);
  const before = await facts();
  assert.equal((await build()).code, 0);
  assert.deepEqual(await facts(), before);
});
