import assert from "node:assert/strict";
import { createNi } from "../../drivers/ni.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { NiLab } from "../ni/inline_lab.ts";
import { conformance } from "./conformance.ts";
import { RemoteEnforcer } from "./remote.ts";
import { close, open, tuple } from "./tuples.ts";

const PORTS = { host: "porth", net: "portn" };

conformance({
  title: "ni (needs root)",
  large: 5000,
  ignore: !labPossible,
  make: async ({ capacity }) => {
    const lab = await Lab.create({
      outside: [],
      inside: [{ name: "box", addresses: ["192.0.2.10"] }],
    });
    try {
      const box = lab.host("box");
      for (const name of Object.values(PORTS)) {
        await box.must("ip", ["link", "add", name, "type", "veth", "peer", "name", `${name}x`]);
      }
      return {
        enforcer: await RemoteEnforcer.startDriver(box, "ni", { ...PORTS, capacity }),
        [Symbol.asyncDispose]: () => lab.close(),
      };
    } catch (error) {
      await lab.close();
      throw error;
    }
  },
});

function inLab(
  name: string,
  run: (lab: NiLab, driver: RemoteEnforcer) => Promise<void>,
  options: Record<string, unknown> = {},
): void {
  Deno.test({
    name: `ni: ${name} (needs root)`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await NiLab.create();
      const driver = await RemoteEnforcer.startDriver(lab.box, "ni", { ...PORTS, ...options });
      await run(lab, driver);
    },
  });
}

/** Answers on two TCP ports with the peer's address, and echoes UDP, over both families. */
const SERVER = `
import select, socket
p, by = select.epoll(), {}
for kind, port in ((socket.SOCK_STREAM, 5000), (socket.SOCK_STREAM, 21), (socket.SOCK_DGRAM, 5000)):
    s = socket.socket(socket.AF_INET6, kind); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port)); p.register(s, 1); by[s.fileno()] = s
    if kind == socket.SOCK_STREAM: s.listen(50)
print("listening", flush=True)
while True:
    for fd, _ in p.poll():
        s = by[fd]
        if s.type == socket.SOCK_DGRAM: d, a = s.recvfrom(9000); s.sendto(d, a)
        elif s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            c, _ = s.accept(); p.register(c, 1); by[c.fileno()] = c
        else:
            d = s.recv(9000)
            if d: s.sendall(d)
            else: p.unregister(s); s.close()
`;
/** Asks: words of what to try, each printed as yes or no. */
const ASK = `
import socket, sys
host, six = sys.argv[1], sys.argv[2]
def tcp(port, source=0, to=host):
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET); s.settimeout(0.4)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if source: s.bind(("", source))
        s.connect((to, port)); s.sendall(b"x"); return s.recv(1) == b"x"
    except OSError: return False
    finally: s.close()
def udp(size, to=host):
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.4)
    try: s.sendto(bytes(size), (to, 5000)); return len(s.recv(9000)) == size
    except OSError: return False
    finally: s.close()
print(*("yes" if x else "no" for x in (tcp(5000), tcp(21), udp(10), udp(4000), tcp(5000, 0, six), udp(4000, six))))
`;

