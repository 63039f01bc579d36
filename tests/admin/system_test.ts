/**
 * The console as a program on a host of its own, with an NI and a perimeter on others: what they report is there.
 */
import assert from "node:assert/strict";
import { newKeyPair } from "../../lib/sys/ssh.ts";
import { DIAPER_BINARY, DiaperHost } from "../lab/diaper.ts";
import type { Host } from "../lab/host.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { NiLab } from "../ni/inline_lab.ts";

/** Runs a verb about the console, and gives its JSON lines. */
async function ask(
  host: Host,
  config: string,
  ...words: string[]
): Promise<Record<string, unknown>[]> {
  const [verb = "", ...rest] = words;
  const text = await host.must(DIAPER_BINARY, [verb, ...rest, "--config", config, "--json"]);
  return text.trimEnd().split("\n").filter((l) => l !== "").map((l) => JSON.parse(l));
}

Deno.test({
  name:
    `console system: a perimeter's pinholes are listed at the console, with who, why and until when${
      labPossible ? "" : " (skipped: labs need root)"
    }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create({
      outside: [{ name: "admin", addresses: ["198.51.100.5"] }],
      inside: [{ name: "server", addresses: ["192.0.2.10"] }],
    });
    const [admin, server] = [lab.host("admin"), lab.host("server")];
    const path = lab.path("console");
    Deno.mkdirSync(path, { mode: 0o700 });
    const [consoleKey, gateKey] = [newKeyPair("console"), newKeyPair("gate")];
    const config = `${path}/console.yaml`;
    const secret = (name: string, text: string) =>
      Deno.writeTextFileSync(`${path}/${name}`, text, { mode: 0o600 });
    secret("console_key", consoleKey.privateKey);
    secret("gate_key", gateKey.privateKey);
    secret("peers", `gate ssh-ed25519 ${gateKey.publicKey} role=controller\n`);
    secret(
      "console.yaml",
      [
        `listen: ["${admin.address(4)}:7423"]`,
        ...["key", "peers"].map((k) => `${k}: ${path}/${k === "key" ? "console_key" : k}`),
        `run_dir: ${path}/run`,
        `state_dir: ${path}/state`,
        "control_group: root",
        "",
      ].join("\n"),
    );
    secret(
      "gate.yaml",
      [
        `connect: ["${admin.address(4)}:7423"]`,
        `console_keys: ["${consoleKey.publicKey}"]`,
        `key: ${path}/gate_key`,
        `state_dir: ${path}/gate-state`,
        "",
      ].join("\n"),
    );
    const console = admin.spawn(DIAPER_BINARY, ["console", "--config", config]);
    await console.waitForLine(/the page is at/, 60_000);
    const gate = await DiaperHost.up(lab, server, {
      policy: ["allow operator * * * * * *"],
      openPorts: [],
      settings: [`console: ${path}/gate.yaml`],
    });
    await console.waitForLine(/gate is there/, 30_000);
    await server.must(DIAPER_BINARY, [
      ...["pinhole", "open", "--proto", "tcp", "--source", "198.51.100.7"],
      ...["--destination", "192.0.2.10:50000", "--ttl", "600s", "--config", gate.config],
    ]);
    const pinholes = async () => await ask(admin, config, "console", "pinholes");
    let rows = await pinholes();
    for (let i = 0; i < 100 && rows.length === 0; i++) rows = await pinholes();
    assert.equal(rows.length, 1);
    const [p] = rows;
    assert.deepEqual(
      [p?.["controller"], p?.["source"], p?.["destination_port"], p?.["user"]],
      ["gate", "198.51.100.7", 50_000, "root"],
    );
    assert.ok(Date.parse(String(p?.["expires_at"])) > Date.now());
    const [status] = await ask(admin, config, "console", "status");
    assert.deepEqual([status?.["peers"], status?.["connected"]], [1, 1]);
    assert.equal((await console.stop()).code, 0);
  },
});

/** A console on the network's host, and an NI that reports to it. */
async function niWithConsole(lab: NiLab, ...settings: string[]) {
  const { net } = lab;
  const path = lab.lab.path("console");
  Deno.mkdirSync(path, { mode: 0o700 });
  const key = newKeyPair("console");
  const write = (name: string, ...lines: string[]) =>
    Deno.writeTextFileSync(`${path}/${name}`, lines.join("\n") + "\n", { mode: 0o600 });
  write("console_key", key.privateKey.trimEnd());
  write("peers", "# nobody yet");
  write(
    "console.yaml",
    `listen: ["${net.address(4)}:7423"]`,
    `key: ${path}/console_key`,
    `peers: ${path}/peers`,
    `run_dir: ${path}/run`,
    `state_dir: ${path}/state`,
    "control_group: root",
    `eve: { file: ${path}/eve.json }`,
  );
  write(
    "ni.yaml",
    `connect: ["${net.address(4)}:7423"]`,
    `console_keys: ["ssh-ed25519 ${key.publicKey}"]`,
    `key: ${path}/ni_key`,
    `state_dir: ${path}/ni-state`,
    ...settings,
  );
  const config = `${path}/console.yaml`;
  const console = net.spawn(DIAPER_BINARY, ["console", "--config", config]);
  await console.waitForLine(/the page is at/, 60_000);
  const ni = await lab.start("--scanner", "codered", "--console", `${path}/ni.yaml`);
  // The key that the NI has made is told to the console as the NI says it.
  const [, niKey = ""] = await ni.waitForLine(/diaper console authorize \S+ "(ssh-ed25519 \S+)"/);
  const line = await net.must(DIAPER_BINARY, [
    ...["console", "authorize", "edge", niKey, "--hosts", "203.0.113.0/24"],
  ]);
  write("peers", line.trimEnd());
  await net.must(DIAPER_BINARY, ["console", "reload", "--config", config]);
  await console.waitForLine(/edge is there/, 30_000);
  return { path, config, console, ni };
}

/** A worm's way: many addresses that nobody has looked up. */
const WORM = `
import socket
for i in range(1, 30):
    c = socket.socket(); c.settimeout(0.05)
    try: c.connect(("198.18.0.%d" % i, 80))
    except OSError: pass
    c.close()
`;

Deno.test({
  name:
    `console system: what an NI's scanner finds in real traffic is at the console, with its packets${
      labPossible ? "" : " (skipped: labs need root)"
    }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await NiLab.create();
    const { host, net } = lab;
    await host.must("ip", ["route", "add", "198.18.0.0/16", "via", lab.netAddress]);
    const { path, config, console, ni } = await niWithConsole(lab);
    await host.must("python3", ["-c", WORM]);
    const alerts = async () => await ask(net, config, "alerts", "--scanner", "codered");
    let found = await alerts();
    for (let i = 0; i < 100 && found.length === 0; i++) found = await alerts();
    const [alert] = found;
    const about = alert?.["diaper"] as { ni: string; capture: number };
    assert.equal(about.ni, "edge");
    assert.ok(about.capture > 24, "its packets came with it");
    assert.equal(alert?.["src_ip"], lab.hostAddress);
    const eve = JSON.parse(Deno.readTextFileSync(`${path}/eve.json`).split("\n")[0] ?? "") as {
      host: string;
    };
    assert.equal(eve.host, "edge");
    assert.equal((await ni.stop()).code, 0);
    assert.equal((await console.stop()).code, 0);
  },
});

