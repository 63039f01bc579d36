/**
 * Asks a controller for pinholes over SSH, as a broker does: one at a time, then as many at once as the
 * protocol allows. Prints `{"latency_ms":[...],"per_second":N}`. Run by remote.ts on a host of its lab.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import type { ClientChannel } from "../../lib/sys/ssh2.d.ts";
import { Client, SSH_ALGORITHMS } from "../../lib/sys/ssh.ts";

const [host = "", port = "", keyFile = "", source = "", destination = "", count = "0"] = Deno.args;
const TOTAL = Number(count);
/** Below what the protocol allows, so that the controller never stops reading. */
const AT_ONCE = 512;
const WARM_UP = 2000;

const client = new Client();
const channel = await new Promise<ClientChannel>((resolve, reject) => {
  const sock = connect({ host, port: Number(port), noDelay: true });
  client.on("error", reject);
  client.on("ready", () => {
    client.subsys("diaper", (error, c) => error === undefined ? resolve(c) : reject(error));
  });
  client.connect({
    sock,
    username: "diaper",
    privateKey: readFileSync(keyFile, "utf8"),
    algorithms: SSH_ALGORITHMS,
    hostVerifier: () => true, // a benchmark's own controller, in its own lab
  });
});

const waiting = new Map<string, (message: Record<string, unknown>) => void>();
let rest = "";
let welcome: () => void = () => {};
channel.on("data", (data: Buffer) => {
  const lines = (rest + data.toString()).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) {
    const m = JSON.parse(line) as Record<string, unknown>;
    if (m["op"] === "welcome") welcome();
    const done = waiting.get(String(m["key"]));
    if (done === undefined || (m["op"] !== "verdict" && m["op"] !== "closed")) continue;
    waiting.delete(String(m["key"]));
    done(m);
  }
});
const say = (message: unknown) => channel.write(JSON.stringify(message) + "\n");
const ask = (key: string, message: Record<string, unknown>) =>
  new Promise<Record<string, unknown>>((resolve) => {
    waiting.set(key, resolve);
    say({ ...message, key });
  });

const instance = crypto.randomUUID();
const greeted = new Promise<void>((resolve) => {
  welcome = resolve;
});
say({
  ...{ op: "hello", version: 1, broker: crypto.randomUUID(), boot: instance, instance },
});
await greeted;

let sequence = 0;
async function pinhole(): Promise<void> {
  const n = sequence++;
  const key = `${instance}.${n}`;
  const m = await ask(key, {
    ...{ op: "open", proto: "tcp", source, source_port: 0, destination },
    ...{ destination_port: 1024 + n % 60_000, user: "root", uid: 0, pid: 1, program: "/bench" },
    cookie: String(n + 1),
  });
  if (m["kind"] !== "open") throw new Error(String(m["why"]));
  say({ op: "close", key, reason: "socket-closed" });
}

async function atOnce(total: number): Promise<void> {
  let left = total;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (left-- > 0) await pinhole();
  }));
}

for (let i = 0; i < WARM_UP; i++) await pinhole();
await atOnce(WARM_UP * 2);
const latency: number[] = [];
for (let i = 0; i < TOTAL / 4; i++) {
  const since = performance.now();
  await pinhole();
  latency.push(performance.now() - since);
}
const since = performance.now();
await atOnce(TOTAL);
const perSecond = TOTAL / ((performance.now() - since) / 1000);
const out = JSON.stringify({ latency_ms: latency, per_second: perSecond });
Deno.stdout.writeSync(new TextEncoder().encode(out + "\n"));
client.end();
Deno.exit(0);