inLab(
  "what is let in is what has a pinhole, an open port, or was asked for; closing ends it",
  async (lab, driver) => {
    const server = lab.host.spawn("python3", ["-c", SERVER]);
    await server.waitForLine(/listening/);
    await lab.start("--on-exit", "open");
    const ask = async () =>
      (await lab.net.must("python3", ["-c", ASK, lab.hostAddress, "2001:db8:77::1"])).trim();
    assert.equal(await ask(), "yes yes yes yes yes yes");
    await driver.connect();
    assert.equal(await ask(), "no yes no no no no");
    // What the host begins is answered, over both families; a ping too, but not one from outside.
    assert.equal((await lab.ping(2, "-i", "0.05", lab.netAddress)).answered, 2);
    assert.equal((await lab.ping(2, "-i", "0.05", "2001:db8:77::2")).answered, 2);
    assert.match(
      (await lab.net.run("ping", ["-c", "1", "-W", "1", lab.hostAddress])).stdout,
      / 0 received/,
    );
    const four = [lab.netAddress, 0, lab.hostAddress, 5000] as const;
    const six = ["2001:db8:77::2", 0, "2001:db8:77::1", 5000] as const;
    const pinholes = [
      ...[tuple("tcp", ...four), tuple("udp", ...four), tuple("tcp", ...six)],
      tuple("udp", ...six),
    ];
    await driver.apply(pinholes.map((t) => open(t)));
    // Datagrams in fragments too.
    assert.equal(await ask(), "yes yes yes yes yes yes");
    const counters = await driver.counters(pinholes);
    assert.ok(counters.every((c) => c !== undefined && c.packets >= 1), JSON.stringify(counters));
    // A connection that lives stops with the pinhole.
    const client = lab.net.spawn("python3", ["-c", LIVING, lab.hostAddress]);
    await client.waitForLine(/echoed/);
    await driver.apply([close(pinholes[0] as typeof pinholes[0])]);
    await driver.endConnections([pinholes[0] as typeof pinholes[0]]);
    await client.write("again\n");
    await client.waitForLine(/silence/);
    assert.equal(await ask(), "no yes yes yes yes yes");
    // Neither end of the controller opens anything; removal does.
    await driver.program.stop();
    assert.equal(await ask(), "no yes yes yes yes yes");
    const next = await RemoteEnforcer.startDriver(lab.box, "ni", PORTS);
    await next.connect();
    assert.equal((await next.list()).length, 3);
    assert.equal(await next.isIntact(), true);
    await lab.box.must("tc", ["filter", "del", "dev", "porth", "egress"]);
    assert.equal(await next.isIntact(), false);
    await next.connect();
    assert.equal(await next.isIntact(), true);
    assert.equal(await ask(), "no no no no no no");
    await next.remove();
    assert.equal(await ask(), "yes yes yes yes yes yes");
    assert.doesNotMatch(
      await lab.box.must("tc", ["filter", "show", "dev", "porth", "egress"]),
      /diaper/,
    );
  },
  { openPorts: [{ protocol: "tcp", port: 21 }] },
);

inLab("pings and answers of DHCP servers are let in where that is wanted", async (lab, driver) => {
  await lab.start("--on-exit", "open");
  await driver.connect();
  const ping = await lab.net.run("ping", ["-c", "1", "-W", "1", lab.hostAddress]);
  assert.match(ping.stdout, / 1 received/);
  for (
    const [port, from, to, heard] of [[68, 67, "4", true], [69, 67, "4", false], [
      546,
      547,
      "6",
      true,
    ]] as const
  ) {
    const client = lab.host.spawn("python3", ["-c", HEARS, String(port), to]);
    await client.waitForLine(/listening/);
    const address = to === "4" ? lab.hostAddress : "2001:db8:77::1";
    await lab.net.must("python3", ["-c", SENDS, address, String(from), String(port)]);
    await client.waitForLine(heard ? /heard/ : /silence/);
  }
}, { allowPing: true, allowDhcp: true });

const HEARS = `
import socket, sys
s = socket.socket(socket.AF_INET6 if sys.argv[2] == "6" else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.7); s.bind(("", int(sys.argv[1]))); print("listening", flush=True)
try: s.recv(9); print("heard", flush=True)
except TimeoutError: print("silence", flush=True)
`;
const SENDS = `
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[2]))); s.sendto(b"x", (sys.argv[1], int(sys.argv[3])))
`;

/** A connection that asks again when told to. */
const LIVING = `
import socket, sys
s = socket.create_connection((sys.argv[1], 5000), timeout=0.7)
s.sendall(b"x"); s.recv(1); print("echoed", flush=True)
sys.stdin.readline(); s.sendall(b"y")
try: s.recv(1); print("heard", flush=True)
except TimeoutError: print("silence", flush=True)
`;

Deno.test("ni: a plan says which entries of which map would change", () => {
  assert.equal(
    createNi().plan([
      open(tuple("tcp", "198.51.100.1", 7, "192.0.2.1", 5000), 60),
      close(tuple("udp", "2001:db8::1", 0, "2001:db8::2", 53)),
    ]),
    "update diaper_ph4 tcp 198.51.100.1:7 > 192.0.2.1:5000 lease 60\n" +
      "delete diaper_ph6 udp 2001:db8::1 > [2001:db8::2]:53\n",
  );
});

Deno.test("ni: without interfaces there is no perimeter, and the error says so", async () => {
  await assert.rejects(createNi().connect(), /two interfaces/);
  await assert.rejects(createNi({ host: "nothing0", net: "nothing1" }).connect(), /nothing0/);
});
