/**
 * Two delegates at one controller: one asks for as many pinholes as it can, without waiting for answers; the
 * other for one after the other. Prints `{"latency_ms":[...],"left":N}`: the other's answers, and how many of
 * the flood were not answered then. Run by flood_test.ts and scripts/benchmarks/remote.ts on a host of their
 * labs.
 *
 * @module
 */
import { hello, openRequest, SshPeer } from "./ssh_peer.ts";

const [host = "", port = "", flooderKey = "", otherKey = "", source = "", ...rest] = Deno.args;
const [flooded = "", destination = "", total = "0", asks = "0"] = rest;
const options = { host, port: Number(port), user: "diaper" };
/** Said by the other, so that whoever looks on knows its requests. */
const OTHER = "00000000-0000-4000-8000-00000000000f";

const other = await SshPeer.connect({ ...options, key: otherKey });
const welcome = other.answer("welcome");
other.say(hello(OTHER));
await welcome;

const flooder = await SshPeer.connect({ ...options, key: flooderKey });
const broker = crypto.randomUUID();
let answered = 0;
const under = Promise.withResolvers<void>();
const over = Promise.withResolvers<void>();
if (Number(total) === 0) {
  under.resolve();
  over.resolve();
}
flooder.onSaid = ({ op, kind, why }) => {
  if (op !== "verdict") return;
  if (kind !== "open") throw new Error(String(why));
  if (++answered === 100) under.resolve();
  if (answered === Number(total)) over.resolve();
};
flooder.say(hello(broker));
for (let n = 0; n < Number(total); n += 500) {
  const some = Array.from(
    { length: 500 },
    (_, i) => openRequest(broker, n + i, { source, destination: flooded }),
  );
  flooder.say(...some);
}
await under.promise;

const latency: number[] = [];
// What is answered after the flood says nothing about it.
const flooding = () => Number(total) === 0 || answered < Number(total);
for (let n = 0; n < Number(asks) && flooding(); n++) {
  const since = performance.now();
  const verdict = other.answer("verdict", `${OTHER}.${n}`);
  other.say(openRequest(OTHER, n, { source, destination }));
  const { kind, why } = await verdict ?? {};
  if (kind !== "open") throw new Error(String(why));
  latency.push(performance.now() - since);
}
const left = Number(total) - answered;
await over.promise;
const out = JSON.stringify({ latency_ms: latency, left });
Deno.stdout.writeSync(new TextEncoder().encode(out + "\n"));
Deno.exit(0);
