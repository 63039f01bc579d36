/**
 * The page and the figures of the NI's benchmark: docs/evaluation/ni.md.
 *
 * @module
 */
import { machine } from "../../matrix_table.ts";
import { round } from "../report.ts";
import { barChart } from "./bars.ts";
import type { Sample } from "./measure.ts";

/** The median of one measure of one path; NaN when it was not measured. */
export type Of = (name: string, state: string, what: keyof Sample) => number;

const FOLDER = decodeURIComponent(new URL("../../../docs/evaluation/", import.meta.url).pathname);
const STATES = ["on", "off"] as const;

/** Writes the page. */
export function writePage(names: readonly string[], of: Of, rounds: number): void {
  for (const state of STATES) {
    const direct = of("direct link", state, "gigabits");
    Deno.writeTextFileSync(
      `${FOLDER}ni-2-${state}.svg`,
      barChart(
        `Throughput of one TCP connection, offloads ${state}`,
        `share of a direct link (${round(direct)} Gbit/s)`,
        names.flatMap((name) => {
          const value = of(name, state, "gigabits");
          return Number.isNaN(value) ? [] : [{ name, value: value / direct }];
        }),
      ),
    );
  }
  Deno.writeTextFileSync(`${FOLDER}ni.md`, page(names, of, rounds));
}

function page(names: readonly string[], of: Of, rounds: number): string {
  const cell = (value: number) => Number.isNaN(value) ? "–" : String(round(value));
  const table = (state: string) => {
    const head = [
      ...["path", "Gbit/s", "of direct", "CPU s a GB", "64-byte frames, 1000/s"],
      ...["round trip, us", "p99, us", "missed, %"],
    ];
    const rows = names.map((name) => [
      name,
      cell(of(name, state, "gigabits")),
      cell(of(name, state, "gigabits") / of("direct link", state, "gigabits")),
      cell(of(name, state, "cpu")),
      cell(of(name, state, "small") / 1000),
      cell(of(name, state, "rtt")),
      cell(of(name, state, "rtt99")),
      cell(of(name, state, "missed") * 100),
    ]);
    return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
  };
  return `# Speed of the NI

Written by \`scripts/bench ni --write\` on ${machine()}.

Table 2 of the paper, with more ways to stand between a host and its network. Host, NI and network are three network
namespaces of one machine, so that the two ends of every transfer share the processors with what is measured: the ratios
tell, not the absolute figures. ${rounds} rounds in turn, medians; load average at the end ${
    Deno.loadavg()[0]?.toFixed(1)
  } (the benchmark's own is about 3). _Offloads on_ is how interfaces come: frames of up to 64 KB with
unfinished checksums. Suricata 7 (AF_PACKET inline, one rule, one thread a port) cannot carry those at all.

- **64-byte frames**: datagrams, at most 512 on their way, that arrived.
- **CPU s a GB**: processor seconds of the whole machine for 10^9 bytes of TCP, both ends included.
- **Round trip**: of one datagram at a time.
- **Missed**: frames of the TCP transfer that the NI's scanner was not given, since there was no
  time for them. One that reads is not waited for: frames go on, and copies that find no room are
  lost. One that holds frames, and Suricata, are waited for, and miss none.

![Throughput, offloads on](ni-2-on.svg)

## Offloads on

${table("on")}

## Offloads off

${table("off")}

![Throughput, offloads off](ni-2-off.svg)

The paper's own NI (table 2) reached 0.57 of no NI on its slow host and 1.05 of it in the best case.

_NI, enforcer_ is \`--enforcer ni\` with so many pinholes open ([decision 29](../decisions/0029-ni-enforcer.md)).
`;
}
