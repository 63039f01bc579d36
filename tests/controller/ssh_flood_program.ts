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

// In a thread of its own: what the flooder itself has to do is not what the other waits for.
const flood = new Worker(new URL("ssh_flood_worker.ts", import.meta.url), { type: "module" });
const under = Promise.withResolvers<void>();
const over = Promise.withResolvers<void>();
/** Answers to the flood so far; counted by the worker. */
const answered = new Int32Array(new SharedArrayBuffer(4));
flood.onmessage = ({ data }) => (data === "under" ? under : over).resolve();
flood.onerror = (event) => over.reject(event.error);
if (Number(total) === 0) {
  under.resolve();
  over.resolve();
} else {
  flood.postMessage({ ...options, key: flooderKey, source, destination: flooded, total, answered });
}
await under.promise;

const latency: number[] = [];
// What is answered after the flood says nothing about it.
const left = () => Number(total) - Atomics.load(answered, 0);
for (let n = 0; n < Number(asks) && (Number(total) === 0 || left() > 0); n++) {
  const since = performance.now();
  const verdict = other.answer("verdict", `${OTHER}.${n}`);
  other.say(openRequest(OTHER, n, { source, destination }));
  const { kind, why } = await verdict ?? {};
  if (kind !== "open") throw new Error(String(why));
  latency.push(performance.now() - since);
}
const out = JSON.stringify({ latency_ms: latency, left: left() });
await over.promise;
Deno.stdout.writeSync(new TextEncoder().encode(out + "\n"));
Deno.exit(0);
