/**
 * Runs every driver of a device against every fault of its simulated device, and writes what each did as a table:
 * docs/evaluation/faults.md.
 *
 *   deno run --allow-all scripts/faults.ts
 *
 * @module
 */
import { FAULTS, runFault, SUBJECTS } from "../tests/devices/fault_matrix.ts";

const FILE = "docs/evaluation/faults.md";

const rows: string[][] = [];
let failed = 0;
for (const fault of FAULTS) {
  const row = [fault.name];
  for (const subject of SUBJECTS) {
    try {
      row.push(await runFault(subject, fault) ?? "–");
    } catch (error) {
      failed++;
      row.push(`**failed**: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  rows.push(row);
}
const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
const table = [
  line(["fault", ...SUBJECTS.map((subject) => subject.title)]),
  line(["---", ...SUBJECTS.map(() => "---")]),
  ...rows.map(line),
].join("\n");
Deno.writeTextFileSync(
  FILE,
  `# Faults of devices, and what the drivers do

Written by \`deno run --allow-all scripts/faults.ts\`; the same runs are tests (tests/devices/fault_matrix_test.ts).
In each, three pinholes are open and entries of somebody else are there, in our ACL and in another; then
the fault happens while one pinhole is closed and four are opened. In every case the answers were true, the
entries of others stayed, and the next batch put everything right. A dash: the driver has no command line.

${table}
`,
);
const text = `${rows.length} faults, ${SUBJECTS.length} drivers, ${failed} failed: ${FILE}\n`;
Deno.stdout.writeSync(new TextEncoder().encode(text));
Deno.exit(failed === 0 ? 0 : 1);
