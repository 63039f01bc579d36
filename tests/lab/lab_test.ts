import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { labDirectory } from "./guard.ts";
import { listenOn } from "./listener.ts";
import { Lab, labPossible } from "./lab.ts";
import { closePerimeter, openPerimeter } from "./perimeter.ts";

const SPEC = {
  outside: [
    { name: "alice", addresses: ["198.51.100.10", "2001:db8:1::10"] },
    { name: "mallory", addresses: ["203.0.113.66", "2001:db8:2::66"] },
  ],
  inside: [{ name: "server", addresses: ["192.0.2.10", "2001:db8:3::10"] }],
};

Deno.test({
  name:
    "lab: hosts reach each other over IPv4 and IPv6, and a closed perimeter stops them (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create(SPEC);
    const [alice, mallory] = [lab.host("alice"), lab.host("mallory")];
    const server = lab.host("server");
    await listenOn(server, 5000);
    assert.ok((await server.sockets("tcp")).some((s) => s.localPort === 5000 && s.listening));
    for (const family of [4, 6] as const) {
      const address = server.address(family);
      assert.equal(await alice.tryConnect(address, 5000), "connected");
      assert.equal(await mallory.tryConnect(address, 5000), "connected");
      assert.equal(await alice.tryConnect(address, 5001), "refused");
      assert.equal(await alice.tryConnect(mallory.address(family), 5000), "refused");
    }
    await closePerimeter(server, ["21"]);
    for (const family of [4, 6] as const) {
      assert.equal(await alice.tryConnect(server.address(family), 5000, 300), "unanswered");
      assert.equal(await alice.tryConnect(server.address(family), 21, 300), "refused");
    }
    await openPerimeter(server);
    assert.equal(await alice.tryConnect(server.address(4), 5000), "connected");
  },
});

Deno.test({
  name: "lab: nothing in it has a route to the machine or further (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create(SPEC);
    for (const host of [lab.perimeter, lab.host("alice"), lab.host("server")]) {
      const links = JSON.parse(await host.must("ip", ["-j", "link"])) as { ifname: string }[];
      const wanted = host === lab.perimeter ? ["alice", "lo", "mallory", "server"] : ["eth0", "lo"];
      assert.deepEqual(links.map((link) => link.ifname).sort(), wanted);
    }
    const routes = await lab.perimeter.must("ip", ["route"]) +
      await lab.perimeter.must("ip", ["-6", "route"]);
    assert.ok(!routes.includes("default"), routes);
  },
});

Deno.test({
  name:
    "lab: programs get input, environment, account and directory, and report their end (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create(SPEC);
    const alice = lab.host("alice");
    const result = await alice.run(
      "sh",
      ["-c", 'cat; echo "$WORD $(pwd)"; echo oops >&2; exit 7'],
      {
        input: "first\nsecond\n",
        env: { WORD: "hello" },
        cwd: "/",
      },
    );
    assert.deepEqual(result, {
      code: 7,
      signal: null,
      stdout: "first\nsecond\nhello /\n",
      stderr: "oops\n",
    });
    const identity = await alice.must("id", ["-un"], { user: "nobody" });
    assert.equal(identity.trim(), "nobody");
    assert.throws(() => alice.spawn("id", [], { user: "no such user" }), /no such user/);
    await assert.rejects(alice.must("sh", ["-c", "echo why >&2; exit 3"]), /code 3\nwhy/);
    await assert.rejects(alice.run("sleep", ["60"], { timeout: 100 }), /not done after 100 ms/);
  },
});

Deno.test({
  name: "lab: a line can be waited for, before and after it came (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create(SPEC);
    const alice = lab.host("alice");
    const echo = alice.spawn("sh", ["-c", 'while read line; do echo "got $line"; done; echo end']);
    await echo.write("one\n");
    assert.equal((await echo.waitForLine(/^got (\w+)$/))[1], "one");
    await echo.write("two\nthree\n");
    assert.equal((await echo.waitForLine(/^got (t\w+)$/))[1], "two");
    assert.equal((await echo.waitForLine(/^got (t\w+)$/))[1], "two");
    await echo.closeInput();
    await assert.rejects(echo.waitForLine(/never/), /ended with code 0 before[^]*got three\nend/);
    const silent = alice.spawn("sleep", ["60"]);
    await assert.rejects(silent.waitForLine(/never/, 50), /printed in 50 ms nothing like/);
    assert.equal((await silent.stop("SIGTERM")).signal, "SIGTERM");
  },
});

