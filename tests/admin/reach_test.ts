/**
 * From the host behind an NI nothing of the NI can be reached, whatever the host sends and whomever it claims to be;
 * from its management side the console's channel works.
 */
import assert from "node:assert/strict";
import { newKeyPair } from "../../lib/sys/ssh.ts";
import { labPossible } from "../lab/lab.ts";
import { NiLab } from "../ni/inline_lab.ts";

/** All TCP and UDP ports, all protocols, ARP: each packet marked, with a source of choice. */
const BLAST = `
import socket, struct, sys, time
source, target, gateway = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("ni0", 0))
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
mac = s.getsockname()[4]
def total(b):
    n = sum(struct.unpack("!%dH" % (len(b) // 2), b)); n = (n >> 16) + (n & 65535); return ~(n + (n >> 16)) & 65535
A, B = socket.inet_aton(source), socket.inet_aton(target)
sent = 0
def send(proto, payload):
    global sent
    h = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0xD1AB, 0, 64, proto, 0, A, B)
    h = h[:10] + struct.pack("!H", total(h)) + h[12:]
    while True:
        try: s.send(gateway + mac + b"\\x08\\x00" + h + payload); break
        except OSError as e:
            if e.errno != 105: raise
            time.sleep(0.001)
    sent += 1
for port in range(1, 65536, int(sys.argv[4])):
    send(17, struct.pack("!HHHH", 53, port, 8, 0))
    t = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, 2, 8192, 0, 0)
    c = total(A + B + struct.pack("!BBH", 0, 6, len(t)) + t)
    send(6, t[:16] + struct.pack("!H", c) + t[18:])
for proto in range(256):
    if proto not in (6, 17): send(proto, b"\\x08\\x00\\xf7\\xff" + bytes(4))
arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, mac, A, bytes(6), B)
s.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + arp)
print("sent", sent)
`;

/** The same over IPv6, marked by the flow label. */
const BLAST6 = `
import socket, struct, sys, time
source, target, gateway = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("ni0", 0))
mac = s.getsockname()[4]
A, B = socket.inet_pton(socket.AF_INET6, source), socket.inet_pton(socket.AF_INET6, target)
sent = 0
def send(header, payload):
    global sent
    f = gateway + mac + b"\\x86\\xdd" + struct.pack("!IHBB", 0x6000D1AB, len(payload), header, 64) + A + B + payload
    while True:
        try: s.send(f); break
        except OSError as e:
            if e.errno != 105: raise
            time.sleep(0.001)
    sent += 1
for port in range(1, 65536, int(sys.argv[4])):
    send(17, struct.pack("!HHHH", 53, port, 8, 1))
    send(6, struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, 2, 8192, 1, 0))
for header in range(256):
    if header not in (6, 17): send(header, bytes(8))
print("sent", sent)
`;

/** Counts marked packets that come to an interface, until its input ends. */
const COUNT = `
import select, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3)); s.bind((sys.argv[1], 0))
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)
print("counting", flush=True)
n = 0
while True:
    ready = select.select([s, sys.stdin], [], [])[0]
    if s in ready:
        f, a = s.recvfrom(128)
        if a[2] != 4 and f[18:20] == b"\\xd1\\xab" and f[12:14] == b"\\x08\\x00": n += 1
        if a[2] != 4 and f[12:18] == b"\\x86\\xdd\\x60\\x00\\xd1\\xab": n += 1
    elif sys.stdin in ready: break
print("seen", n, flush=True)
`;

/** Says what the secure channel's port says. */
const GREETING = `
import socket, sys
c = socket.create_connection((sys.argv[1], 7424), timeout=5); print(c.recv(64).decode().strip())
`;

Deno.test({
  name:
    `console reach: from the host behind it nothing of an NI answers, on any port or protocol, by any address${
      labPossible ? "" : " (skipped: labs need root)"
    }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await NiLab.create();
    const { host, net, box } = lab;
    const management = box.address(4);
    const consoleAddress = net.address(4);
    // The host has no other way out, and the network would carry it all the way round to the management side.
    await host.must("ip", ["link", "set", "eth0", "down"]);
    await host.must("ip", ["route", "replace", "default", "via", lab.netAddress]);
    await net.must("sysctl", ["-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"]);
    await lab.lab.perimeter.must("ip", [
      ...["route", "add", "203.0.113.0/24", "via", consoleAddress, "dev", "net", "onlink"],
    ]);
    const path = lab.lab.path("console");
    Deno.mkdirSync(path, { mode: 0o700 });
    const key = newKeyPair("console");
    Deno.writeTextFileSync(
      `${path}/ni-console.yaml`,
      [
        `listen: ["${management}:7424"]`,
        `console_keys: ["ssh-ed25519 ${key.publicKey}"]`,
        `key: ${path}/ni_key`,
        `state_dir: ${path}/state`,
        "",
      ].join("\n"),
    );
    const link = await net.must("ip", ["-o", "link", "show", "ni0"]);
    const gateway = (/link\/ether (\S+)/.exec(link)?.[1] ?? "").replaceAll(":", "");
    const blast = async (
      source: string,
      target = management,
      step = 16,
    ): Promise<{ sent: number; seen: number }> => {
      const [program, where, port] = target.includes(":")
        ? [BLAST6, net, "ni0"] as const
        : [BLAST, box, "eth0"] as const;
      const counter = where.spawn("python3", ["-c", COUNT, port]);
      await counter.waitForLine(/counting/);
      const sent = Number(
        (await host.must("python3", ["-c", program, source, target, gateway, String(step)], {
          timeout: 60_000,
        }))
          .replace(/\D/g, ""),
      );
      // What was sent before has gone its way when a packet that is let through comes back.
      await lab.ping(1, lab.netAddress);
      await counter.write("end\n");
      const [, seen] = await counter.waitForLine(/seen (\d+)/);
      await counter.status;
      return { sent, seen: Number(seen) };
    };
    await box.must("ip", ["addr", "add", "2001:db8:99::2/64", "dev", "eth0", "nodad"]);
    // Without a console the NI is a wire, and the way round is there: the test can fail.
    const wire = await lab.start();
    const open = await blast(lab.hostAddress);
    assert.ok(open.seen > open.sent * 0.5, JSON.stringify(open));
    const open6 = await blast("2001:db8:77::1", "2001:db8:99::2");
    assert.ok(open6.seen > open6.sent * 0.5, JSON.stringify(open6));
    await wire.stop();
    const ni = await lab.start("--console", `${path}/ni-console.yaml`);
    await box.waitForListener("tcp", 7424);
    assert.match(await net.must("python3", ["-c", GREETING, management]), /^SSH-2\.0-/);
    for (const source of [lab.hostAddress, consoleAddress, management]) {
      const { sent, seen } = await blast(source, management, source === management ? 16 : 1);
      assert.ok(sent > (source === management ? 8_000 : 131_000));
      assert.equal(seen, 0, `as ${source}`);
    }
    for (const source of ["2001:db8:77::1", "2001:db8:99::2"]) {
      const { sent, seen } = await blast(source, "2001:db8:99::2");
      assert.ok(sent > 8_000);
      // Nothing of it even leaves the NI.
      assert.equal(seen, 0, `as ${source}`);
    }
    assert.notEqual(await host.tryConnect(management, 7424), "connected");
    // The wire itself goes on, and so does the channel.
    assert.deepEqual(await lab.ping(3, lab.netAddress), { answered: 3, twice: 0 });
    assert.match(await net.must("python3", ["-c", GREETING, management]), /^SSH-2\.0-/);
    assert.equal((await ni.stop()).code, 0);
  },
});
