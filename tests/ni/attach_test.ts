/** An NI before a bridge's port that leads to a container. */
import assert from "node:assert/strict";
import { DIAPER_BINARY } from "../lab/diaper.ts";
import { labPossible } from "../lab/lab.ts";
import { NiLab } from "./inline_lab.ts";

function attached(name: string, run: (lab: NiLab) => Promise<void>): void {
  Deno.test({
    name: `ni --attach: ${name}${labPossible ? "" : " (skipped: labs need root)"}`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await NiLab.create();
      // The host is a container, its link a port of a bridge with settings of its own.
      const ip = (...words: string[]) => lab.box.must("ip", words);
      await ip("link", "add", "br0", "type", "bridge");
      await ip("link", "set", "br0", "up");
      for (const port of ["porth", "portn"]) await ip("link", "set", port, "master", "br0");
      await ip("link", "set", "porth", "type", "bridge_slave", "cost", "7", "mcast_flood", "off");
      await run(lab);
    },
  });
}

/** The interface's configuration, and everything that an NI could leave behind. */
async function configuration(lab: NiLab): Promise<unknown> {
  const [port] = JSON.parse(await lab.box.must("ip", ["-d", "-j", "link", "show", "porth"]));
  const links = JSON.parse(await lab.box.must("ip", ["-j", "link"])) as { ifname: string }[];
  // Timers of the bridge go on by themselves.
  const { hold_timer: _h, message_age_timer: _m, forward_delay_timer: _f, ...data } =
    port.linkinfo.info_slave_data;
  return {
    ...port,
    linkinfo: { ...port.linkinfo, info_slave_data: data },
    all: links.map((link) => link.ifname),
    filters: await lab.box.must("tc", ["qdisc", "show", "dev", "porth"]),
  };
}

attached(
  "frames go on their way, rules and scanners hold, nothing of the port is changed",
  async (lab) => {
    const before = await configuration(lab);
    const args = ["--on-exit", "open", "--prevent", "tcp dst port 445", "--run-dir", lab.runDir];
    const ni = await lab.run("--attach", "porth", "--scanner", "codered", ...args);
    assert.deepEqual(await lab.ping(2000, "-f", lab.netAddress), { answered: 2000, twice: 0 });
    assert.equal(await lab.host.tryConnect(lab.netAddress, 445, 300), "unanswered");
    assert.equal(await lab.host.tryConnect(lab.netAddress, 446, 300), "refused");
    const status = await lab.status() as {
      ports: { forwarded: { frames: number }; scanned: { frames: number } }[];
      scanners: { codered: { passed: number } };
    };
    for (const port of status.ports) {
      assert.ok(port.forwarded.frames >= 2000, JSON.stringify(status));
    }
    assert.ok(status.scanners.codered.passed >= 1, JSON.stringify(status));
    assert.equal((await ni.stop()).code, 0);
    assert.deepEqual(await configuration(lab), before);
    assert.equal((await lab.ping(1, lab.netAddress)).answered, 1);
  },
);

attached("also when all of it comes to user space, with offloads, both ways", async (lab) => {
  const args = ["--on-exit", "closed", "--user-space", "--run-dir", lab.runDir];
  const ni = await lab.run("--attach", "porth", ...args);
  assert.deepEqual(await lab.ping(500, "-f", lab.netAddress), { answered: 500, twice: 0 });
  for (
    const [from, to, address] of [
      [lab.host, lab.net, lab.netAddress],
      [lab.net, lab.host, lab.hostAddress],
    ] as const
  ) {
    const server = to.spawn("python3", ["-c", SINK]);
    await server.waitForLine(/listening/);
    const sent = await from.must("python3", ["-c", SOURCE, address]);
    const [, received] = await server.waitForLine(/digest ([0-9a-f]+)/);
    await server.status;
    assert.equal(received, sent.trim());
  }
  const { ports } = await lab.status() as { ports: { scanned: { bytes: number } }[] };
  assert.ok(ports.every((port) => port.scanned.bytes > 8_000_000), JSON.stringify(ports));
  await ni.stop();
});

for (const state of ["open", "closed"] as const) {
  attached(
    `on_exit ${state} is true after kill -9; --detach and the next start mend`,
    async (lab) => {
      const before = await configuration(lab);
      const args = ["--attach", "porth", "--on-exit", state, "--run-dir", lab.runDir];
      const first = await lab.run(...args);
      assert.equal((await lab.ping(1, lab.netAddress)).answered, 1);
      await first.stop("SIGKILL");
      assert.equal((await lab.ping(1, lab.netAddress)).answered, state === "open" ? 1 : 0);
      const second = await lab.run(...args);
      assert.deepEqual(await lab.ping(2, "-i", "0.05", lab.netAddress), { answered: 2, twice: 0 });
      const detach = () =>
        lab.box.run(DIAPER_BINARY, ["ni", "--detach", "porth", "--run-dir", lab.runDir]);
      const refused = await detach();
      assert.match(refused.stderr, /an NI is running at porth\n {2}next: stop it first: kill \d+/);
      await second.stop("SIGKILL");
      assert.equal((await detach()).code, 0);
      assert.deepEqual(await configuration(lab), before);
      assert.equal((await lab.ping(1, lab.netAddress)).answered, 1);
    },
  );
}

const SINK = `
import hashlib, socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 7777)); s.listen(); print("listening", flush=True)
c, _ = s.accept(); h = hashlib.sha256()
while (b := c.recv(1 << 16)): h.update(b)
print("digest", h.hexdigest(), flush=True)
`;
const SOURCE = `
import hashlib, os, socket, sys
c = socket.create_connection((sys.argv[1], 7777), timeout=20); h = hashlib.sha256()
for _ in range(8):
    b = os.urandom(1 << 20); h.update(b); c.sendall(b)
c.close(); print(h.hexdigest())
`;
