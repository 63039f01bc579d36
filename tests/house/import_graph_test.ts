/**
 * Reads the import graph of everything that ships and holds it against the rules of the house.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { type Import, ROOMS, violations } from "./rooms.ts";

const root = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const shipped = ["main.ts", ...sources("lib"), ...sources("drivers"), ...sources("niapp")];

Deno.test("house: every import keeps to the rules of its room", async () => {
  const imports = await importGraph(shipped);
  assert.ok(imports.length > shipped.length, "the graph was not read");
  assert.deepEqual(violations(imports), []);
});

Deno.test("house: a graph that breaks a rule is noticed", () => {
  const bad: Import[] = [
    { from: "lib/net/ip.ts", to: "lib/pinhole/pinhole.ts" },
    { from: "lib/net/ip.ts", to: "node:fs" },
    { from: "lib/pinhole/policy.ts", to: "lib/sys/libc.ts" },
    { from: "lib/pinhole/policy.ts", to: "yaml" },
    { from: "lib/sys/libc.ts", to: "lib/controller/ledger.ts" },
    { from: "lib/broker/broker.ts", to: "drivers/nftables.ts" },
    { from: "lib/controller/ledger.ts", to: "lib/cli/output.ts" },
    { from: "lib/ni/kernel.ts", to: "lib/controller/ledger.ts" },
    { from: "lib/admin/console.ts", to: "main.ts" },
    { from: "lib/cli/up.ts", to: "main.ts" },
    { from: "drivers/nftables.ts", to: "lib/controller/ledger.ts" },
    { from: "drivers/nftables.ts", to: "lib/broker/broker.ts" },
    { from: "niapp/dns.ts", to: "lib/sys/libc.ts" },
    { from: "niapp/dns.ts", to: "lib/pinhole/pinhole.ts" },
    { from: "lib/cellar/wine.ts", to: "lib/net/ip.ts" },
    { from: "main.ts", to: "drivers/nftables.ts" },
    { from: "main.ts", to: "left-pad" },
  ];
  for (const one of bad) assert.equal(violations([one]).length, 1, JSON.stringify(one));
});

Deno.test("house: what the rules allow is not complained about", () => {
  const good: Import[] = [
    { from: "lib/net/ip.ts", to: "lib/net/prefix.ts" },
    { from: "lib/pinhole/policy.ts", to: "lib/net/ip.ts" },
    { from: "lib/sys/runtime.ts", to: "deno.json" },
    { from: "lib/controller/ledger.ts", to: "node:sqlite" },
    { from: "niapp/dns/main.ts", to: "niapp/sdk.ts" },
    { from: "main.ts", to: "lib/cli/up.ts" },
  ];
  assert.deepEqual(violations(good), []);
});

Deno.test("house: only lib/sys opens libraries", () => {
  const others = shipped.filter((path) => !path.startsWith("lib/sys/"))
    .filter((path) => /\bdlopen\b/.test(Deno.readTextFileSync(root + path)));
  assert.deepEqual(others, []);
});

Deno.test("house: every module of a room says what it is for", () => {
  const silent = shipped.filter((path) => {
    const comment = /^\/\*\*(.*?)\*\//s.exec(Deno.readTextFileSync(root + path))?.[1];
    return comment === undefined || !comment.includes("@module") || comment.trim().length < 40;
  });
  assert.deepEqual(silent, []);
});

Deno.test("house: every directory of lib is a room", () => {
  const rooms = [...Deno.readDirSync(`${root}lib`)].map((entry) => `lib/${entry.name}/`);
  assert.deepEqual(rooms.filter((room) => !(room in ROOMS)), []);
});

interface GraphModule {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly specifier: string;
    readonly code?: { readonly specifier?: string; readonly error?: string };
    readonly type?: { readonly specifier?: string; readonly error?: string };
  }[];
}

/** All imports, also those of types and those at run time, of the files and of what they import. */
async function importGraph(files: readonly string[]): Promise<Import[]> {
  const directory = await Deno.makeTempDir({ prefix: "diaper-graph-" });
  try {
    const entry = `${directory}/all.ts`;
    const base = new URL("../../", import.meta.url);
    await Deno.writeTextFile(
      entry,
      files.map((path) => `import ${JSON.stringify(new URL(path, base).href)};\n`).join(""),
    );
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--config", `${root}deno.json`, entry],
      cwd: root,
    }).output();
    const decoder = new TextDecoder();
    assert.ok(success, decoder.decode(stderr));
    const { modules } = JSON.parse(decoder.decode(stdout)) as { modules: GraphModule[] };
    const found = new Set(modules.map((module) => module.specifier));
    for (const path of files) assert.ok(found.has(new URL(path, base).href), path);
    return modules.filter((module) => module.specifier.startsWith(base.href))
      .filter((module) => !module.specifier.includes("/node_modules/"))
      .flatMap((module) =>
        (module.dependencies ?? []).map((dependency) => {
          const target = dependency.code?.specifier ?? dependency.type?.specifier ??
            dependency.specifier;
          return {
            from: module.specifier.slice(base.href.length),
            to: target.startsWith(base.href) && !target.includes("/node_modules/")
              ? target.slice(base.href.length)
              : dependency.specifier,
          };
        })
      );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function sources(directory: string): string[] {
  if (!existsSync(root + directory)) return []; // a room that nobody has moved into yet
  return [...Deno.readDirSync(root + directory)].flatMap((entry) => {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory) return sources(path);
    return entry.name.endsWith(".ts") ? [path] : [];
  });
}
