/**
 * Runs the benchmarks of one host several times, one run after the other, and writes every figure of every
 * run as a table: docs/evaluation/one-host.md. A quarter of an hour or less; needs root.
 *
 *   deno run --allow-all scripts/one_host.ts [RUNS]
 *
 * @module
 */
import { writeFigures } from "./figures.ts";

await writeFigures({
  file: "docs/evaluation/one-host.md",
  title: "Speed of one host",
  script: "scripts/one_host.ts",
  benches: ["start", "bind", "scale", "nftables"],
  words: `The paper has 29 to 31 ms for a \`bind\` with a pinhole, and 10,000 updates a second for
Iptables, fewer from some thousand entries on.`,
});
