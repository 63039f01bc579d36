/** `diaper ni --read --events flow,anomaly`. */
import assert from "node:assert/strict";
import { captureFrame, captureHeader } from "../../lib/net/capture.ts";
import { TCP } from "../../lib/net/packet.ts";
import { type EventKind, runOffline } from "../../lib/ni/offline.ts";
import { frame, type FrameSpec } from "../niapp/frames.ts";
import "./support.ts"; // loads the libraries before a test does

const FORMAT = { format: "pcap", precision: "us", linkType: 1 } as const;
const CLIENT = {
  source: "192.0.2.10",
  sourcePort: 40_000,
  destination: "198.51.100.1",
  destinationPort: 80,
};
const SERVER = {
  source: "198.51.100.1",
  sourcePort: 80,
  destination: "192.0.2.10",
  destinationPort: 40_000,
};

/** Events of frames, each at a second after the first. */
function eventsOf(
  kinds: EventKind[],
  frames: readonly [second: number, bytes: Uint8Array][],
): Record<string, unknown>[] {
  const read = Deno.makeTempFileSync();
  try {
    const file = Deno.openSync(read, { write: true });
    file.writeSync(captureHeader(FORMAT));
    for (const [second, bytes] of frames) {
      file.writeSync(captureFrame(FORMAT, bytes, 1_700_000_000 + second, 0));
    }
    file.close();
    const events: Record<string, unknown>[] = [];
    runOffline({
      read,
      write: undefined,
      prevent: [],
      scanners: new Map(),
      hostNetworks: [],
      events: new Set(kinds),
      event: (event) => events.push(event),
      log: (text) => assert.fail(text),
    });
    return events;
  } finally {
    Deno.removeSync(read);
  }
}

const tcp = (side: FrameSpec, flags: number, bytes = 0) =>
  frame({ ...side, flags, payload: new Uint8Array(bytes) });

Deno.test("flow events: a connection is told of when it is over, and again when its ports are used again", () => {
  const connection: [number, Uint8Array][] = [
    [0, tcp(CLIENT, TCP.SYN)],
    [0, tcp(SERVER, TCP.SYN | TCP.ACK)],
    [1, tcp(CLIENT, TCP.ACK | TCP.PSH, 100)],
    [2, tcp(SERVER, TCP.ACK | TCP.FIN)],
    [3, tcp(CLIENT, TCP.ACK | TCP.FIN)],
    [4, tcp(CLIENT, TCP.SYN)],
  ];
  const events = eventsOf(["flow"], connection);
  const flows = events.map((event) => event["flow"] as Record<string, unknown>);
  assert.deepEqual(flows.map((flow) => [flow["state"], flow["reason"], flow["age"]]), [
    ["closed", "shutdown", 3],
    ["new", "timeout", 0],
  ]);
  assert.deepEqual([flows[0]?.["pkts_toserver"], flows[0]?.["pkts_toclient"]], [3, 2]);
  assert.deepEqual([flows[0]?.["bytes_toserver"], flows[0]?.["bytes_toclient"]], [
    3 * 54 + 100,
    108,
  ]);
  assert.deepEqual([events[0]?.["src_ip"], events[0]?.["dest_port"]], ["192.0.2.10", 80]);
  assert.equal(events[0]?.["flow_id"], events[1]?.["flow_id"]);
});

Deno.test("flow events: what is silent for long is over", () => {
  const udp = (payload: number) => frame({ ...CLIENT, payload: new Uint8Array(payload) });
  const other = frame({ ...CLIENT, sourcePort: 5 });
  const events = eventsOf(["flow"], [[0, udp(1)], [30, udp(1)], [100, other], [101, udp(1)]]);
  assert.deepEqual(
    events.map((
      event,
    ) => [event["src_port"], (event["flow"] as { pkts_toserver: number }).pkts_toserver]),
    [[40_000, 2], [5, 1], [40_000, 1]],
  );
});

Deno.test("anomaly events: a frame that is cut off is told of, others are not", () => {
  const whole = tcp(CLIENT, TCP.SYN);
  const events = eventsOf(["anomaly"], [[0, whole], [1, whole.slice(0, 40)]]);
  assert.equal(events.length, 1);
  const { type, event } = events[0]?.["anomaly"] as { type: string; event: string };
  assert.equal(type, "decode");
  assert.match(event, /cut off|longer than the frame/);
});
