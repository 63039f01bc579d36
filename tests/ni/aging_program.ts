/**
 * Helps hand_back_test.ts: a port whose UDP to port 9000 comes to user space until its flow is finished. A line of input, a
 * number, finishes the flow of the frame that came last, so many seconds ago. Tells of each frame that came, and of each flow
 * that is finished, and ends when its input does.
 *
 * @module
 */
import { Packet } from "../../lib/net/packet.ts";
import { FastPath } from "../../lib/ni/fast_path.ts";
import { FlowTable } from "../../lib/ni/flow_table.ts";
import { makeCable } from "../../lib/ni/tap_ports.ts";
import { monotonicNanoseconds } from "../../lib/sys/clock.ts";
import { EPOLL, Poller } from "../../lib/sys/epoll.ts";
import { readInterface } from "../../lib/sys/interfaces.ts";
import { libc } from "../../lib/sys/libc.ts";
import { compileFilter } from "../../lib/sys/libpcap.ts";
import { PacketSocket } from "../../lib/sys/packet_socket.ts";
import { deleteLink } from "../../lib/sys/rtnetlink.ts";

let ago = 0n;
makeCable("near", "far");
const receive = new PacketSocket("far");
const flows = new FlowTable(() => monotonicNanoseconds() - ago);
const cable = readInterface("near").index;
const [host, net] = [readInterface("porth").index, readInterface("portn").index];
const back = new FastPath(
  { index: net, peer: host, cable, copies: cable, fromHost: false },
  { prevent: [], scan: [] },
);
const path = new FastPath({
  index: host,
  peer: net,
  cable,
  copies: cable,
  fromHost: true,
  flows,
}, {
  prevent: [],
  scan: [{ asked: compileFilter("udp port 9000", 1), within: [compileFilter("", 1)], scanner: 0 }],
});
const packet = new Packet();
const poller = new Poller();
poller.add(receive.fd, EPOLL.IN, () => {
  const n = receive.receive();
  for (let i = 0; i < n; i++) {
    const bytes = receive.memory.data.slice(receive.starts[i], receive.ends[i]);
    if (new Packet().decode(bytes, 0, bytes.length, 1).destinationPort !== 9000) continue;
    packet.decode(bytes, 0, bytes.length, 1);
    print("a frame came");
  }
});
let stopped = false;
const input = new Uint8Array(64);
poller.add(0, EPOLL.IN | EPOLL.HUP, () => {
  const n = libc.read(0, input, input.length);
  if (n <= 0) {
    stopped = true;
    return;
  }
  ago = BigInt(new TextDecoder().decode(input.subarray(0, n)).trim()) * 1_000_000_000n;
  flows.finish(packet, "from-host", 0);
  print("finished");
});
print("ready");
while (!stopped) poller.wait(-1);
for (const one of [path, back]) one.close();
flows.close();
receive.close();
deleteLink("near");

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