Deno.test({
  name: `console system: a host is blocked, slowed and let go at its NI by order${
    labPossible ? "" : " (skipped: labs need root)"
  }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await NiLab.create();
    const { host, net } = lab;
    const { config, console, ni } = await niWithConsole(lab);
    const order = (...words: string[]) =>
      net.must(DIAPER_BINARY, [...words, "--why", "a test", "--config", config]);
    assert.equal((await lab.ping(1, lab.netAddress)).answered, 1);
    await order("block", lab.hostAddress, "--for", "1h");
    await ni.waitForLine(/block 203\.0\.113\.1 until .*: a test/);
    assert.equal((await lab.ping(2, "-i", "0.05", lab.netAddress)).answered, 0);
    // Another address of the same host is another host's.
    assert.equal((await lab.ping(1, "2001:db8:77::2")).answered, 1);
    await order("slow", lab.hostAddress, "--connections", "1", "--for", "1h");
    await ni.waitForLine(/slow 203\.0\.113\.1 until/);
    const tried = await host.must("python3", ["-c", BURST, lab.netAddress]);
    const refused = Number(tried);
    assert.ok(refused >= 1 && refused <= 3, `${refused} of 20 at once got out`);
    await order("filter", lab.hostAddress, "--to", "198.51.100.0/24", "--for", "1h");
    await ni.waitForLine(/filter 203\.0\.113\.1 until/);
    assert.equal((await lab.ping(1, lab.netAddress)).answered, 0);
    await order("allow", lab.hostAddress);
    await ni.waitForLine(/allow 203\.0\.113\.1/);
    assert.equal((await lab.ping(1, lab.netAddress)).answered, 1);
    ni.kill("SIGUSR2");
    const [line] = await ni.waitForLine(/^\{"links".*/);
    const status = JSON.parse(line) as { contained: unknown[]; frames: { contained: number } };
    assert.deepEqual(status.contained, []);
    assert.ok(status.frames.contained > 10);
    assert.equal((await ni.stop()).code, 0);
    assert.equal((await console.stop()).code, 0);
  },
});

/** Begins 20 connections at once, each with one SYN; how many were refused, which is an answer. */
const BURST = `
import select, socket, sys
s = []
for i in range(20):
    c = socket.socket(); c.setblocking(False)
    c.connect_ex((sys.argv[1], 7000 + i)); s.append(c)
p = select.poll()
for c in s: p.register(c, select.POLLERR | select.POLLHUP)
print(len(p.poll(700)))
`;
