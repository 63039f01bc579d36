/** The NI inline, between real hosts. */
import assert from "node:assert/strict";
import { DIAPER_BINARY } from "../lab/diaper.ts";
import { labPossible } from "../lab/lab.ts";
import { NiLab } from "./inline_lab.ts";

const SWAP = decodeURIComponent(new URL("swap_program.ts", import.meta.url).pathname);

function inline(name: string, run: (lab: NiLab) => Promise<void>): void {
  Deno.test({
    name: `ni inline: ${name}${labPossible ? "" : " (skipped: labs need root)"}`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await NiLab.create();
      await run(lab);
    },
  });
}

/** Sends bytes over TCP from the host to the network; what arrived, as a digest. */
async function transfer(lab: NiLab, address: string, megabytes: number): Promise<[string, string]> {
  const family = address.includes(":") ? "-6" : "-4";
  const server = lab.net.spawn("python3", ["-c", SINK, family]);
  await server.waitForLine(/listening/);
  const sent = await lab.host.must("python3", ["-c", SOURCE, address, String(megabytes)]);
  const [, received = ""] = await server.waitForLine(/digest ([0-9a-f]+)/);
  await server.status;
  return [sent.trim(), received];
}

const SINK = `
import hashlib, socket, sys
s = socket.socket(socket.AF_INET6 if sys.argv[1] == "-6" else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 7777)); s.listen(); print("listening", flush=True)
c, _ = s.accept(); h = hashlib.sha256()
while (b := c.recv(1 << 16)): h.update(b)
print("digest", h.hexdigest(), flush=True)
`;
const SOURCE = `
import hashlib, os, socket, sys
c = socket.create_connection((sys.argv[1], 7777), timeout=20); h = hashlib.sha256()
for _ in range(int(sys.argv[2])):
    b = os.urandom(1 << 20); h.update(b); c.sendall(b)
c.close(); print(h.hexdigest())
`;

