/** Flows that a scanner has finished are the kernel's again. */
import assert from "node:assert/strict";
import { FinishedFlows } from "../../lib/ni/finished_flows.ts";
import { labPossible } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { NiLab } from "./inline_lab.ts";
import type { ProgramOptions } from "./inline_program.ts";
import { caged } from "./support.ts";

const HERE = decodeURIComponent(new URL(".", import.meta.url).pathname);
const FIRST = `${HERE}scanners/first.py`;

/** An NI whose scanner finishes each flow after some frames. */
async function start(lab: NiLab, filter: string, enough: number): Promise<LabProcess> {
  const python = "/usr/bin/python3";
  const options: ProgramOptions = {
    scanners: [{
      name: "first",
      command: caged([python, FIRST, filter, String(enough)], [python, FIRST]),
      rights: { contain: [""] },
    }],
  };
  const ni = lab.box.spawn(Deno.execPath(), [
    ...["run", "--quiet", "--allow-all", `${HERE}inline_program.ts`, JSON.stringify(options)],
  ]);
  await ni.waitForLine(/subscribed/, 60_000);
  return ni;
}

interface Status {
  readonly ports: {
    readonly forwarded: { readonly frames: number; readonly bytes: number };
    readonly scanned: { readonly frames: number };
  }[];
  readonly scanners: { readonly first: { readonly frames: number; readonly passed: number } };
}

async function end(ni: LabProcess): Promise<Status> {
  await ni.closeInput();
  const [, text = ""] = await ni.waitForLine(/^\{"status":(.*)\}$/);
  return JSON.parse(text) as Status;
}

function handBack(name: string, run: (lab: NiLab) => Promise<void>): void {
  Deno.test({
    name: `hand-back: ${name}${labPossible ? "" : " (skipped: labs need root)"}`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await NiLab.create();
      await run(lab);
    },
  });
}

handBack(
  "user space sees no more of a finished flow, either way; a new one is seen",
  async (lab) => {
    const ni = await start(lab, "tcp port 7777", 4);
    const server = lab.net.spawn("python3", ["-c", BOTH_WAYS]);
    await server.waitForLine(/listening/);
    // Twice from the same port: the second connection is another flow with the same key.
    for (let i = 0; i < 2; i++) {
      assert.match(await lab.host.must("python3", ["-c", CLIENT, lab.netAddress]), /same 20971520/);
    }
    const { ports: [host, net], scanners } = await end(ni);
    assert.ok(host !== undefined && net !== undefined);
    const carried = [host.forwarded.bytes, net.forwarded.bytes];
    assert.ok(Math.min(...carried) > 40_000_000, `${carried}`);
    const seen = host.scanned.frames + net.scanned.frames;
    // Four of each connection, and those that were on their way when the flow was finished.
    assert.ok(seen >= 8 && seen < 600, `${seen} of ${host.forwarded.frames} came to user space`);
    assert.ok(scanners.first.frames >= 8, JSON.stringify(scanners));
  },
);

/** Takes two connections and sends back what comes. */
const BOTH_WAYS = `
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 7777)); s.listen(); print("listening", flush=True)
for _ in range(2):
    c, _ = s.accept()
    while (b := c.recv(1 << 16)): c.sendall(b)
    c.close()
`;
/** Sends 20 MiB from one port and compares what comes back; resets at the end, so that the port is free. */
const CLIENT = `
import hashlib, os, socket, struct, sys, threading
c = socket.socket(); c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
c.bind(("", 5555)); c.settimeout(20); c.connect((sys.argv[1], 7777))
sent, got, n = hashlib.sha256(), hashlib.sha256(), 0
def send():
    for _ in range(20):
        b = os.urandom(1 << 20); sent.update(b); c.sendall(b)
    c.shutdown(socket.SHUT_WR)
t = threading.Thread(target=send); t.start()
while (b := c.recv(1 << 16)): got.update(b); n += len(b)
t.join(); c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); c.close()
print("same" if sent.digest() == got.digest() else "different", n)
`;

