/**
 * `diaper status`: who guards this host, since when, how well, and what to do where it is not well.
 *
 * @module
 */
import type { Command } from "commander";
import { configOption, readConfig } from "./config_option.ts";
import { askForOne } from "./control_client.ts";
import { type DaemonStatus, readStatus } from "./daemon_data.ts";
import { CliError, EXIT } from "./exit.ts";
import { askNis, niJson, niLines } from "./ni_status.ts";
import { bytesText, durationText, printJson, printLine, style, visible } from "./output.ts";

/** Something that is not as it should be. A `failure` keeps pinholes from being opened or closed. */
export interface HealthProblem {
  readonly severity: "failure" | "warning";
  readonly text: string;
  /** What to do about it. */
  readonly next: string;
}

interface StatusOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("status")
    .description(
      "Show who guards this host, since when, what is not well, and what NIs have counted.",
    )
    .addOption(configOption())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      "\nExit codes: 0 guarded, 1 guarded but something has failed, 4 the daemon does not run.",
    )
    .action(show);
}

async function show(options: StatusOptions): Promise<void> {
  const { config, file } = readConfig(options.config);
  const nis = await askNis(config);
  if (nis.some(({ failed }) => failed !== undefined)) Deno.exitCode = EXIT.FAILED;
  const answer = await askForOne(config, { op: "status" }).catch((error) => {
    // Where an NI runs, nobody need guard the host as well.
    if (nis.length > 0 && error instanceof CliError && error.code === EXIT.UNREACHABLE) return;
    throw error;
  });
  if (answer === undefined) {
    if (options.json === true) printJson({ ni: nis.map(niJson) });
    else for (const line of nis.flatMap(niLines)) printLine(line);
    return;
  }
  const status = readStatus(answer);
  const health = healthOf(status, await modifiedAt(status.policy?.file));
  if (options.json === true) {
    printJson({
      ...status,
      config: file,
      health,
      ...(nis.length > 0 ? { ni: nis.map(niJson) } : {}),
    });
  } else {
    const lines = statusLines(status, health, Date.now());
    for (const line of [...lines, ...nis.flatMap(niLines)]) printLine(line);
  }
  if (health.some((p) => p.severity === "failure")) Deno.exitCode = EXIT.FAILED;
}

/** How full a perimeter is before it is said. */
const NEARLY_FULL = 0.9;

/**
 * What is not well with a perimeter.
 *
 * @param policyChanged when its policy file was changed last; undefined when that cannot be seen.
 */
export function healthOf(status: DaemonStatus, policyChanged: number | undefined): HealthProblem[] {
  const problems: HealthProblem[] = [];
  const add = (severity: HealthProblem["severity"], text: string, next: string) =>
    problems.push({ severity, text, next });
  const { enforcer, policy, pinholes } = status;
  if (enforcer !== undefined && enforcer.failed !== null) {
    add(
      "failure",
      `${enforcer.name} does not do what it is told: ${enforcer.failed}`,
      "it is tried again; sudo diaper doctor looks for the cause",
    );
  }
  if (status.audit_failed !== null) {
    add(
      "failure",
      `the audit trail cannot be written, nothing is opened: ${status.audit_failed}`,
      "make room on its file system (df), or mend its rights; log_dir in diaper.yaml(5) names it",
    );
  }
  const { capacity = Infinity } = pinholes;
  if (pinholes.open >= capacity * NEARLY_FULL) {
    const full = pinholes.open >= capacity;
    add(
      full ? "failure" : "warning",
      `the perimeter is ${full ? "full" : "nearly full"}: ${pinholes.open} of ${capacity}`,
      "see who holds them: diaper pinhole list; raise perimeter.capacity in diaper.yaml(5)",
    );
  }
  if (status.standby !== undefined && status.standby.leader === null) {
    add(
      "failure",
      `this controller stands by and could not take over: ${status.standby.why}`,
      "it is tried again; is etcd up and reachable? cluster.etcd in diaper.yaml(5) names it",
    );
  }
  for (const { delegate, failed } of status.uplinks ?? []) {
    if (failed === null) continue;
    add(
      "failure",
      `nothing can be opened in the name of ${delegate}: ${failed}`,
      "it is tried again; is a controller up, and does it know our key? diaper enroll asks it",
    );
  }
  if (policy?.rules === 0) {
    add(
      "warning",
      `${policy.file} has no rules: nothing is opened`,
      "write rules: diaper-policy(5)",
    );
  }
  if (
    policy !== undefined && policyChanged !== undefined &&
    policyChanged > Date.parse(policy.loaded_at)
  ) {
    add(
      "warning",
      `${policy.file} was changed after it was loaded`,
      `diaper policy check ${policy.file} && sudo kill -HUP ${status.pid}`,
    );
  }
  if (!status.notices) {
    add(
      "warning",
      "the kernel gives no notices of closed sockets: pinholes close up to a second late",
      "sudo diaper doctor says what is missing",
    );
  }
  if ((status.sweep?.repaired ?? 0) > 0) {
    add(
      "warning",
      `the last sweep put back ${status.sweep?.repaired} entries that somebody had removed`,
      "find out who else changes the filter: nft monitor",
    );
  }
  return problems;
}

