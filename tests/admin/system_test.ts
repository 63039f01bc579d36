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

/** An address of the host behind the NI that is never to be contained. */
const SPARED = "203.0.113.9";

/** A console on the network's host, and an NI that reports to it. */
async function niWithConsole(
  lab: NiLab,
  settings: readonly string[] = [],
  start = (file: string) => lab.start("--scanner", "codered", "--console", file),
) {
  const { net } = lab;
  const path = lab.lab.path("console");
  const own = settings.some((line) => line.startsWith("state_dir"))
    ? []
    : [`state_dir: ${path}/ni-state`];
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
    `never_block: ["${SPARED}"]`,
  );
  write(
    "ni.yaml",
    `connect: ["${net.address(4)}:7423"]`,
    `console_keys: ["ssh-ed25519 ${key.publicKey}"]`,
    `key: ${path}/ni_key`,
    ...own,
    ...settings,
  );
  const config = `${path}/console.yaml`;
  const console = net.spawn(DIAPER_BINARY, ["console", "--config", config]);
  await console.waitForLine(/the page is at/, 60_000);
  const ni = await start(`${path}/ni.yaml`);
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

/** One connection on which every word is answered; says how many were. */
const ECHO = `
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 7777)); s.listen(); print("listening", flush=True)
c, _ = s.accept()
while (b := c.recv(65536)): c.sendall(b)
`;
const TALK = `
import socket, sys, threading, time
c = socket.create_connection((sys.argv[1], 7777), timeout=10)
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
over = False
def wait():
    global over
    sys.stdin.read(); over = True
threading.Thread(target=wait, daemon=True).start()
print("talking", flush=True)
n = 0; slowest = 0
while not over:
    at = time.monotonic(); c.sendall(b"%08d" % n); b = b""
    while len(b) < 8: b += c.recv(8 - len(b))
    assert b == b"%08d" % n; n += 1; slowest = max(slowest, time.monotonic() - at)
    time.sleep(0.002)
print("answered", n, flush=True)
`;

/** Ends at once. */
const BOOM = "Deno.exit(3);\n";

