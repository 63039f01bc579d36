/**
 * The demo of the union: a server behind an NI begins to scan, loses its pinholes and is slowed. Tells it as it goes, and
 * shows the console's page.
 *
 *   --screenshots DIR   where pictures of the page go; a temporary directory without it
 *   --json              the last line is one object with the results
 *
 * @module
 */
import { existsSync, mkdirSync } from "node:fs";
import {
  type CutTransfer,
  WormScenario,
  type WormStory,
} from "../tests/scenarios/worm_behind_ni.ts";
import { PageCamera } from "./page_camera.ts";
import { heading, mark, say } from "./story_lines.ts";

/** A host must be stopped within. Milliseconds. */
const SOON = 1000;

/** What `--json` prints. Milliseconds are counted from the worm's first packet. */
interface StoryResult {
  readonly ok: boolean;
  readonly story: "worm";
  readonly found_ms: number;
  readonly pinhole_closed_ms: number;
  readonly slowed_ms: number;
  readonly bytes_after_close: number;
  readonly refused: { readonly why: string; readonly client_failed: boolean };
  readonly escaped: { readonly server: number; readonly desk: number; readonly tried: number };
  readonly outbreak_hosts: readonly string[];
  readonly undone: boolean;
  readonly screenshots: readonly string[];
}

async function demo(directory: string): Promise<StoryResult> {
  say(
    "Building a network of namespaces: a server with vsftpd (TLS forced), a desk, an NI before each,",
  );
  say("the server's own perimeter (diaper up), and a console on the network's side ...");
  await using scenario = await WormScenario.create();
  const { server, desk } = scenario.addresses;
  say(`  server  ${server}   desk  ${desk}   console  ${scenario.net.address(4)}`);
  await using camera = await PageCamera.open(scenario.console, scenario.net, directory);

  heading("Before: a client fetches a file");
  const transfer = await scenario.fetch();
  const port = transfer.opened["destination_port"];
  say(mark(await scenario.pinholes() === 1, `a pinhole to port ${port}, which the console lists`));
  await camera.shoot("pinholes", "Pinholes", { waitFor: "ftpd" });
  await camera.shoot("pinholes-dark-phone", "Pinholes", {
    waitFor: "ftpd",
    dark: true,
    phone: true,
  });

  heading("The server begins to scan like Code-Red, 50 random addresses a second");
  const worm = await scenario.worm("server");
  const cut = await scenario.cut(transfer);
  sayStory(worm, cut);
  const refused = await scenario.fetchRefused();
  const why = /codered at ni-server/.test(refused.why);
  say(mark(why && refused.code !== 0, `a new transfer gets no data port: ${refused.why}`));
  const contained = await scenario.contained("server");
  const slowed = contained.some(({ verb, dropped }) => verb === "slow" && dropped > 0);
  say(mark(slowed, `the NI has dropped ${contained[0]?.dropped ?? 0} packets of it since`));

  heading("The desk has it too");
  const second = await scenario.worm("desk");
  say(mark(
    second.slowed - second.began <= SOON,
    `found ${ms(second.found - second.began)} and slowed ${ms(second.slowed - second.began)} ` +
      `after its first packet; ${second.escaped} of ${second.tried} got out`,
  ));
  const hosts = await scenario.outbreak();
  say(mark(hosts.length === 2, `the console joins both to one outbreak: ${hosts.join(", ")}`));

  heading("The page");
  await camera.shoot("overview", "Overview", { waitFor: "same finding" });
  await camera.shoot("overview-dark", "Overview", { waitFor: "same finding", dark: true });
  await camera.shoot("alerts", "Alerts", { waitFor: "codered" });
  await camera.shoot("timeline", "Timeline", {
    waitFor: "controller:gate",
    fill: server,
    gone: "ni-desk",
  });
  await camera.shoot("timeline-dark", "Timeline", { waitFor: "controller:gate", dark: true });
  await camera.shoot("timeline-phone", "Timeline", { waitFor: "controller:gate", phone: true });
  await camera.shoot("contained", "Contained", { waitFor: "controller:gate" });
  await camera.shoot("contained-phone", "Contained", { waitFor: "controller:gate", phone: true });
  await camera.shoot("audit", "Audit", { waitFor: "order.slow" });
  const pictures = camera.pictures;
  if (pictures.length > 0) say(`  ${pictures.length} pictures in ${directory}`);
  say(mark(camera.complaints.length === 0, camera.summary()));

  heading("The server is cleaned, and let go");
  await scenario.allow(server, "cleaned");
  const again = await scenario.fetch();
  again.process.kill("SIGKILL");
  await again.process.status;
  say(mark(true, "a transfer has its pinhole again"));
  const undone = (await scenario.contained("server")).length === 0;
  say(mark(undone, "its NI holds nothing back"));

  const closed = cut.closed - worm.began;
  const slow = worm.slowed - worm.began;
  return {
    ok: closed <= SOON && slow <= SOON && cut.atEnd - cut.atClose < scenario.rate && why &&
      refused.code !== 0 && slowed && hosts.length === 2 && undone &&
      camera.complaints.length === 0 && worm.order.owner === "controller:gate",
    story: "worm",
    found_ms: round(worm.found - worm.began),
    pinhole_closed_ms: round(closed),
    slowed_ms: round(slow),
    bytes_after_close: cut.atEnd - cut.atClose,
    refused: { why: refused.why, client_failed: refused.code !== 0 },
    escaped: { server: worm.escaped, desk: second.escaped, tried: worm.tried },
    outbreak_hosts: hosts,
    undone,
    screenshots: pictures,
  };
}