/** A status for people, line by line. */
export function statusLines(
  status: DaemonStatus,
  health: readonly HealthProblem[],
  now: number,
): string[] {
  const { enforcer, policy, pinholes, counts, sweep } = status;
  const { standby } = status;
  const started = `since ${since(status.started_at, now)}, process ${status.pid} (${status.role})`;
  const rows: [string, string][] = [[standby === undefined ? "guarded" : "stands by", started]];
  if (standby !== undefined) rows.push(["leader", standby.leader ?? "unknown"]);
  if (enforcer !== undefined) {
    rows.push(["enforcer", `${enforcer.name}, ${enforcer.failed === null ? "works" : "failed"}`]);
  }
  if (policy !== undefined) {
    const loaded = `loaded ${since(policy.loaded_at, now)}`;
    rows.push(["policy", `${policy.file}, ${policy.rules} rules, ${loaded}`]);
  }
  for (const u of status.uplinks ?? []) {
    const where = u.controller ?? "none reached";
    rows.push([
      "asks",
      `${where} in the name of ${u.delegate}; ${u.waiting} waiting, ${u.closing} to be closed`,
    ]);
  }
  const room = pinholes.capacity === undefined ? "" : `, room for ${pinholes.capacity}`;
  const waiting = (pinholes.waiting ?? 0) === 0 ? "" : `, ${pinholes.waiting} waiting`;
  rows.push(["pinholes", `${pinholes.open} open${room}${waiting}`]);
  if (status.brokers === undefined) rows.push(["agents", `${status.channels} connected`]);
  for (const b of status.brokers ?? []) {
    const way = b.via === "gate" ? "sshd and gate" : "ssh";
    rows.push(["broker", `${b.broker} from ${b.peer} by ${way}`]);
  }
  rows.push(
    ["so far", Object.entries(counts).map(([what, n]) => `${n} ${what}`).join(", ")],
  );
  if (status.dropped !== null && status.dropped !== undefined) {
    const { packets, bytes } = status.dropped;
    rows.push(["dropped", `${packets} packets, ${bytesText(bytes)}`]);
  }
  if (sweep !== null && sweep !== undefined) {
    rows.push([
      "sweep",
      `${sweep.pinholes} looked at, ${sweep.repaired} put back, ${sweep.idle} idle`,
    ]);
  }
  rows.push(["health", health.length === 0 ? "good" : `${health.length} to look at`]);
  const lines = rows.map(([name, text]) => `${style("bold", name.padEnd(9))} ${visible(text)}`);
  for (const { severity, text, next } of health) {
    const colour = severity === "failure" ? "red" : "yellow";
    lines.push(`  ${style(colour, `${severity}:`)} ${visible(text)}`, `    next: ${visible(next)}`);
  }
  return lines;
}

function since(time: string, now: number): string {
  return `${time} (${durationText(Math.max(0, now - Date.parse(time)))})`;
}

async function modifiedAt(file: string | undefined): Promise<number | undefined> {
  if (file === undefined) return undefined;
  try {
    return (await Deno.stat(file)).mtime?.getTime();
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied ||
      error instanceof Deno.errors.NotADirectory
    ) return undefined;
    throw error;
  }
}