Deno.test({
  name:
    `console system: a bundle is switched to beside the old scanners without losing a connection, and one that crashes is taken back${
      labPossible ? "" : " (skipped: labs need root)"
    }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await NiLab.create();
    const { host, net } = lab;
    await host.must("ip", ["route", "add", "198.18.0.0/16", "via", lab.netAddress]);
    // Code is started from where nobody else can write only, which a temporary directory is not.
    const state = `/var/lib/diaper-test-${crypto.randomUUID()}`;
    await using _ = { [Symbol.asyncDispose]: () => Deno.remove(state, { recursive: true }) };
    const { path, config, console, ni } = await niWithConsole(lab, [
      "bundles: { probation: 2 }",
      `state_dir: ${state}`,
    ]);
    const codered = [
      "  codered:",
      "    read: [port 53, tcp]",
      '    contain: ["tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", ip6]',
    ];
    const write = (name: string, ...lines: string[]) =>
      Deno.writeTextFileSync(`${path}/${name}`, lines.join("\n") + "\n");
    write("good.yaml", "version: good-1", "scanners:", ...codered, "prevent: [udp port 9999]");
    write(
      "bad.yaml",
      "version: bad-2",
      "scanners:",
      ...codered,
      "  boom: { code: boom.js, read: [tcp] }",
    );
    write(
      "greedy.yaml",
      "version: greedy-3",
      "scanners:",
      ...codered,
      "    cpu: 100",
      "    memory: 9000000000",
    );
    write("boom.js", BOOM);
    const push = (file: string) =>
      net.run(DIAPER_BINARY, ["scanners", "push", `${path}/${file}`, "--config", config, "--json"]);
    const phases = (text: string) =>
      text.trim().split("\n").map((l) =>
        JSON.parse(l) as { peer?: string; phase?: string; why?: string }
      )
        .filter((n) => n.peer !== undefined);
    const running = async () => {
      const [edge] = await ask(net, config, "console", "peers");
      return (edge?.["bundle"] as { version: string } | null)?.version;
    };
    const server = net.spawn("python3", ["-c", ECHO]);
    await server.waitForLine(/listening/);
    const talk = host.spawn("python3", ["-c", TALK, lab.netAddress]);
    await talk.waitForLine(/talking/);
    const good = await push("good.yaml");
    assert.equal(good.code, 0, good.stdout + good.stderr);
    assert.deepEqual(phases(good.stdout).map((n) => n.phase), ["started", "switched", "healthy"]);
    assert.equal(await running(), "good-1");
    const bad = await push("bad.yaml");
    assert.equal(bad.code, 1);
    const last = phases(bad.stdout).at(-1);
    assert.equal(last?.phase, "rolled-back", last?.why);
    const code = () =>
      [...Deno.readDirSync(`${state}/bundles`)].filter((e) => e.isDirectory).length;
    assert.equal(code(), 1, "code of the one that was tried last, until another one is");
    assert.match(last?.why ?? "", /boom/);
    const greedy = await push("greedy.yaml");
    assert.equal(greedy.code, 5);
    assert.match(greedy.stderr, /9000000000 bytes of memory/);
    // All that time one connection went on.
    await talk.closeInput();
    const [, answered] = await talk.waitForLine(/answered (\d+)/);
    assert.ok(Number(answered) > 500, answered);
    assert.equal(await running(), "good-1");
    // What it went back to works, and so does what only the bundle has.
    await host.must("python3", ["-c", WORM]);
    let found = await ask(net, config, "alerts", "--scanner", "codered");
    for (let i = 0; i < 100 && found.length === 0; i++) {
      found = await ask(net, config, "alerts", "--scanner", "codered");
    }
    assert.ok(found.length > 0);
    const history = await ask(net, config, "scanners", "history");
    assert.deepEqual(history.map((r) => r["version"]), ["bad-2", "good-1"]);
    // Only what was well is there after a restart.
    assert.equal((await ni.stop()).code, 0);
    const again = await lab.start("--scanner", "codered", "--console", `${path}/ni.yaml`);
    await again.waitForLine(/the console is there/, 30_000);
    let now = await running();
    for (let i = 0; i < 100 && now !== "good-1"; i++) now = await running();
    assert.equal(now, "good-1");
    again.kill("SIGUSR2");
    const [status] = await again.waitForLine(/^\{.*"rules".*/);
    assert.match(status, /udp port 9999/);
    assert.equal(code(), 0, "no code of what will not run again");
    assert.equal((await again.stop()).code, 0);
    assert.equal((await console.stop()).code, 0);
  },
});

Deno.test({
  name: `console system: a configuration that the console sends is taken whole, or leaves no trace${
    labPossible ? "" : " (skipped: labs need root)"
  }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await NiLab.create();
    const { net, box } = lab;
    const file = lab.lab.path("ni-itself.yaml");
    const text = (...more: string[]) =>
      ["links: { host: porth, net: portn }", `run_dir: ${lab.lab.path("ni-run")}`, ...more, ""]
        .join("\n");
    Deno.writeTextFileSync(file, text(), { mode: 0o600 });
    const { path, config, console, ni } = await niWithConsole(lab, [], async (consoleFile) => {
      const ni = box.spawn(DIAPER_BINARY, [
        "ni",
        "--config",
        file,
        "--console",
        consoleFile,
        "--json",
      ]);
      await ni.waitForLine(/NI between porth and portn/, 60_000);
      return ni;
    });
    const send = async (content: string) => {
      Deno.writeTextFileSync(`${path}/new.yaml`, content);
      const before = (await ask(net, config, "console", "audit")).length;
      await net.must(DIAPER_BINARY, [
        "console",
        "configure",
        `${path}/new.yaml`,
        "edge",
        "--config",
        config,
      ]);
      for (;;) {
        const lines = await ask(net, config, "console", "audit");
        const answer = lines.slice(0, lines.length - before).find((l) =>
          String(l["who"]) === "edge"
        );
        if (answer !== undefined) {
          return [answer["what"], (answer["detail"] as { why: string }).why];
        }
      }
    };
    assert.deepEqual(await lab.ping(2, lab.netAddress), { answered: 2, twice: 0 });
    const good = text("prevent: [{ filter: icmp }]");
    assert.deepEqual(await send(good), ["config.taken", ""]);
    assert.equal((await lab.ping(1, lab.netAddress)).answered, 0);
    const [what, why] = await send(text("prevent: [{ filter: no such filter }]"));
    assert.equal(what, "config.refused");
    assert.match(String(why), /no such filter|syntax|unknown/);
    assert.equal((await send("links: { host: lo, net: portn }\n"))[0], "config.refused");
    assert.equal(Deno.readTextFileSync(file), good);
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

Deno.test({
  name:
    `console system: who is contained stays so over kill -9 of the NI, not longer than ordered, and orders wait for it${
      labPossible ? "" : " (skipped: labs need root)"
    }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await NiLab.create();
    const { net } = lab;
    const { path, config, console, ni } = await niWithConsole(lab);
    const order = async (...words: string[]) => {
      const text = await net.must(DIAPER_BINARY, [
        ...[...words, "--why", "a test", "--config", config, "--json"],
      ]);
      return JSON.parse(text) as { state: string };
    };
    const start = () => lab.start("--scanner", "codered", "--console", `${path}/ni.yaml`);
    assert.equal((await order("block", lab.hostAddress, "--for", "1h")).state, "done");
    ni.kill("SIGKILL");
    await ni.status;
    // While it is away it is told to let another host go when it comes, and to contain a third.
    assert.equal((await order("slow", "203.0.113.50", "--for", "1h")).state, "sent");
    const again = await start();
    await again.waitForLine(/block 203\.0\.113\.1 until .*, as before: a test \(root\)/);
    assert.equal((await lab.ping(2, "-i", "0.05", lab.netAddress)).answered, 0);
    await again.waitForLine(/slow 203\.0\.113\.50 until .*: a test/);
    // A short one ends while the NI is dead.
    assert.equal((await order("block", lab.hostAddress, "--for", "1s")).state, "done");
    again.kill("SIGKILL");
    await again.status;
    const blocked = async () =>
      (await ask(net, config, "console", "orders")).some((o) =>
        (o["order"] as { verb: string }).verb === "block"
      );
    for (let i = 0; i < 100 && await blocked(); i++);
    assert.equal(await blocked(), false, "the console knows that it is over");
    const third = await start();
    await third.waitForLine(/slow 203\.0\.113\.50 until .*, as before/);
    assert.equal((await lab.ping(1, lab.netAddress)).answered, 1);
    assert.equal((await third.stop()).code, 0);
    assert.equal((await console.stop()).code, 0);
  },
});

/** Asks for a zone: one datagram, one finding. */
const AXFR = `
import socket, sys
q = b"\\0\\1\\0\\0\\0\\1\\0\\0\\0\\0\\0\\0\\7example\\0\\0\\xfc\\0\\1"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[2], 0))
s.sendto(q, (sys.argv[1], 53))
`;

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

Deno.test({
  name:
    `console system: a worm behind an NI loses its pinholes, gets none, is slowed at its NI, and is let go${
      labPossible ? "" : " (skipped: labs need root)"
    }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await NiLab.create();
    const { host, net } = lab;
    await host.must("ip", ["route", "add", "198.18.0.0/16", "via", lab.netAddress]);
    const { path, config, console, ni } = await niWithConsole(lab);
    const [consoleKey, gateKey] = [
      Deno.readTextFileSync(`${path}/ni.yaml`).match(/ssh-ed25519 [^"]+/)?.[0],
      newKeyPair("gate"),
    ];
    Deno.writeTextFileSync(`${path}/gate_key`, gateKey.privateKey, { mode: 0o600 });
    Deno.writeTextFileSync(
      `${path}/peers`,
      `gate ssh-ed25519 ${gateKey.publicKey} role=controller hosts=203.0.113.0/24 orders=slow\n`,
      { append: true },
    );
    Deno.writeTextFileSync(
      `${path}/gate.yaml`,
      [
        `connect: ["${net.address(4)}:7423"]`,
        `console_keys: ["${consoleKey}"]`,
        `key: ${path}/gate_key`,
        `state_dir: ${path}/gate-state`,
        "",
      ].join("\n"),
      { mode: 0o600 },
    );
    await net.must(DIAPER_BINARY, ["console", "reload", "--config", config]);
    const gate = await DiaperHost.up(lab.lab, host, {
      policy: [
        "allow operator * * * * * *",
        'react codered 203.0.113.0/24 for=10m signature="zone transfer" at-ni=slow dry-run=yes',
        "react codered 203.0.113.0/24 for=10m id=worm at-ni=slow",
      ],
      openPorts: [],
      settings: [`console: ${path}/gate.yaml`],
    });
    await console.waitForLine(/gate is there/, 30_000);
    const open = (port: number) =>
      host.run(DIAPER_BINARY, [
        ...["pinhole", "open", "--proto", "tcp", "--source", "198.51.100.2", "--ttl", "600s"],
        ...["--destination", `${lab.hostAddress}:${port}`, "--config", gate.config],
      ]);
    assert.equal((await open(50_000)).code, 0);
    const list = () =>
      host.must(DIAPER_BINARY, ["pinhole", "list", "--json", "--config", gate.config]);
    await host.must("ip", ["addr", "add", `${SPARED}/24`, "dev", "ni0"]);
    await host.must("python3", ["-c", AXFR, lab.netAddress, SPARED]);
    await gate.daemon.waitForLine(
      /site\.policy:2 spares 203\.0\.113\.9, in the console's never_block/,
    );
    await host.must("python3", ["-c", AXFR, lab.netAddress, lab.hostAddress]);
    await gate.daemon.waitForLine(/site\.policy:2 would react: no pinholes for 203\.0\.113\.1/);
    await gate.daemon.waitForLine(/site\.policy:2: edge would be told to slow 203\.0\.113\.1/);
    assert.notEqual((await list()).trim(), "", "a dry run closes nothing");
    await host.must("python3", ["-c", WORM]);
    await gate.daemon.waitForLine(/site\.policy:3 reacts: no pinholes for 203\.0\.113\.1 until/);
    await ni.waitForLine(/slow 203\.0\.113\.1 until .*: codered at edge: .* \(controller:gate\)/);
    const refused = await open(50_001);
    assert.deepEqual([refused.code, /react-worm|codered/.test(refused.stderr)], [5, true]);
    assert.equal((await list()).trim(), "", "the open one was closed");
    const [live] = await ask(net, config, "console", "orders");
    assert.equal((live?.["order"] as { owner: string }).owner, "controller:gate");
    // The console has the whole story: what the gate did stands beside what the NI found.
    const told = () => ask(net, config, "alerts", "--scanner", "reaction");
    let [story] = await told();
    for (let i = 0; i < 100 && story === undefined; i++) [story] = await told();
    const detail = story?.["detail"] as { pinholes_closed: number; closed: string[] };
    assert.deepEqual([story?.["src_ip"], detail.pinholes_closed, detail.closed], [
      ...[lab.hostAddress, 1, ["tcp 198.51.100.2 to 50000"]],
    ]);
    await net.must(DIAPER_BINARY, [
      ...["allow", lab.hostAddress, "--why", "cleaned", "--config", config],
    ]);
    await gate.daemon.waitForLine(/allow 203\.0\.113\.1: cleaned/);
    await ni.waitForLine(/allow 203\.0\.113\.1 .*: cleaned/);
    assert.equal((await open(50_002)).code, 0);
    assert.equal((await ni.stop()).code, 0);
    assert.equal((await console.stop()).code, 0);
  },
});
