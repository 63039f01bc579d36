/**
 * Helps inline_test.ts: an NI without scanners whose rules change all the time between "the kernel forwards all" and "all
 * comes to user space", until its input ends. Prints how often they did, and how many frames went each way.
 *
 * @module
 */
import { FastPath } from "../../lib/ni/fast_path.ts";
import { EPOLL, Poller } from "../../lib/sys/epoll.ts";
import { readInterface, setInterfaceUp } from "../../lib/sys/interfaces.ts";
import { PacketSocket, SendQueue } from "../../lib/sys/packet_socket.ts";
import { createVeth } from "../../lib/sys/rtnetlink.ts";

const ALL = [{ code: 0x06, jt: 0, jf: 0, k: 1 }];
const none = { prevent: [], scan: [] };
const everything = { prevent: [], scan: [{ asked: ALL, within: [ALL] }] };

const [left, right] = ["porth", "portn"].map(readInterface) as [
  ReturnType<typeof readInterface>,
  ReturnType<typeof readInterface>,
];
const poller = new Poller();
const paths: FastPath[] = [];
for (const [from, to] of [[left, right], [right, left]] as const) {
  const [near, far] = [`${from.name}a`, `${from.name}b`];
  createVeth(near, far, 65_535);
  setInterfaceUp(near);
  setInterfaceUp(far);
  const receive = new PacketSocket(far);
  const queue = new SendQueue(new PacketSocket(to.name, { sendOnly: true }));
  poller.add(receive.fd, EPOLL.IN, () => {
    const n = receive.receive();
    for (let i = 0; i < n; i++) {
      queue.add(receive.memory, receive.starts[i] as number, receive.ends[i] as number);
    }
    queue.flush();
  });
  paths.push(
    new FastPath({
      index: from.index,
      peer: to.index,
      cable: readInterface(near).index,
      copies: readInterface(near).index,
      fromHost: from === left,
    }, none),
  );
}
let stop = false;
poller.add(0, EPOLL.IN | EPOLL.HUP, () => stop = true);
let swaps = 0;
Deno.stdout.writeSync(new TextEncoder().encode("ready\n"));
while (!stop) {
  poller.wait(0);
  for (const path of paths) path.replace(swaps % 2 === 0 ? everything : none);
  swaps++;
  // Some frames go each way before the next change.
  for (const until = performance.now() + 3; performance.now() < until;) poller.wait(1);
}
const sum = (what: "forwarded" | "scanned") =>
  paths.reduce((total, path) => total + path[what]().frames, 0);
const result = { swaps, forwarded: sum("forwarded"), scanned: sum("scanned") };
Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(result)}\n`));
