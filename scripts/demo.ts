/**
 * The demo: runs the scenario of an FTPS server behind a closed perimeter and tells what happens.
 *
 * @module
 */
import {
  type Attempt,
  type DeniedTransfer,
  FtpsScenario,
  type Transfer,
} from "../tests/scenarios/ftps_behind_perimeter.ts";
import { quantile, type Timeline } from "../tests/scenarios/timeline.ts";
import { heading, mark, say } from "./story_lines.ts";

const BYTES = 100_000_000;
const SMALL_FILES = 100;

/** Milliseconds; null when nothing was opened. */
type Ms = number | null;

/** What `--json` prints. */
interface DemoResult {
  readonly ok: boolean;
  readonly transfers: readonly {
    readonly client: string;
    readonly direction: string;
    readonly family: number;
    readonly bytes: number;
    readonly seconds: number;
    readonly sha256_match: boolean;
  }[];
  readonly denied: {
    readonly without_diaper: boolean;
    readonly third_host: boolean;
    readonly after_close: boolean;
  };
  readonly open_ms: { readonly median: Ms; readonly p99: Ms };
  readonly leaked_pinholes: number;
}

async function demo(): Promise<DemoResult> {
  say(
    `Building a network of namespaces, a server with a file of ${
      mega(BYTES)
    }, and its perimeter ...`,
  );
  await using scenario = await FtpsScenario.create({ bytes: BYTES, smallFiles: SMALL_FILES });
  const { client, neighbour, server } = scenario;
  say(`  client     ${client.address(4)}  ${client.address(6)}`);
  say(`  neighbour  ${neighbour.address(4)}  ${neighbour.address(6)}`);
  say(
    `  server     ${server.address(4)}  ${server.address(6)}: vsftpd, TLS forced, passive ports ` +
      "1025-65535",
  );
  say(
    "  perimeter  on the server, by diaper up: in only to tcp/21 and by pinholes, out everything",
  );

  heading("Without diaper's agent");
  const denials = await scenario.withoutDiaper();
  for (const d of denials) say(denialText(d));

  heading("With diaper: vsftpd started by diaper run --delegate ftpd");
  await scenario.serve();
  const transfers: Transfer[] = [];
  for (const family of [4, 6] as const) {
    for (const program of ["curl", "lftp"] as const) {
      for (const direction of ["fetch", "store"] as const) {
        const transfer = await scenario.transfer(program, direction, family);
        transfers.push(transfer);
        sayTransfer(transfer);
      }
    }
  }

  heading(`${SMALL_FILES} small files, each by a data connection of its own`);
  await scenario.fetchSmall();
  const leaked = await scenario.leaked();
  const times = scenario.openTimes();
  const [median, p99] = [0.5, 0.99].map((q) => quantile(times, q) ?? null) as [Ms, Ms];
  say(
    `  ${times.length} pinholes opened: median ${median ?? "-"} ms, p99 ${p99 ?? "-"} ms from ` +
      "asking to open",
  );
  say(mark(leaked === 0, `${leaked} pinholes left in diaper and in the kernel`));

  const fetches = transfers.filter((t) => t.direction === "fetch");
  const denied = {
    without_diaper: denials.every((d) => d.denied),
    third_host: fetches.every((t) => isDenied(t.third)),
    after_close: fetches.every((t) => isDenied(t.after)),
  };
  const ok = transfers.every((t) => t.sha256_match && isWhole(t.timeline)) &&
    fetches.every(oneHeld) && Object.values(denied).every((x) => x) && times.length > SMALL_FILES &&
    leaked === 0;
  return {
    ok,
    transfers: transfers.map((t) => ({
      client: t.client,
      direction: t.direction,
      family: t.family,
      bytes: t.bytes,
      seconds: t.seconds,
      sha256_match: t.sha256_match,
    })),
    denied,
    open_ms: { median, p99 },
    leaked_pinholes: leaked,
  };
}

