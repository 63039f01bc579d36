/**
 * The flooder of ssh_flood_program.ts: asks for as many pinholes as it can, says "under" when the first hundred
 * are open and "over" when all are, and counts on in shared memory.
 *
 * @module
 */
import { hello, openRequest, type PeerOptions, SshPeer } from "./ssh_peer.ts";

interface Orders extends PeerOptions {
  readonly source: string;
  readonly destination: string;
  readonly total: string;
  readonly answered: Int32Array;
}

const worker = self as unknown as {
  onmessage: (event: MessageEvent<Orders>) => void;
  postMessage: (word: "under" | "over") => void;
};

worker.onmessage = async ({ data: orders }) => {
  const { source, destination, answered } = orders;
  const total = Number(orders.total);
  const flooder = await SshPeer.connect(orders);
  const broker = crypto.randomUUID();
  flooder.onSaid = ({ op, kind, why }) => {
    if (op !== "verdict") return;
    if (kind !== "open") throw new Error(String(why));
    const count = Atomics.add(answered, 0, 1) + 1;
    if (count === 100) worker.postMessage("under");
    if (count === total) worker.postMessage("over");
  };
  flooder.say(hello(broker));
  for (let n = 0; n < total; n += 500) {
    const some = Array.from(
      { length: 500 },
      (_, i) => openRequest(broker, n + i, { source, destination }),
    );
    flooder.say(...some);
  }
};