Deno.test({
  name:
    "lab: a capture holds the packets that came after it was ready, with ports and flags (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create(SPEC);
    const [alice, server] = [lab.host("alice"), lab.host("server")];
    const before = Date.now();
    const file = lab.path("packets.pcap");
    const capture = await server.capture("eth0", "tcp port 4242", { file });
    for (const family of [4, 6] as const) {
      await alice.tryConnect(server.address(family), 4242);
      const syn = await capture.waitFor((p) => p.destination === server.address(family));
      assert.equal(syn.flags, "S");
      assert.equal(syn.source, alice.address(family));
      assert.equal(syn.destinationPort, 4242);
      assert.ok(syn.time >= before && syn.time <= Date.now() + 1, String(syn.time));
    }
    await capture.waitFor((p) => p.source === server.address(6));
    const packets = await capture.stop();
    assert.deepEqual(packets.map((p) => p.flags), ["S", "R.", "S", "R."]);
    assert.ok(statSync(file).size > 24 + 4 * 16, "the pcap file holds packets");
  },
});

Deno.test({
  name: "lab: closing it ends its programs and removes its namespaces and files (needs root)",
  ignore: !labPossible,
  fn: async () => {
    const lab = await Lab.create(SPEC);
    // One that ignores polite signals, and one that leaves namespace and session.
    const stubborn = lab.host("alice").spawn("sh", [
      "-c",
      "trap '' TERM HUP INT; echo up; sleep 60; sleep 60",
    ]);
    const apart = lab.host("server").spawn("unshare", [
      "--net",
      "setsid",
      "sh",
      "-c",
      "echo up; sleep 60; sleep 60",
    ]);
    await stubborn.waitForLine(/^up$/);
    await apart.waitForLine(/^up$/);
    await lab.close();
    assert.equal((await stubborn.status).signal, "SIGKILL");
    assert.equal((await apart.status).signal, "SIGKILL");
    assertNothingLeft(lab.name);
  },
});

Deno.test({
  name: "lab: nothing stays when its owner is killed with SIGKILL (needs root)",
  ignore: !labPossible,
  fn: async () => {
    const lab = await startDoomedLab();
    lab.owner.kill("SIGKILL");
    await lab.owner.output();
    await processEnd(lab.guard);
    assertNothingLeft(lab.name);
  },
});

Deno.test({
  name: "lab: leftovers of a lab whose guard was killed too go with the next lab (needs root)",
  ignore: !labPossible,
  fn: async () => {
    const doomed = await startDoomedLab();
    Deno.kill(doomed.guard, "SIGKILL");
    doomed.owner.kill("SIGKILL");
    await doomed.owner.output();
    await using _next = await Lab.create({ outside: [], inside: [] });
    assertNothingLeft(doomed.name);
  },
});

Deno.test({
  name: "lab: an address that is not for documentation, or a bad name, is refused (needs root)",
  ignore: !labPossible,
  fn: async () => {
    const refused = (name: string, address: string, why: RegExp) =>
      assert.rejects(Lab.create({ outside: [{ name, addresses: [address] }], inside: [] }), why);
    await refused("alice", "10.0.0.1", /alice: 10.0.0.1 is not in a range for documentation/);
    await refused("alice", "192.0.2.254", /is not in a range for documentation/);
    await refused("alice", "192.0.2.1/24", /"192.0.2.1\/24" is not an address/);
    await refused("a; reboot", "192.0.2.1", /Cannot name a host "a; reboot"/);
    await refused("perimeter", "192.0.2.1", /Host names must differ/);
  },
});

interface DoomedLab {
  readonly name: string;
  readonly guard: number;
  readonly owner: Deno.ChildProcess;
}

/** A lab of another process, with a program running in it. */
async function startDoomedLab(): Promise<DoomedLab> {
  const module = new URL("lab.ts", import.meta.url).href;
  const owner = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `
      import { Lab } from ${JSON.stringify(module)};
      const lab = await Lab.create(${JSON.stringify(SPEC)});
      const sleeper = lab.host("alice").spawn("unshare", ["--net", "sh", "-c", "echo up; sleep 600"]);
      await sleeper.waitForLine(/up/);
      console.log(JSON.stringify({ name: lab.name, guard: lab.guardPid }));
      await new Promise(() => setInterval(() => {}, 1000));
    `,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let text = "";
  const reader = owner.stdout.getReader();
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) break;
    text += new TextDecoder().decode(value);
  }
  reader.releaseLock();
  const { name, guard } = JSON.parse(text) as { name: string; guard: number };
  assert.ok(existsSync(`/run/netns/${name}-alice`));
  return { name, guard, owner };
}

/** Waits until a process that is not a child is gone. */
async function processEnd(pid: number): Promise<void> {
  for (let i = 0; i < 1_000; i++) {
    if (!existsSync(`/proc/${pid}`)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`process ${pid} does not end`);
}

function assertNothingLeft(name: string): void {
  const namespaces = existsSync("/run/netns") ? readdirSync("/run/netns") : [];
  assert.deepEqual(namespaces.filter((n) => n.startsWith(name)), []);
  assert.ok(!existsSync(labDirectory(name)), "its directory is gone");
  const marked = readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").includes(`DIAPER_LAB=${name}`);
    } catch {
      return false; // it ended meanwhile
    }
  });
  assert.deepEqual(marked, [], "its programs are gone");
}