function denialText(d: DeniedTransfer): string {
  if (d.port === undefined) {
    return mark(false, `${d.client} was given no data port: the attempt says nothing`);
  }
  return mark(
    d.denied,
    d.denied
      ? `${d.client} logged in by port 21 and was given data port ${d.port}; no answer from there`
      : `${d.client} was not stopped at data port ${d.port}`,
  );
}

function sayTransfer(t: Transfer): void {
  const what = `${t.client} ${t.direction === "fetch" ? "fetches" : "stores"} ${mega(t.bytes)} ` +
    `over IPv${t.family}`;
  say();
  say(mark(
    t.sha256_match,
    `${what}: ${t.seconds.toFixed(1)} s, SHA-256 ` +
      (t.sha256_match ? "equal" : "NOT equal"),
  ));
  for (const line of t.failure) say(`      ${line}`);
  for (const [name, at, text] of timelineRows(t.timeline)) {
    const start = t.timeline.bound ?? t.timeline.asked ?? t.timeline.opened ?? at;
    const offset = at === undefined ? "-" : `${signed(at - (start ?? at))} ms`;
    say(`      ${offset.padStart(12)}  ${name.padEnd(12)}  ${text}`.trimEnd());
  }
  if (t.direction === "store") return;
  const port = t.timeline.port;
  const { listed, kernel } = t.held ?? { listed: 0, kernel: 0 };
  say(mark(oneHeld(t), `meanwhile ${listed} pinhole in diaper's list, ${kernel} in the kernel`));
  say(attemptText(t.third, `the neighbour tried port ${port} meanwhile`));
  say(attemptText(t.after, `the client tried port ${port} again after the close`));
}

function timelineRows(t: Timeline): [string, number | undefined, string][] {
  const who = `${t.program ?? "?"} as ${t.user ?? "?"}`;
  const rule = t.rule?.replace(/^.*\//, "") ?? "?";
  const counted = t.packets === undefined ? "" : `; ${t.packets} packets, ${mega(t.bytes ?? 0)} in`;
  return [
    ["bind", t.bound, `port ${t.port}, ${who}`],
    ["asked", t.asked, ""],
    ["allowed", t.allowed, `by ${rule}`],
    ["open", t.opened, t.openMs === undefined ? "" : `${t.openMs} ms after asking`],
    ["first packet", t.firstPacket, ""],
    ["close", t.closed, `${t.why ?? "?"}${counted}`],
  ];
}

function attemptText(attempt: Attempt | undefined, what: string): string {
  if (attempt === undefined) return mark(false, `${what}: could not be tried`);
  if (!attempt.valid) return mark(false, `${what}: came too late or too early, it says nothing`);
  return mark(isDenied(attempt), `${what}, from ${attempt.from}: ${attempt.outcome}`);
}

function isDenied(attempt: Attempt | undefined): boolean {
  return attempt !== undefined && attempt.valid && attempt.outcome !== "connected";
}

/** The transfer was let in by a pinhole of its own and by nothing else. */
function oneHeld(t: Transfer): boolean {
  return t.held?.listed === 1 && t.held.kernel === 1;
}

/** Every step of a pinhole's life was seen, in its order. */
function isWhole(t: Timeline): boolean {
  const { opened, firstPacket, closed } = t;
  return opened !== undefined && firstPacket !== undefined && closed !== undefined &&
    t.rule !== undefined && t.openMs !== undefined && opened <= firstPacket &&
    firstPacket <= closed;
}

function signed(ms: number): string {
  return (ms < 0 ? "" : "+") + ms.toFixed(1);
}

function mega(bytes: number): string {
  return bytes < 100_000 ? `${bytes} B` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

async function main(): Promise<number> {
  const json = Deno.args.includes("--json");
  try {
    const result = await demo();
    say();
    say(result.ok ? "All as it should be." : "Not all is as it should be: see FAILED above.");
    if (json) say(JSON.stringify(result));
    return result.ok ? 0 : 1;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const data = new TextEncoder().encode(
      `demo: ${message}\n  next: dist/diaper doctor tells what this machine lacks\n`,
    );
    Deno.stderr.writeSync(data);
    if (json) say(JSON.stringify({ ok: false, error: message }));
    return 1;
  }
}

Deno.exit(await main());