function sayStory(worm: WormStory, cut: CutTransfer): void {
  const rows: [number, string, string][] = [
    [worm.began, "first packet", `of ${worm.tried} addresses that nobody has looked up`],
    [worm.found, "found", "by the scanner codered at ni-server"],
    [cut.closed, "closed", `the pinhole to port ${cut.port}: ${cut.why}`],
    [worm.ordered, "ordered", `by ${worm.order.owner}: ${worm.order.reason}`],
    [worm.slowed, "slowed", `at ni-server, until ${new Date(worm.order.until).toISOString()}`],
  ];
  for (const [at, name, text] of rows.sort(([a], [b]) => a - b)) {
    say(`      ${`+${(at - worm.began).toFixed(1)} ms`.padStart(12)}  ${name.padEnd(12)}  ${text}`);
  }
  say(mark(cut.closed - worm.began <= SOON, `its pinhole was closed within ${SOON} ms`));
  say(mark(worm.slowed - worm.began <= SOON, `it was slowed within ${SOON} ms`));
  const { atEnd, bytes } = cut;
  say(mark(atEnd < bytes, `the client had ${mega(atEnd)} of ${mega(bytes)}, and got no more`));
  say(`      ${worm.escaped} of ${worm.tried} attempts of the worm got out of the NI`);
}

function mega(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

async function main(): Promise<number> {
  const json = Deno.args.includes("--json");
  const at = Deno.args.indexOf("--screenshots");
  const directory = at < 0 ? Deno.makeTempDirSync({ prefix: "diaper-story-" }) : Deno.args[at + 1];
  if (directory === undefined) throw new TypeError("--screenshots needs a directory");
  if (!existsSync(directory)) mkdirSync(directory, { recursive: true });
  try {
    const result = await demo(directory);
    say();
    say(result.ok ? "All as it should be." : "Not all is as it should be: see FAILED above.");
    if (json) say(JSON.stringify(result));
    return result.ok ? 0 : 1;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const text = `demo: ${message}\n  next: dist/diaper doctor tells what this machine lacks\n`;
    Deno.stderr.writeSync(new TextEncoder().encode(text));
    if (json) say(JSON.stringify({ ok: false, story: "worm", error: message }));
    return 1;
  }
}

Deno.exit(await main());
