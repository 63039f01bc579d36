import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parseConfig } from "../../lib/controller/config.ts";
import { niConfigKeys } from "../../lib/ni/config.ts";
import { diaper } from "./fake_daemon.ts";

const DIRECTORY = fileURLToPath(new URL("../../docs/man", import.meta.url));
const PAGES = [
  "diaper.8",
  "diaper-controller.8",
  "diaper-console.8",
  "diaper-ni.8",
  "diaper-run.1",
  "diaper.yaml.5",
  "diaper-policy.5",
  "diaper-scanners.5",
];
/** Options that the page explains once for all verbs. */
const COMMON = ["--config", "--help", "--json"];

function page(name: string): string {
  return Deno.readTextFileSync(`${DIRECTORY}/${name}`);
}

/** The subsections of a page by their titles, operands left out. */
function subsections(text: string): Map<string, string> {
  const parts = text.split(/^\.S([hs]) /m).slice(1);
  const found = new Map<string, string>();
  for (let i = 0; i + 1 < parts.length; i += 2) {
    const body = parts[i + 1] ?? "";
    if (parts[i] === "s") found.set((body.split("\n")[0] ?? "").replace(/ (Ar|Op) .*/, ""), body);
  }
  return found;
}

/** Long options that have an item of their own. */
function documented(text: string): string[] {
  const items = text.split("\n").filter((line) => line.startsWith(".It Fl"));
  return items.flatMap((line) => line.split(" ").filter((word) => /^-[a-z][a-z-]*$/.test(word)))
    .map((word) => `-${word}`);
}

/** What could come next, as a shell's completion is told. */
async function candidates(...words: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await diaper("complete", "--", ...words);
  assert.equal(code, 0, stderr);
  return stdout.split("\n").filter((line) => line.includes("\t"))
    .map((line) => line.split("\t")[0] ?? "").filter((word) => word !== "help");
}

/** Verbs with their subcommands, such as `pinhole open`. */
async function allVerbs(): Promise<string[]> {
  const nested = (await candidates("")).map(async (verb) => {
    const inner = HAS_SUBCOMMANDS.includes(verb) ? await candidates(verb, "") : [];
    const nested = inner.map((name) => `${verb} ${name}`);
    return inner.length === 0 || VERBS_THEMSELVES.includes(verb) ? [verb, ...nested] : nested;
  });
  return (await Promise.all(nested)).flat();
}

const HAS_SUBCOMMANDS = [
  ...["console", "controller", "enforcer", "lab", "pinhole", "policy", "scanners", "wrap"],
];
/** Those that do something without a subcommand too. */
const VERBS_THEMSELVES = ["console", "controller"];

/** Verbs whose options have a page of their own. */
const OWN_PAGES: Readonly<Record<string, string>> = { run: "diaper-run.1", ni: "diaper-ni.8" };

const hasMandoc = (() => {
  try {
    return new Deno.Command("mandoc", { args: ["-Tlint", `${DIRECTORY}/diaper.8`] }).outputSync()
      .code < 127;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
})();

Deno.test("man: mandoc finds nothing wrong with the pages (needs mandoc)", {
  ignore: !hasMandoc,
}, async () => {
  const { success, stdout } = await new Deno.Command("mandoc", {
    args: ["-Tlint", "-Wwarning", ...PAGES],
    cwd: DIRECTORY,
  }).output();
  assert.equal(new TextDecoder().decode(stdout), "");
  assert(success);
});

Deno.test("man: every verb has its section, with exactly the options that it takes", async () => {
  const sections = subsections(page("diaper.8"));
  const verbs = await allVerbs();
  assert(verbs.includes("pinhole open") && verbs.includes("policy explain"), verbs.join());
  await Promise.all(verbs.map(async (verb) => {
    const text = sections.get(verb);
    assert.notEqual(text, undefined, `diaper.8 has no section "${verb}"`);
    const taken = (await candidates(...verb.split(" "), "--")).filter((o) => !COMMON.includes(o));
    const own = OWN_PAGES[verb];
    const body = own === undefined ? text ?? "" : page(own);
    const told = documented(body).filter((o) => !COMMON.includes(o));
    assert.deepEqual(told.toSorted(), taken.toSorted(), verb);
    assert(page("diaper.8").includes(`\n.Cm ${verb.split(" ")[0]}`) || verb === "run", verb);
  }));
});

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86400 };

/** A default as the page writes it, as the value that it stands for. */
function value(text: string): unknown {
  const word = /Default:\s+(?:\.(?:Pa|Ql|Cm) )?(\S+)/.exec(text)?.[1]?.replace(/[.:]$/, "");
  if (word === undefined) return undefined;
  const duration = /^(\d+)([smhd])$/.exec(word);
  if (duration !== null) return Number(duration[1]) * (SECONDS[duration[2] ?? ""] ?? NaN);
  if (word === "none") return [];
  if (/^\[.*\]$/.test(word)) return word.slice(1, -1).split(",");
  return /^\d+$/.test(word) ? Number(word) : word === "true" || (word === "false" ? false : word);
}

Deno.test("man: diaper.yaml(5) has every key with its default", () => {
  const text = page("diaper.yaml.5");
  // Several sections may have a key of the same name.
  const items = text.split(/^\.It Ic /m).slice(1).map((part) =>
    [part.split("\n")[0] ?? "", part] as const
  );
  const expected: [string, unknown][] = [];
  for (const [key, inner] of Object.entries(parseConfig("", "defaults"))) {
    if (typeof inner !== "object") expected.push([key, inner]);
    else expected.push(...Object.entries(inner));
  }
  const told = items.map(([key, part]) => [key, value(part)]);
  const list = (v: unknown) => JSON.stringify(v === undefined ? null : v).replace("{}", "[]");
  assert.deepEqual(
    told.map(([k, v]) => `${k}=${list(v)}`).toSorted(),
    expected.map(([k, v]) => `${k}=${list(v)}`).toSorted(),
  );
});

Deno.test("man: diaper-ni(8) has every key of the configuration", () => {
  const keys = niConfigKeys();
  const told = page("diaper-ni.8");
  assert(keys.length > 20, keys.join());
  const missing = keys.filter((key) => !new RegExp(`\\.(It )?(Ic|Ql) ${key}( ,)?\\n`).test(told));
  assert.deepEqual(missing, []);
});
