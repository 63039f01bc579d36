/**
 * Sessions with devices: logging in, what is asked on the way, secrets, captured talks, and streams of anything.
 */
import assert from "node:assert/strict";
import { parse } from "yaml";
import { readSessionDialect } from "../../drivers/dialect.ts";
import junosText from "../../drivers/dialects/junos.yaml" with { type: "text" };
import iosText from "../../drivers/dialects/ios.yaml" with { type: "text" };
import { readDialect } from "../../drivers/dialect.ts";
import type { SessionDialect } from "../../drivers/dialect.ts";
import type { ByteStream } from "../../drivers/transport/bytes.ts";
import { NetconfSession } from "../../drivers/transport/netconf.ts";
import { Screen } from "../../drivers/transport/screen.ts";
import { CliSession, SessionError } from "../../drivers/transport/session.ts";
import { Transcript } from "../../drivers/transport/transcript.ts";
import { JunosDevice } from "../../lib/devices/junos.ts";
import { createDevice, DEVICE_NAMES } from "../../lib/devices/mod.ts";
import { deviceAndDriver, driverFor } from "../drivers/devices.ts";
import { open, tuple } from "../drivers/tuples.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";
import { noise } from "./fault_matrix.ts";

const IOS = readDialect(iosText, "ios.yaml");
const JUNOS = readSessionDialect(junosText, "junos.yaml");
const ONE = open(tuple("tcp", "198.51.100.1", 0, "192.0.2.1", 5000));

for (const name of DEVICE_NAMES) {
  Deno.test(`${name}: banner, enable password and transcript without secrets`, async () => {
    const transcripts = await Deno.makeTempDir();
    try {
      const enablePassword = "opensesame-7";
      const banner = "\n*** Authorised use only ***\nWelcome to R1\n";
      const options = { password: "hunter2-long", banner, enablePassword };
      const overrides = { transcripts, junos: { transport: "cli" } };
      {
        await using made = await deviceAndDriver(name, options, overrides);
        await made.enforcer.connect();
        assert.deepEqual(await made.enforcer.apply([ONE]), [{ ok: true }]);
      }
      const files = filesBelow(transcripts, [".log"]);
      assert.equal(files.length, 1);
      const text = Deno.readTextFileSync(files[0] as string);
      assert.ok(text.includes("198.51.100.1"), text.slice(0, 500));
      assert.ok(!text.includes(options.password) && !text.includes(enablePassword));
      assert.equal((Deno.statSync(files[0] as string).mode ?? 0) & 0o777, 0o600);
    } finally {
      await Deno.remove(transcripts, { recursive: true });
    }
  });
}

Deno.test("ironware: a user name asked for at enable is given", async () => {
  const options = { enablePassword: "sesame", enableAsksUser: true };
  await using made = await deviceAndDriver("ironware", options);
  await made.enforcer.connect();
  assert.deepEqual(await made.enforcer.apply([ONE]), [{ ok: true }]);
});

Deno.test("devices: a wrong password, another host key and a dead port are told, with the next step", async () => {
  await using device = createDevice("ios");
  await device.start();
  const cases = [
    { overrides: { password: "wrong" }, message: /Cannot log in/, next: /password_file/ },
    {
      overrides: { host_key: `SHA256:${"A".repeat(43)}` },
      message: new RegExp(device.fingerprint.replaceAll(/[+/]/g, ".")),
      next: /console/,
    },
  ];
  for (const { overrides, message, next } of cases) {
    const driver = driverFor(device, overrides);
    await assert.rejects(driver.connect(), (error: Error & { next?: string }) => {
      assert.match(error.message, message);
      assert.match(error.next ?? "", next);
      return true;
    });
    await driver.close();
  }
  const driver = driverFor(device);
  await device.stop();
  await assert.rejects(driver.connect(), /Cannot reach/);
});

