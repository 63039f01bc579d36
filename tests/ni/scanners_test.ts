/**
 * Scanners in three languages, and scanners that do what they must not: each is contained, while another scanner and
 * what nobody scans go on undisturbed.
 */
import assert from "node:assert/strict";
import { TCP } from "../../lib/net/packet.ts";
import { frame } from "../niapp/frames.ts";
import {
  caged,
  cagePossible,
  compileScanner,
  rights,
  runFrames,
  type TestScanner,
} from "./support.ts";

const HERE = decodeURIComponent(new URL("scanners", import.meta.url).pathname);
const HOST = "192.0.2.10";

const udp = (mark: number) =>
  frame({
    source: HOST,
    destination: "198.51.100.1",
    destinationPort: 9,
    payload: Uint8Array.of(mark),
  });
const tcp = (mark: number, port = 80) =>
  frame({
    source: HOST,
    destination: "198.51.100.1",
    destinationPort: port,
    flags: TCP.SYN,
    payload: Uint8Array.of(mark),
  });

function caseOf(name: string, run: (directory: string) => Promise<void>): void {
  Deno.test({
    name: `scanners: ${name}${cagePossible ? "" : " (skipped: cages need root)"}`,
    ignore: !cagePossible,
    fn: async () => {
      const directory = await Deno.makeTempDir();
      await Deno.chmod(directory, 0o755);
      try {
        await run(directory);
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    },
  });
}

caseOf("one in C holds, cuts and passes", async (directory) => {
  const odd = await compileScanner("odd", directory);
  const { left, counters, failures } = runFrames([1, 2, 3, 4, 5].map(udp), {
    odd: { rights: rights({ contain: ["udp"] }), command: caged([odd], [odd]) },
  });
  assert.deepEqual([left, failures, counters.cut, counters.held], [[1, 3, 5], [], 2, 0]);
});

caseOf("one in Python cuts and tells, with the frame", async () => {
  const script = `${HERE}/telnet.py`;
  const { left, events } = await Promise.resolve(runFrames([tcp(1), tcp(2, 23), udp(3)], {
    telnet: {
      rights: rights({ contain: ["tcp"] }),
      command: caged(["/usr/bin/python3", script], ["/usr/bin/python3", script]),
    },
  }));
  assert.deepEqual(left, [1, 3]);
  assert.equal(events.length, 1);
  const [event] = events as [Record<string, unknown>];
  assert.deepEqual(event["alert"], {
    signature: "telnet",
    category: "",
    severity: 2,
    action: "blocked",
  });
  assert.deepEqual(
    [event["src_ip"], event["dest_port"], event["proto"], event["scanner"], event["timestamp"]],
    [HOST, 23, "TCP", "telnet", "2023-11-14T22:13:20.001000Z"],
  );
  const [copy] = event["frames"] as { bytes: string }[];
  assert.deepEqual(Uint8Array.fromBase64(copy?.bytes ?? ""), tcp(2, 23));
});

/** A hostile scanner beside a good one, over frames of which the hostile one may contain UDP. */
async function beside(
  directory: string,
  deed: string,
  more: Partial<Parameters<typeof rights>[0]> = {},
): Promise<ReturnType<typeof runFrames>> {
  const hostile = await compileScanner("hostile", directory);
  const odd = await compileScanner("odd", directory);
  const scanners: Record<string, TestScanner> = {
    hostile: {
      rights: rights({ read: ["udp"], contain: ["udp"], alertsPerMinute: 100, ...more }),
      command: caged([hostile, deed], [hostile], 1),
    },
    good: { rights: rights({ contain: ["udp"] }), command: caged([odd], [odd], 2) },
  };
  const result = runFrames([udp(1), tcp(2), udp(3), udp(4), tcp(5)], scanners);
  // Whatever the hostile one does, TCP is not its business, and the good one's second frame stays cut.
  assert.deepEqual(result.left.filter((mark) => mark === 2 || mark === 5), [2, 5], deed);
  assert.ok(!result.left.includes(3), deed);
  assert.equal(result.scanners["good"]?.frames, 3, deed);
  assert.ok(!result.failures.some((why) => why.startsWith("scanner good")), deed);
  return result;
}

const BREAKS: [deed: string, why: RegExp][] = [
  ["garbage", /a message of \d+ bytes is not possible|type \d+ is unknown|last field/],
  ["silent", /no HELLO/],
  ["inject", /injection 7 is not registered/],
  ["bad-alert", /alert has no signature/],
  ["foreign", /verdict for frame 123456, which it was not asked for/],
  ["twice", /verdict for frame 1, which it was not asked for/],
  ["verdicts", /verdict for frame 1000, which it was not asked for/],
  ["die", /signal 6/],
];
for (const [deed, why] of BREAKS) {
  caseOf(`${deed}: is ended, and its frames meet on_failure`, async (directory) => {
    const open = await beside(directory, deed);
    assert.match(open.failures.join("\n"), why);
    assert.deepEqual(open.left, [1, 2, 4, 5]);
    const closed = await beside(directory, deed, { onFailure: "closed" });
    assert.match(closed.failures.join("\n"), why);
    // "twice" had its first frame passed before it lied about it.
    assert.deepEqual(closed.left, deed === "twice" ? [1, 2, 5] : [2, 5]);
  });
}

caseOf("rights: who asks for more gets what it may have", async (directory) => {
  for (const deed of ["read", "contain"]) {
    const { scanners, left } = await beside(directory, deed);
    assert.equal(scanners["hostile"]?.frames, 3, deed);
    assert.deepEqual(left, [1, 2, 4, 5], deed);
  }
  // With the right to read only, its verdicts are not asked for.
  const reader = await beside(directory, "contain", { contain: [] });
  assert.deepEqual([reader.left, reader.scanners["hostile"]?.passed], [[1, 2, 4, 5], 0]);
});

caseOf("a registered frame is sent as it is, as often as it is asked for", async (directory) => {
  const registered = { name: "reply", frame: udp(77) };
  const { left, failures, counters } = await beside(directory, "reply", {
    injections: [registered],
  });
  assert.deepEqual([left.toSorted((a, b) => a - b), failures, counters.injected], [
    [1, 2, 4, 5, 77, 77, 77],
    [],
    3,
  ]);
  // Bytes that are registered for streams, or too many, are no frame.
  const short = { name: "short", frame: udp(77).slice(0, 13) };
  const broken = await beside(directory, "reply", { injections: [short] });
  assert.match(broken.failures.join("\n"), /injection 0 has 13 bytes: no frame of this link/);
});

caseOf(
  "never: who says nothing is ended after its time, and its frames meet on_failure",
  async (directory) => {
    const open = await beside(directory, "never", { holdLimit: 2 });
    assert.match(open.failures.join("\n"), /no verdict for frame 1 in 2 ms/);
    assert.deepEqual(open.left.toSorted(), [1, 2, 4, 5]);
    const closed = await beside(directory, "never", { holdLimit: 2, onFailure: "closed" });
    assert.deepEqual(closed.left, [2, 5]);
    assert.equal(closed.scanners["hostile"]?.failedClosed, 3);
  },
);

caseOf("floods of alerts are counted and dropped", async (directory) => {
  const { scanners, signatures, left } = await beside(directory, "alerts");
  assert.deepEqual(
    [signatures.length, scanners["hostile"]?.alertsDropped, left],
    [100, 99_900, [1, 2, 4, 5]],
  );
});

caseOf("the cage lets it do nothing", async (directory) => {
  const { signatures } = await beside(directory, "escape");
  assert.equal(signatures.length, 11);
  assert.deepEqual(signatures.filter((text) => !text.endsWith("refused")), []);
});

caseOf("memory is bounded", async (directory) => {
  const { signatures } = await beside(directory, "memory");
  assert.deepEqual(signatures, ["memory: refused"]);
});
