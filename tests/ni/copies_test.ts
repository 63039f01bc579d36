/** What scanners only read goes on at once, and a copy of it comes to them. */
import assert from "node:assert/strict";
import { labPossible } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { NiLab } from "./inline_lab.ts";
import type { ProgramOptions, ProgramScanner } from "./inline_program.ts";
import { caged } from "./support.ts";

const HERE = decodeURIComponent(new URL(".", import.meta.url).pathname);
const READER = `${HERE}scanners/reader.py`;
const PYTHON = "/usr/bin/python3";

function copies(name: string, run: (lab: NiLab) => Promise<void>): void {
  Deno.test({
    name: `copies: ${name}${labPossible ? "" : " (skipped: labs need root)"}`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await NiLab.create();
      await run(lab);
    },
  });
}

function reader(
  name: string,
  filter: string,
  right: "read" | "contain",
  options: { readonly stops?: boolean; readonly queueBytes?: number } = {},
): ProgramScanner {
  const { stops = false, ...rights } = options;
  const args = [filter, right === "read" ? "1" : "2", ...(stops ? ["stop"] : [])];
  const command = caged([PYTHON, READER, ...args], [PYTHON, READER]);
  return { name, command, rights: { [right]: [""], ...rights } };
}

async function start(lab: NiLab, scanners: readonly ProgramScanner[]): Promise<LabProcess> {
  const options: ProgramOptions = { scanners };
  const ni = lab.box.spawn(Deno.execPath(), [
    ...["run", "--quiet", "--allow-all", `${HERE}inline_program.ts`, JSON.stringify(options)],
  ]);
  for (const { name } of scanners) {
    await ni.waitForLine(new RegExp(`scanner ${name} watches`), 60_000);
  }
  // In force when the NI answers again.
  await ask(ni);
  return ni;
}

const answers = new WeakMap<LabProcess, number>();

/** Asks for the status. */
async function ask(ni: LabProcess): Promise<Status> {
  const asked = (answers.get(ni) ?? 0) + 1;
  answers.set(ni, asked);
  await ni.write("\n");
  let found = 0;
  return await ni.find((line) => {
    const status = statusIn(line);
    return status !== undefined && ++found === asked ? status : undefined;
  }, "a status");
}

function statusIn(line: string): Status | undefined {
  const text = /^\{"status":(.*)\}$/.exec(line)?.[1];
  return text === undefined ? undefined : JSON.parse(text) as Status;
}

/** Frames of the hosts' own at most (multicast listeners), which have extension headers and come to user space. */
const OTHERS = 20;

interface Frames {
  readonly frames: number;
  readonly bytes: number;
}

interface Seen {
  readonly frames: number;
  readonly lost: number;
}

interface Status {
  readonly ports: readonly {
    readonly forwarded: Frames;
    readonly scanned: Frames;
    readonly copied: Frames;
    readonly copies_dropped: number;
  }[];
  readonly frames: { readonly copies: number; readonly forwarded: number };
  readonly scanners: { readonly reader?: Seen; readonly holder?: Seen; readonly frozen?: Seen };
}

async function end(ni: LabProcess): Promise<Status> {
  await ni.closeInput();
  await ni.status;
  const last = ni.output("stdout").map(statusIn).filter((status) => status !== undefined).at(-1);
  assert.ok(last !== undefined);
  return last;
}

copies("every frame is forwarded once, by the kernel, and read once", async (lab) => {
  const ni = await start(lab, [reader("reader", "udp port 9000", "read")]);
  const echo = await lab.echo();
  for (let i = 0; i < 3; i++) await lab.ping(50, "-f", lab.netAddress);
  const { sent, lost, twice } = await echo.stop();
  assert.deepEqual([lost, twice], [0, 0]);
  const status = await end(ni);
  for (const { copied, scanned, forwarded, copies_dropped } of status.ports) {
    assert.deepEqual([copied.frames, copies_dropped], [sent, 0]);
    assert.ok(scanned.frames <= OTHERS, JSON.stringify(scanned));
    assert.ok(forwarded.frames >= sent + 150, JSON.stringify(forwarded));
  }
  assert.equal(status.frames.copies, 2 * sent);
  assert.ok(status.frames.forwarded <= 2 * OTHERS, JSON.stringify(status.frames));
  const seen = status.scanners.reader;
  assert.deepEqual([seen?.frames, seen?.lost], [2 * sent, 0]);
});

copies(
  "what another scanner may hold comes to user space instead, and both see it",
  async (lab) => {
    const ni = await start(lab, [
      reader("reader", "udp port 9000", "read"),
      reader("holder", "udp dst port 9000", "contain"),
    ]);
    const echo = await lab.echo();
    for (let i = 0; i < 3; i++) await lab.ping(50, "-f", lab.netAddress);
    const { sent, lost, twice } = await echo.stop();
    assert.deepEqual([lost, twice], [0, 0]);
    const { ports: [host, net], scanners } = await end(ni);
    assert.deepEqual([host?.copied.frames, net?.copied.frames], [0, sent]);
    assert.deepEqual([scanners.reader?.frames, scanners.holder?.frames], [2 * sent, sent]);
  },
);

copies("fragments are copied whole, and pass once", async (lab) => {
  const ni = await start(lab, [reader("reader", "udp port 9000", "read")]);
  const server = lab.net.spawn("python3", ["-u", "-c", LARGE_ECHO]);
  await server.waitForLine(/listening/);
  assert.match(await lab.host.must("python3", ["-c", LARGE_ASK, lab.netAddress]), /^20 of 20/);
  const { ports, scanners } = await end(ni);
  // 4,000 bytes are three frames.
  for (const { copied } of ports) assert.equal(copied.frames, 60);
  assert.equal(scanners.reader?.frames, 120);
});

const LARGE_ECHO = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9000)); print("listening")
while True: s.sendto(*s.recvfrom(5000))
`;
const LARGE_ASK = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 9000)); s.settimeout(5)
n = 0
for i in range(20):
    data = bytes([i]) * 4000
    s.send(data); n += s.recv(5000) == data
print(n, "of 20")
`;

copies("a reader that does not read loses copies, and nobody else anything", async (lab) => {
  const ni = await start(lab, [
    reader("reader", "udp port 9000", "read"),
    reader("frozen", "udp port 9000", "read", { stops: true, queueBytes: 16 * 1024 }),
  ]);
  const echo = await lab.echo();
  // Its socket takes what it takes; then its queue is full.
  while (((await ask(ni)).scanners.frozen?.lost ?? 0) === 0);
  const { sent, lost, twice } = await echo.stop();
  assert.deepEqual([lost, twice], [0, 0]);
  const { scanners: { reader: seen, frozen } } = await end(ni);
  assert.deepEqual([seen?.frames, seen?.lost], [2 * sent, 0]);
  assert.equal((frozen?.frames ?? 0) + (frozen?.lost ?? 0), 2 * sent);
});