Deno.test({
  name: "devices: old algorithms only where the configuration asks for them",
  // The library leaves the ciphers of CBC to the garbage collector, which the sanitizer does not wait for.
  sanitizeResources: false,
  fn: async () => {
    await using made = await deviceAndDriver("ios", { oldAlgorithms: true });
    await assert.rejects(made.enforcer.connect(), (error: Error & { next?: string }) => {
      assert.match(error.next ?? "", /old_algorithms/);
      return true;
    });
    const old = driverFor(made.device, { old_algorithms: true });
    await old.connect();
    assert.deepEqual(await old.apply([ONE]), [{ ok: true }]);
    await old.close();
  },
});

Deno.test("devices: a look makes nothing there", async () => {
  for (const name of DEVICE_NAMES) {
    await using made = await deviceAndDriver(name);
    assert.deepEqual(await made.enforcer.inspect?.(), [], name);
    assert.deepEqual(made.device.acls.all, []);
    if (made.device instanceof JunosDevice) assert.equal(made.device.committed.filters.size, 0);
    await made.enforcer.connect();
    await made.enforcer.apply([ONE]);
    await made.enforcer.close();
    assert.equal((await made.enforcer.inspect?.())?.length, 1, name);
  }
});

Deno.test("devices: counters are summed over resets", async () => {
  await using made = await deviceAndDriver("ios");
  const { device, enforcer } = made;
  await enforcer.connect();
  await enforcer.apply([ONE]);
  const packet = {
    proto: "tcp",
    source: ONE.tuple.source,
    sourcePort: 4000,
    destination: ONE.tuple.destination,
    destinationPort: 5000,
  };
  assert.ok(device.packet("DIAPER", packet, 5));
  assert.equal((await enforcer.counters([ONE.tuple]))[0]?.packets, 5);
  for (const acl of device.acls.all) acl.clearCounters();
  assert.ok(device.packet("DIAPER", packet, 2));
  assert.equal((await enforcer.counters([ONE.tuple]))[0]?.packets, 7);
  await enforcer.apply([{ ...ONE, action: "close" }, ONE]);
  assert.equal((await enforcer.counters([ONE.tuple]))[0]?.packets, 0);
  assert.ok(!device.packet("DIAPER", { ...packet, destinationPort: 5001 }));
});