handBack("nothing is lost or doubled where user space lets go of a flow", async (lab) => {
  const ni = await start(lab, "udp port 7777", 3);
  const echo = lab.net.spawn("python3", ["-c", ECHO]);
  await echo.waitForLine(/listening/);
  // 200 flows, each of which changes sides in the middle of 60 datagrams and their answers.
  const result = await lab.host.must("python3", ["-c", DATAGRAMS, lab.netAddress]);
  assert.equal(result.trim(), "12000 sent, 12000 came back, 0 twice");
  const { ports: [host, net], scanners } = await end(ni);
  assert.ok((host?.forwarded.frames ?? 0) > 3000 && (net?.forwarded.frames ?? 0) > 3000);
  assert.ok(scanners.first.frames >= 600, JSON.stringify(scanners));
});

Deno.test("hand-back: user space too forgets a flow that was quiet for five minutes, and the oldest", () => {
  const flows = new FinishedFlows();
  flows.add("first", 0);
  // Each frame makes it young again.
  assert.ok(flows.has("first", 300_000) && flows.has("first", 600_000));
  assert.ok(!flows.has("first", 900_001));
  assert.equal(flows.size, 0);
  for (let i = 0; i <= 65_536; i++) flows.add(`flow ${i}`, i);
  assert.deepEqual([flows.size, flows.has("flow 0", 70_000), flows.has("flow 1", 70_000)], [
    65_536,
    false,
    true,
  ]);
});

handBack("a flow that was quiet for five minutes comes to user space again", async (lab) => {
  const ni = lab.box.spawn(Deno.execPath(), [
    ...["run", "--quiet", "--allow-all", `${HERE}aging_program.ts`],
  ]);
  await ni.waitForLine(/ready/, 60_000);
  const server = lab.net.spawn("python3", ["-c", PORT_9000]);
  await server.waitForLine(/listening/);
  const send = () => lab.host.must("python3", ["-c", DATAGRAM, lab.netAddress]);
  const came = (count: number) => printed(ni, "a frame came", count);
  const finish = async (ago: number, count: number) => {
    await ni.write(`${ago}\n`);
    await printed(ni, "finished", count);
  };
  await send();
  await came(1);
  await finish(310, 1);
  await send();
  await came(2);
  await finish(290, 2);
  // The kernel forwards it now.
  await send();
  await server.waitForLine(/1 datagram/);
  await finish(310, 3);
  await send();
  await came(3);
  await ni.closeInput();
  assert.equal((await ni.status).code, 0);
});

/** Waits for the same line to have been printed so often. */
async function printed(program: LabProcess, text: string, count: number): Promise<void> {
  let found = 0;
  await program.find((line) => line === text && ++found === count ? found : undefined, text);
}

/** Counts datagrams. */
const PORT_9000 = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9000)); print("listening", flush=True)
for n in range(1, 100): s.recv(100); print(n, "datagram", flush=True)
`;
/** Sends one, always from the same port. */
const DATAGRAM = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 5555)); s.sendto(b"x", (sys.argv[1], 9000))
`;

const ECHO = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)
s.bind(("", 7777)); print("listening", flush=True)
while True:
    d, a = s.recvfrom(100); s.sendto(d, a)
`;
/** Datagrams in turn over 200 sockets, at most 256 on their way, until all have come back or two seconds pass. */
const DATAGRAMS = `
import select, socket, sys
flows = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(200)]
p = select.epoll(); by = {}
for s in flows:
    s.connect((sys.argv[1], 7777)); s.setblocking(False); p.register(s, select.EPOLLIN); by[s.fileno()] = s
seen, twice, sent, total = set(), 0, 0, 12000
while len(seen) < total:
    while sent < total and sent - len(seen) < 256:
        flows[sent % 200].send(b"%d" % sent); sent += 1
    ready = p.poll(2)
    if not ready: break
    for fd, _ in ready:
        try: d = by[fd].recv(100)
        except BlockingIOError: continue
        if d in seen: twice += 1
        seen.add(d)
for _ in range(100):
    for fd, _ in p.poll(0.002): by[fd].recv(100); twice += 1
print("%d sent, %d came back, %d twice" % (sent, len(seen), twice))
`;
