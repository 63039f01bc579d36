/** Changed streams over a capture: what `--write` writes is a sound capture of the edited streams. */
import assert from "node:assert/strict";
import { captureFrame, captureHeader } from "../../../lib/net/capture.ts";
import { USUAL_RIGHTS } from "../../../lib/ni/catalogue.ts";
import { type OfflineOptions, type OfflineResult, runOffline } from "../../../lib/ni/offline.ts";
import { libpcapVersion } from "../../../lib/sys/libpcap.ts";
import { edited } from "./editor.ts";
import { INJECTED } from "./injected.ts";
import { Network, type NetworkPlan } from "./network.ts";

// Loaded here, since a test that loads a library looks like one that leaks it.
libpcapVersion();

const SCANNER = decodeURIComponent(new URL("editing_scanner.ts", import.meta.url).pathname);
const FORMAT = { format: "pcap", precision: "us", linkType: 1 } as const;

const PLAN: NetworkPlan = {
  seed: 1,
  loss: 0,
  duplicates: 0,
  jitter: 0,
  mss: [1460, 1400],
  scale: [7, 3],
  timestamps: true,
  sack: true,
  ipv6: false,
  buffer: [60_000, 60_000],
  first: [0xffffffff - 20_000, 7],
  client: Uint8Array.from({ length: 55_000 }, (_, i) => (i * 7) >>> 3),
  server: Uint8Array.from({ length: 31_000 }, (_, i) => (i * 11) >>> 3),
};

/** A capture of a connection between two model ends. */
function capture(path: string, plan: NetworkPlan): void {
  const network = new Network(plan, () => undefined);
  assert.ok(network.run());
  const file = Deno.openSync(path, { write: true, create: true });
  file.writeSync(captureHeader(FORMAT));
  network.arrived.forEach((frame, i) =>
    file.writeSync(captureFrame(FORMAT, frame, 1_700_000_000, i * 1e6))
  );
  file.close();
}

function run(read: string, more: Partial<OfflineOptions>): OfflineResult {
  return runOffline({
    read,
    write: undefined,
    prevent: [],
    scanners: new Map(),
    hostNetworks: ["192.0.2.1", "2001:db8::1"],
    events: new Set(),
    event: () => {},
    log: (line) => assert.fail(line),
    ...more,
  });
}

function scanner(mode = ""): OfflineOptions["scanners"] {
  return new Map([["edit", {
    rights: {
      ...USUAL_RIGHTS,
      streams: { read: [], contain: ["tcp dst port 25"] },
      injections: [{ name: "note", frame: INJECTED, kind: "stream" as const }],
    },
    command: [
      Deno.execPath(),
      ...["run", "--quiet", "--no-check", "--no-lock", "--no-config"],
      ...[SCANNER, "25", "contain", mode],
    ],
  }]]);
}

/** What the editing scanner makes of a stream. */
function changed(stream: Uint8Array): Uint8Array {
  const cuts: { at: number; length: number }[] = [];
  const injections: { at: number; bytes: Uint8Array }[] = [];
  for (let at = 0; at < stream.length; at += 10_000) {
    cuts.push({ at, length: Math.min(1000, stream.length - at) });
    if (stream.length > at + 5000) injections.push({ at: at + 5000, bytes: INJECTED });
  }
  return edited(stream, { cuts, injections, step: 0 });
}

function streams(read: string, directory: string): Record<string, Uint8Array> {
  run(read, { streams: directory });
  return Object.fromEntries(
    [...Deno.readDirSync(directory)].map(({ name }) => [
      name.includes(".25-") ? "server" : "client",
      Deno.readFileSync(`${directory}/${name}`),
    ]),
  );
}

/** Frames that tshark has something to say against. */
function errors(path: string): string {
  const wrong = [
    "tcp.checksum.status == 0",
    "ip.checksum.status == 0",
    "tcp.analysis.flags && !tcp.analysis.window_update && !tcp.analysis.duplicate_ack",
    "_ws.malformed",
  ];
  const { success, stdout } = new Deno.Command("tshark", {
    args: [
      ...["-r", path, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"],
      ...["-Y", wrong.map((part) => `(${part})`).join(" || ")],
    ],
    stderr: "null",
  }).outputSync();
  assert.ok(success);
  return new TextDecoder().decode(stdout);
}

for (const ipv6 of [false, true]) {
  Deno.test(`streams, written: cuts and injections over IPv${ipv6 ? 6 : 4} pass tshark`, () => {
    const directory = Deno.makeTempDirSync();
    try {
      const [read, write] = [`${directory}/in.pcap`, `${directory}/out.pcap`];
      capture(read, { ...PLAN, ipv6 });
      const result = run(read, { write, scanners: scanner() });
      assert.deepEqual(result.failures, []);
      assert.equal(result.streams.relayed, 1);
      assert.equal(errors(write), "");
      const { client, server } = streams(write, `${directory}/streams`);
      assert.deepEqual(client, changed(PLAN.client));
      assert.deepEqual(server, changed(PLAN.server));
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

Deno.test("streams, written: while scanners pass, every frame leaves as it came", () => {
  const directory = Deno.makeTempDirSync();
  try {
    const [read, write] = [`${directory}/in.pcap`, `${directory}/out.pcap`];
    capture(read, PLAN);
    const result = run(read, { write, scanners: scanner("pass") });
    assert.equal(result.streams.relayed, 0);
    assert.deepEqual(result.scanners["edit"]?.streamBytes, 86_000);
    assert.deepEqual(Deno.readFileSync(write), Deno.readFileSync(read));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