inline("everything passes, over both families, with the offloads that hosts have", async (lab) => {
  const ni = await lab.start("--scanner", "codered");
  for (const address of [lab.netAddress, "2001:db8:77::2"]) {
    const [sent, received] = await transfer(lab, address, 20);
    assert.equal(sent, received, address);
  }
  ni.kill("SIGUSR2");
  const [line] = await ni.waitForLine(/^\{"links".*/);
  const status = JSON.parse(line);
  const [host] = status.ports;
  // Only the first packets of connections came to user space.
  assert.ok(host.forwarded.bytes > 40_000_000, line);
  assert.ok(host.scanned.frames < 30, line);
  assert.deepEqual(host.unsent, { full: 0, large: 0, down: 0, other: 0 });
  assert.ok(status.scanners.codered.passed >= 2, line);
  assert.equal((await ni.stop()).code, 0);
});

for (const way of ["the kernel", "user space"] as const) {
  inline(`tagged frames keep their tags, through ${way}`, async (lab) => {
    const ni = await lab.start(
      "--scanner",
      "codered",
      ...(way === "the kernel" ? [] : ["--user-space"]),
    );
    const capture = ["-e", "-n", "-l", "-i", "ni0", "-c", "4", "udp or vlan"];
    const tcpdump = lab.net.spawn("tcpdump", capture);
    await tcpdump.waitForLine(/listening on/);
    // Two tags of three kinds, to a port that is read and to one that is not.
    await lab.host.must("python3", ["-c", TAGGED]);
    for (const tag of ["vlan 7, p 5", "vlan 8, p 0", "802\\.1Q-QinQ.*vlan 9.*vlan 7"]) {
      await tcpdump.waitForLine(new RegExp(tag));
    }
    assert.equal((await tcpdump.status).code, 0);
    ni.kill("SIGUSR2");
    const [line] = await ni.waitForLine(/^\{"links".*/);
    const { ports: [host], scanners } = JSON.parse(line);
    const { frames } = way === "the kernel" ? host.copied : host.scanned;
    assert.ok(frames >= 2 && scanners.codered.frames >= 2, line);
  });
}

/** Sends four UDP frames with VLAN tags, as a driver would. */
const TAGGED = `
import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("ni0", 0))
def frame(tags, port):
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, bytes([203,0,113,1]), bytes([203,0,113,2]))
    t = sum(struct.unpack("!10H", ip)); t = (t & 0xffff) + (t >> 16); t = ~((t & 0xffff) + (t >> 16)) & 0xffff
    ip = ip[:10] + struct.pack("!H", t) + ip[12:]
    return b"\\xff" * 6 + b"\\x02\\0\\0\\0\\0\\1" + tags + b"\\x08\\0" + ip + struct.pack("!HHHH", 4000, port, 8, 0)
s.send(frame(struct.pack("!HH", 0x8100, 0xa007), 53))
s.send(frame(struct.pack("!HH", 0x8100, 8), 9))
s.send(frame(struct.pack("!HHHH", 0x88a8, 9, 0x8100, 7), 9))
s.send(frame(struct.pack("!HH", 0x8100, 0xa007), 53))
`;

inline("a prevent rule drops in the kernel, and is counted", async (lab) => {
  const ni = await lab.start(
    "--prevent",
    "tcp dst port 445",
    "--prevent",
    "icmp6 and ip6[40] == 128",
  );
  assert.equal(await lab.host.tryConnect(lab.netAddress, 445, 600), "unanswered");
  assert.equal(await lab.host.tryConnect(lab.netAddress, 446, 600), "refused");
  assert.equal((await lab.ping(2, "-i", "0.05", "2001:db8:77::2")).answered, 0);
  assert.equal((await lab.ping(2, "-i", "0.05", lab.netAddress)).answered, 2);
  ni.kill("SIGUSR2");
  const [line] = await ni.waitForLine(/^\{"links".*/);
  const [smb, echo] = JSON.parse(line).rules;
  assert.ok(smb.frames >= 1 && echo.frames === 2, line);
});

inline("a worm is caught and slowed down, and what was translated is not", async (lab) => {
  const ni = await lab.start("--scanner", "codered", "--host-net", `${lab.hostAddress}/32`);
  // Every address of the link is answered for, so that SYNs leave the host.
  await lab.net.must("ip", ["addr", "add", "198.18.0.1/24", "dev", "lo"]);
  await lab.host.must("ip", ["route", "add", "198.18.0.0/24", "via", lab.netAddress]);
  const worm = await lab.host.must("python3", ["-c", WORM]);
  const [alert] = await ni.waitForLine(/^\{.*"event_type":"alert".*/);
  const event = JSON.parse(alert);
  assert.equal(event.scanner, "codered");
  assert.equal(event.src_ip, lab.hostAddress);
  assert.ok(event.detail.random_connections_last_minute >= 3);
  // Two pass before it is a problem; of 40 in two seconds no more.
  assert.equal(worm.trim(), "2 of 40");
});

/** Connects to 40 addresses in two seconds, and counts how many answered, with a reset. */
const WORM = `
import socket, time
s = []
for i in range(1, 41):
    c = socket.socket(); c.setblocking(False)
    try: c.connect(("198.18.0.%d" % i, 80))
    except BlockingIOError: pass
    s.append(c); time.sleep(0.05)
print(sum(c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0 for c in s), "of 40")
`;

inline("rules that change all the time neither lose nor double a frame", async (lab) => {
  const swap = lab.box.spawn(Deno.execPath(), ["run", "--allow-all", SWAP]);
  await swap.waitForLine(/ready/, 60_000);
  const result = await lab.ping(10_000, "-f", lab.netAddress);
  assert.deepEqual(result, { answered: 10_000, twice: 0 });
  await swap.closeInput();
  const [line] = await swap.waitForLine(/^\{.*/);
  const { swaps, forwarded, scanned } = JSON.parse(line);
  // Both ways were taken, many times.
  assert.ok(swaps > 10 && forwarded > 100 && scanned > 100, line);
});

for (const [state, ...more] of [["open"], ["closed"], ["open", "--user-space"]] as const) {
  const how = [state, ...more].join(", ");
  inline(`on_exit ${how} is true after kill -9, and a restart takes up`, async (lab) => {
    const args = ["--prevent", "tcp dst port 445", "--on-exit", state, ...more];
    const first = await lab.start(...args);
    assert.equal((await lab.ping(1, lab.netAddress)).answered, 1);
    await first.stop("SIGKILL");
    assert.equal((await lab.ping(1, lab.netAddress)).answered, state === "open" ? 1 : 0);
    await lab.start(...args);
    assert.deepEqual(await lab.ping(3, "-i", "0.05", lab.netAddress), { answered: 3, twice: 0 });
    assert.equal(await lab.host.tryConnect(lab.netAddress, 445, 600), "unanswered");
  });
}

inline("interfaces that do not fit are refused with the way to mend it", async (lab) => {
  const run = (host: string) =>
    lab.box.run(DIAPER_BINARY, ["ni", "--host", host, "--net", "portn"]);
  await lab.box.must("ip", ["link", "set", "porth", "mtu", "1400"]);
  const unequal = await run("porth");
  assert.equal(unequal.code, 1);
  assert.match(
    unequal.stderr,
    /1400 bytes and portn of 1500\n {2}next: ip link set portn mtu 1400/,
  );
  assert.match((await run("nothing")).stderr, /nothing.*\n {2}next: ip link/);
  assert.match((await run("eth0")).stderr, /eth0 has an address of this machine.*192\.0\.2\.2/);
});
