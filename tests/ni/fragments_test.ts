/** Rules by port hold for datagrams in fragments, in the kernel's part and here. */
import assert from "node:assert/strict";
import { labPossible } from "../lab/lab.ts";
import { NiLab } from "./inline_lab.ts";
import type { ProgramOptions } from "./inline_program.ts";
import { caged, cagePossible, rights, runFrames } from "./support.ts";

const HERE = decodeURIComponent(new URL(".", import.meta.url).pathname);
const FIRST = `${HERE}scanners/first.py`;
const PYTHON = "/usr/bin/python3";

/** An IPv4 fragment of a UDP datagram; the last byte is a mark. Offset in units of 8 bytes. */
function fragment(id: number, offset: number, more: boolean, port: number, mark: number) {
  const data = new Uint8Array(14 + 20 + 16);
  const view = new DataView(data.buffer);
  data.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
  view.setUint16(14, 0x4500);
  view.setUint16(16, 36);
  view.setUint16(18, id);
  view.setUint16(20, (more ? 0x2000 : 0) | offset);
  view.setUint16(22, (64 << 8) | 17);
  data.set([192, 0, 2, 10, 198, 51, 100, 1], 26);
  if (offset === 0) {
    view.setUint16(34, 4000);
    view.setUint16(36, port);
    view.setUint16(38, 40);
  }
  data[data.length - 1] = mark;
  return data;
}

Deno.test({
  name: `fragments: what is decided about the first holds for the later ones${
    cagePossible ? "" : " (skipped: cages need root)"
  }`,
  ignore: !cagePossible,
  fn: () => {
    const frames = [
      // Scanned, in order; prevented; neither; and one whose later fragment comes first.
      ...[fragment(1, 0, true, 7777, 1), fragment(1, 2, true, 0, 2), fragment(1, 4, false, 0, 3)],
      ...[fragment(2, 0, true, 445, 4), fragment(2, 2, false, 0, 5)],
      ...[fragment(3, 0, true, 80, 6), fragment(3, 2, false, 0, 7)],
      ...[fragment(4, 2, false, 0, 8), fragment(4, 0, true, 7777, 9)],
      ...[fragment(5, 2, false, 0, 10), fragment(5, 0, true, 445, 11)],
      // The first never comes.
      fragment(6, 2, false, 0, 12),
    ];
    const { left, scanners, counters } = runFrames(frames, {
      first: {
        rights: rights({ contain: ["udp port 7777"] }),
        command: caged([PYTHON, FIRST, "udp port 7777", "1000"], [PYTHON, FIRST]),
      },
    }, { prevent: ["udp port 445"] });
    assert.deepEqual(left, [1, 2, 3, 6, 7, 9, 8]);
    assert.equal(scanners["first"]?.frames, 5);
    assert.equal(counters.prevented, 4);
  },
});

Deno.test({
  name: `fragments: inline, through the kernel's part${
    labPossible ? "" : " (skipped: labs need root)"
  }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await NiLab.create();
    const options: ProgramOptions = {
      prevent: [{ name: "445", filter: "udp port 445" }],
      scanners: [{
        name: "first",
        command: caged([PYTHON, FIRST, "udp port 7777", "100000"], [PYTHON, FIRST]),
        rights: { contain: [""] },
      }],
    };
    const ni = lab.box.spawn(Deno.execPath(), [
      ...["run", "--quiet", "--allow-all", `${HERE}inline_program.ts`, JSON.stringify(options)],
    ]);
    await ni.waitForLine(/subscribed/, 60_000);
    const server = lab.net.spawn("python3", ["-c", RECEIVER]);
    await server.waitForLine(/listening/);
    await lab.host.must("python3", ["-c", SENDER, lab.netAddress, "2001:db8:77::2"]);
    const [, got = ""] = await server.waitForLine(/^got (.*)/);
    // 20 datagrams of 4,000 bytes to each of two ports, in order and with the last fragment first, over both families.
    assert.equal(got, "7777:40 80:40 445:0");
    await ni.closeInput();
    const [, text = ""] = await ni.waitForLine(/^\{"status":(.*)\}$/);
    const status = JSON.parse(text) as {
      ports: { forwarded: { frames: number }; scanned: { frames: number } }[];
      scanners: { first: { frames: number } };
      rules: { frames: number }[];
    };
    // Three fragments each, all of which the scanner saw; and those that were early of other datagrams came here too.
    assert.equal(status.scanners.first.frames, 120);
    assert.ok((status.ports[0]?.forwarded.frames ?? 0) >= 30, text);
    // In order all are dropped in the kernel's part; of those in disorder the first, for which the others wait.
    assert.ok((status.rules[0]?.frames ?? 0) >= 100, text);
  },
});

const RECEIVER = `
import select, socket
got, by, p = {7777: 0, 80: 0, 445: 0}, {}, select.epoll()
for port in got:
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(("", port)); p.register(s, 1); by[s.fileno()] = s, port
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); end.bind(("", 9999)); p.register(end, 1)
print("listening", flush=True)
while True:
    for fd, _ in p.poll():
        if fd == end.fileno():
            print("got", *("%d:%d" % i for i in got.items()), flush=True); raise SystemExit
        s, port = by[fd]; got[port] += len(s.recv(9000)) == 4000
`;
/** Fragments by hand, so that they can be sent in any order; what the stack sends comes in order. */
const SENDER = `
import socket, struct, sys, time
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
def backwards(port, ident):
    data = struct.pack("!HHHH", 4001, port, 4008, 0) + bytes(4000)
    parts = [(at, data[at:at + 1480]) for at in range(0, len(data), 1480)]
    for at, part in reversed(parts):
        more = 0x2000 if at + len(part) < len(data) else 0
        raw.sendto(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, ident, more | at // 8, 64, 17, 0,
            bytes([203, 0, 113, 1]), socket.inet_aton(sys.argv[1])) + part, (sys.argv[1], 0))
four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for i in range(10):
    for port in (7777, 80, 445):
        four.sendto(bytes(4000), (sys.argv[1], port))
        six.sendto(bytes(4000), (sys.argv[2], port)); six.sendto(bytes(4000), (sys.argv[2], port))
        backwards(port, 1000 + 10 * i + port % 7)
    time.sleep(0.01)
time.sleep(0.3)
four.sendto(b"end", (sys.argv[1], 9999))
`;
