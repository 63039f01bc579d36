/**
 * The table of the matrix, docs/evaluation/matrix.md, and what it says of the machine.
 *
 * @module
 */
import type { MatrixCase } from "../tests/matrix/case.ts";
import type { Phase } from "../tests/matrix/case_run.ts";
import type { CaseResult } from "../tests/matrix/engine.ts";

/** One row. */
export interface Row {
  /** What was run. */
  readonly matrixCase: MatrixCase;
  /** What came out. */
  readonly result: CaseResult;
}

/** The page. */
export function matrixPage(rows: readonly Row[], clients: number): string {
  const ok = rows.filter(({ result }) => result.ok).length;
  return `# Real programs behind a closed perimeter

Written by \`scripts/matrix --write\` on ${machine()}. Rows may come from several runs: each is
replaced when its case is run again.

Each program of Debian runs under the agent at one end, behind a perimeter of nftables that is closed but for
its control port (none, for a client); the other end is a plain program at an outside host. Each case is run
without the agent, then with one client, then with ${clients} at once from ${clients} outside hosts. A case is
_ok_ when all of this holds:

- without the agent the perimeter stops it (a dash: the inside begins every flow, which needs no pinhole);
- every session ends well, and what arrived is what was sent, byte by byte (calls: the caller hears its own tone);
- every pinhole was for a host that was a client, and every client had as many as its sessions bind ports;
- a router between the hosts, which knows nothing of Diaper, saw no flow towards the inside but to open ports and
  through a pinhole of that very host;
- a neighbour tried every pinhole as soon as it was known, and none of its packets got through;
- when the sessions are over no pinhole is left, in Diaper's list and in the kernel; and nothing was refused.

_used_: pinholes by which their host began a flow. Others were asked for since every bound port may be used
(a server in active mode binds the port that it connects from).

${ok} of ${rows.length} are as they must be.

${table(rows, clients)}

${notes(rows)}
## What is not there

| program | why |
| --- | --- |
| tsunami, sftpgo | not in Debian 12: \`apt-cache policy\` tells no candidate |
| rtpengine | baresip's calls stand for RTP; a kernel module and a SIP proxy would be needed to drive it |
| globus-gridftp-server over UDT | \`-udt\` falls back to TCP in Debian's build |
| ncftp, tnftp with TLS | neither has TLS for FTP |
`;
}

/** This machine in a line. */
export function machine(): string {
  const model = /^model name\s*: (.*)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1] ?? "CPU";
  const debian = Deno.readTextFileSync("/etc/debian_version").trim();
  return `${navigator.hardwareConcurrency} cores of ${model}, Linux ${Deno.osRelease()}, Debian ${debian}, ` +
    `nftables ${version("nftables")}`;
}

/** Version of a Debian package without its epoch; a dash when it is not installed. */
export function version(name: string): string {
  for (
    const command of [["dpkg-query", "-W", "-f", "${Version}", name], ["apt-cache", "show", name]]
  ) {
    const { success, stdout } = new Deno.Command(command[0] as string, {
      args: command.slice(1),
      stderr: "null",
    }).outputSync();
    const text = new TextDecoder().decode(stdout);
    const found = success ? /^(?:Version: )?(?:\d+:)?(\d\S*)$/m.exec(text)?.[1] : undefined;
    if (found !== undefined) return found;
  }
  return "–";
}

function table(rows: readonly Row[], clients: number): string {
  const head = [
    ...["program", "version", "mode", "model", "inside", "without agent", "1 client"],
    ...[`${clients} at once`, "opening, median", "neighbour", "result"],
  ];
  const lines = rows.map(({ matrixCase: c, result: r }) => [
    c.program,
    version(c.package),
    c.mode,
    c.model,
    c.inside,
    r.denied === undefined ? "–" : r.denied ? "denied" : "**got through**",
    phase(r.one),
    phase(r.many),
    r.many?.openMs === undefined ? "–" : `${r.many.openMs.toFixed(2)} ms`,
    r.neighbour.tried === 0 ? "–" : `${r.neighbour.passed} of ${r.neighbour.tried} tries`,
    c.broken !== undefined
      ? (r.ok ? "the program's own fault" : "**failed**")
      : r.ok
      ? "ok"
      : "**failed**",
  ]);
  return [head, head.map(() => "---"), ...lines].map((line) => `| ${line.join(" | ")} |`).join(
    "\n",
  );
}

function phase(p: Phase | undefined): string {
  if (p === undefined) return "–";
  return p.opened === 0 ? "none needed" : `${p.opened} opened, ${p.used} used`;
}

function notes(rows: readonly Row[]): string {
  const lines = rows.flatMap(({ matrixCase: c, result: r }) => [
    ...(c.broken === undefined
      ? []
      : [`- ${c.name}: ${c.broken}. Proof: \`scripts/matrix ${c.name} --native\` fails too.`]),
    ...(c.refused === undefined ? [] : [
      `- ${c.name}: the server binds port 20 to connect from it. The broker refuses a pinhole there ` +
      `("${c.refused}"), and none is needed.`,
    ]),
    ...(c.note === undefined ? [] : [`- ${c.name}: ${c.note}.`]),
    ...r.problems.slice(0, 3).map((problem) => `- **${c.name}**: ${problem.replaceAll("\n", " ")}`),
  ]);
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}