/** A device that says what a test wants. */
class Script implements ByteStream {
  #onData: (piece: Uint8Array) => void = () => {};
  #onEnd: (why: string) => void = () => {};
  readonly #answer: (line: string) => string;
  readonly #first: Uint8Array[];
  #line = "";
  #queue: Uint8Array[] = [];
  closed = false;
  constructor(first: readonly (string | Uint8Array)[], answer: (line: string) => string) {
    this.#first = first.map((f) => typeof f === "string" ? new TextEncoder().encode(f) : f);
    this.#answer = answer;
  }
  listen(onData: (piece: Uint8Array) => void, onEnd: (why: string) => void): void {
    [this.#onData, this.#onEnd] = [onData, onEnd];
    this.#queue.push(...this.#first);
    queueMicrotask(() => this.#drain());
  }
  write(bytes: Uint8Array): void {
    for (const character of new TextDecoder().decode(bytes)) {
      if (character !== "\n") this.#line += character;
      else {
        this.#queue.push(new TextEncoder().encode(this.#answer(this.#line)));
        this.#line = "";
      }
    }
    queueMicrotask(() => this.#drain());
  }
  end(): void {
    this.#onEnd("the test ended it");
  }
  close(): void {
    this.closed = true;
  }
  #drain(): void {
    for (const piece of this.#queue.splice(0)) this.#onData(piece);
  }
}

function openScript(script: Script, dialect: SessionDialect, timeout = 0.2): Promise<CliSession> {
  return CliSession.open(script, {
    dialect,
    transcript: new Transcript({ device: "script" }),
    answers: { user: "u", password: "p", enable: "e" },
    timeout,
  });
}

const JUNK: Record<string, (string | Uint8Array)[]> = {
  "random bytes": [noise(300_000)],
  "escape sequences": ["\x1b[2J\x1b[1;1H\x1b]0;title\x07\x1b[".repeat(20_000)],
  "10 MB without a prompt": Array.from({ length: 160 }, () => new Uint8Array(65_536).fill(120)),
  "10 MB of lines": Array.from({ length: 160 }, () => "no prompt here\r\n".repeat(4096)),
  "a pager that never ends": ["--More--"],
  "a question that never ends": ["Password: "],
  "nothing": [],
};

for (const [name, pieces] of Object.entries(JUNK)) {
  Deno.test(`sessions: ${name} is an error with its place, within the time-out`, async () => {
    const again = name.startsWith("a ") ? (pieces[0] as string) : "";
    for (const dialect of [IOS, JUNOS]) {
      const script = new Script(pieces, () => `\r\n${again}`);
      await assert.rejects(openScript(script, dialect), (error: unknown) => {
        assert.ok(error instanceof SessionError, String(error));
        assert.match(error.message, /transcript line \d+/);
        assert.ok(error.next !== "");
        return true;
      });
      assert.ok(script.closed);
    }
    const script = new Script(pieces, () => "");
    const transcript = new Transcript({ device: "script" });
    await assert.rejects(
      NetconfSession.open(script, { transcript, timeout: 0.2 }),
      (error: unknown) =>
        error instanceof SessionError && /transcript line \d+/.test(error.message),
    );
  });
}

interface Captured {
  readonly events: Record<string, {
    readonly post_on_open: Record<string, {
      readonly channel_output?: string;
      readonly result_privilege_level: string;
      readonly event_steps?: { readonly channel_output: string }[];
    }>;
  }>;
  readonly unknown_events: Record<string, { post_on_open: { readonly channel_output: string } }>;
  readonly privilege_level_prompts: Record<string, string>;
}

/** Plays a captured session: what the device answered to each command in each mode. */
function replay(file: string, start: string): Script {
  const captured = parse(Deno.readTextFileSync(file)) as Captured;
  let mode = start;
  const pending: string[] = [];
  return new Script([`\r\n${captured.privilege_level_prompts[start]}`], (line) => {
    const step = pending.shift();
    if (step !== undefined) return `\r\n${step}`;
    const event = captured.events[mode]?.post_on_open[line];
    const text = event?.channel_output ?? event?.event_steps?.[0]?.channel_output ??
      captured.unknown_events[mode]?.post_on_open.channel_output ?? "";
    pending.push(...(event?.event_steps ?? []).slice(1).map((s) => s.channel_output));
    mode = event?.result_privilege_level ?? mode;
    return `${line}\r\n${text.replaceAll("\n", "\r\n")}`;
  });
}

sharedTest(
  "sessions: captured talks of IOS-XE and Junos are followed",
  "drivers/sessions",
  async (directory) => {
    const ios = replay(`${directory}/scrapli_cisco_iosxe.yaml`, "exec");
    const width = { ...IOS, setup: ["terminal length 0", "terminal width 512"] };
    const session = await openScript(ios, width, 2);
    assert.equal(session.mode, "enabled");
    const version = (await session.run("show version")).filter((line) => line.trim() !== "");
    assert.match(version[0] as string, /^Cisco IOS XE Software, Version 16.12.03/);
    assert.match(version.at(-1) as string, /^Configuration register/);
    await session.run("configure terminal");
    assert.equal(session.mode, "config");
    await session.run("end");
    assert.equal(session.mode, "enabled");
    session.close();
    const junos = await openScript(
      replay(`${directory}/scrapli_juniper_junos.yaml`, "exec"),
      JUNOS,
      2,
    );
    assert.equal(junos.mode, "enabled");
    assert.deepEqual((await junos.run("configure private")).slice(0, 3), [
      " ",
      "warning: uncommitted changes will be discarded on exit",
      "Entering configuration mode",
    ]);
    assert.equal(junos.mode, "config");
    junos.close();
  },
);

Deno.test("screens: overwritten pagers, backspaces and escapes show what a terminal would", () => {
  const lines: string[] = [];
  const screen = new Screen();
  screen.onLine = (line) => lines.push(line);
  const text =
    "a\r\n --More-- \r          \rb\x1b[Kc\r\nx\b\by\bz\r\n\x1b[1;31mred\x1b[0m\r\r\nend#";
  for (const byte of new TextEncoder().encode(text)) screen.write(Uint8Array.of(byte));
  assert.deepEqual(lines, ["a", "bc", "z", "red"]);
  assert.equal(screen.current, "end#");
});
