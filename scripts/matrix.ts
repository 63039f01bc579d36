/**
 * Runs the matrix of real programs and prints its table. Called by scripts/matrix.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { CASES } from "../tests/matrix/cases.ts";
import type { MatrixCase } from "../tests/matrix/case.ts";
import { type CaseResult, runCase, runNatively } from "../tests/matrix/engine.ts";
import { Field, HOSTS, type Network } from "../tests/matrix/field.ts";
import { matrixPage } from "./matrix_table.ts";

/** Results of earlier runs, so that a part of the table can be measured anew. */
const RESULTS = "docs/evaluation/matrix.json";

const { values: options, positionals: names } = parseArgs({
  args: Deno.args,
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    native: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    clients: { type: "string", default: String(HOSTS) },
    part: { type: "string", default: "1/1" },
  },
});

const [part, parts] = options.part.split("/").map(Number) as [number, number];
const named = names.length === 0
  ? CASES
  : CASES.filter((c) => names.some((name) => c.name.startsWith(name)));
const chosen = named.filter((_, i) => Math.floor(i * parts / named.length) === part - 1);
if (chosen.length === 0) {
  print(`There is no case named ${names.join(", ")}; scripts/matrix --list tells them`);
  Deno.exit(2);
}
if (options.list) {
  for (const c of CASES) print(`${c.name.padEnd(28)} ${c.program}, ${c.mode}`);
  Deno.exit(0);
}

const clients = Math.min(HOSTS, Math.max(1, Number(options.clients)));
const results: { matrixCase: MatrixCase; result: CaseResult }[] = [];
let field: Field | undefined;
for (const matrixCase of chosen.toSorted((a, b) => network(a).localeCompare(network(b)))) {
  if (field?.network !== network(matrixCase)) {
    await field?.[Symbol.asyncDispose]();
    field = await Field.create(undefined, network(matrixCase));
  }
  if (options.native) {
    const { seconds, problems } = await runNatively(field, matrixCase, clients);
    print([`native ${matrixCase.name}: ${seconds.toFixed(1)} s`, ...problems].join("\n       "));
    continue;
  }
  const absent = matrixCase.files.filter((file) => !existsSync(file));
  const result: CaseResult = absent.length === 0 ? await runCase(field, matrixCase, clients) : {
    name: matrixCase.name,
    ok: false,
    denied: undefined,
    one: undefined,
    many: undefined,
    neighbour: { tried: 0, passed: 0 },
    problems: [`not here: ${absent.join(", ")}; run scripts/programs`],
  };
  results.push({ matrixCase, result });
  print(options.json ? JSON.stringify(result) : line(result));
  // After each, since a run is long and may be ended.
  if (options.write) write();
}
await field?.[Symbol.asyncDispose]();
Deno.exitCode = results.every(({ result }) => result.ok) ? 0 : 1;

function write(): void {
  const known = existsSync(RESULTS)
    ? JSON.parse(Deno.readTextFileSync(RESULTS)) as Record<string, CaseResult>
    : {};
  for (const { result } of results) known[result.name] = result;
  // In the order of the cases; what is no case any more is dropped.
  const rows = CASES.flatMap((matrixCase) => {
    const result = known[matrixCase.name];
    return result === undefined ? [] : [{ matrixCase, result }];
  });
  const kept = Object.fromEntries(rows.map(({ result }) => [result.name, result]));
  Deno.writeTextFileSync(RESULTS, JSON.stringify(kept, undefined, 1) + "\n");
  Deno.writeTextFileSync("docs/evaluation/matrix.md", matrixPage(rows, HOSTS));
}

function network(matrixCase: MatrixCase): Network {
  return matrixCase.network ?? "host";
}

function line(result: CaseResult): string {
  const { name, ok, denied, one, many, neighbour, problems } = result;
  const phases = [one, many].flatMap((phase) =>
    phase === undefined ? [] : [
      `${phase.clients}: ${phase.opened} opened, ${phase.used} used, ` +
      `${phase.openMs?.toFixed(2) ?? "-"} ms, ${phase.seconds.toFixed(1)} s`,
    ]
  );
  return [
    `${ok ? "ok    " : "FAILED"} ${name.padEnd(24)} ` +
    [
      ...(denied === undefined ? [] : [denied ? "denied without" : "NOT DENIED without"]),
      ...phases,
      `neighbour ${neighbour.passed}/${neighbour.tried}`,
    ].join("; "),
    ...problems.slice(0, 6).map((problem) => `       ${problem}`),
    ...(problems.length > 6 ? [`       and ${problems.length - 6} more`] : []),
  ].join("\n");
}

function print(text: string): void {
  const bytes = new TextEncoder().encode(text + "\n");
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}
