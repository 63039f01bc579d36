/**
 * Says to a controller, over real SSH channels, what nobody should say, and prints what it did about that:
 * `{"said":N,"wrong":[...]}`. Run by ssh_fuzz_test.ts on a host of its lab.
 *
 * @module
 */
import fc from "fast-check";
import { connect } from "node:net";
import { hello, openRequest, type Said, SshPeer } from "./ssh_peer.ts";

const [host = "", port = "", user = "", key = "", source = "", destination = "", runs = "0"] =
  Deno.args;
const options = { host, port: Number(port), user, key };
const BROKER = "0f0e0d0c-0b0a-4908-8706-050403020100";

/** Values that a field may not have, whatever else is right. */
const BAD: Readonly<Record<string, readonly unknown[]>> = {
  op: ["", "Open", "welcome", "verdict", "session", 1, null, ["open"]],
  version: [0, 2, 1.5, "1", null],
  broker: ["", "short", "x".repeat(65), "a b c d e f g", 7, null],
  boot: ["", "x".repeat(65), "a/b/c/d/e", {}],
  instance: ["", "x".repeat(65), "a\nb\nc\nd\ne", []],
  key: ["", "no key", ".1", "a.", "a.b", `${BROKER}.-1`, `${BROKER}.1.2`, `${BROKER}x.1`, 5, null],
  proto: ["", "TCP", "icmp", "tcp ", 6, null],
  source: ["x".repeat(46), 5, null, ["192.0.2.1"]],
  source_port: [-1, 65_536, 1.5, "1", null, 1e300],
  destination: ["x".repeat(46), 5, null, {}],
  destination_port: [0, -1, 65_536, 1.5, "21", null],
  user: ["", "a b", "-rf", "x".repeat(64), "a\u0000b", 0, null],
  uid: [-1, 2 ** 32, 0.5, "0", null],
  pid: [-1, 2 ** 32, 0.5, "1", null],
  program: ["x".repeat(1025), 5, null],
  cookie: ["", "-1", "0x1", "1".repeat(21), 5, null],
  bound_at: [-1, 1.5, "now", 2 ** 53, null],
  ttl: [0, -1, 1.5, 365 * 86_400 + 1, "60", null],
  reason: ["", "policy", "expired", 1, null],
  n: [-1, 1.5, "1", 2 ** 53, null],
};

const open = openRequest(BROKER, 1, { source, destination });
const VALID: readonly Said[] = [
  open,
  { ...open, bound_at: 1_700_000_000_000, ttl: 60 },
  { op: "close", key: `${BROKER}.1`, reason: "socket-closed" },
  { op: "ping", n: 1 },
  { op: "list" },
];
const OPTIONAL: readonly string[] = ["bound_at", "ttl"];

/** A message that was right, with one thing wrong in it. */
const spoiled = fc.constantFrom(...VALID).chain((message) => {
  const fields = Object.keys(message);
  const values = fc.constantFrom(...fields).chain((field) =>
    fc.constantFrom(...BAD[field] ?? []).map((value) => ({ ...message, [field]: value }))
  );
  const missing = fc.constantFrom(...fields.filter((f) => !OPTIONAL.includes(f))).map((field) =>
    Object.fromEntries(Object.entries(message).filter(([name]) => name !== field))
  );
  const more = fc.string({ minLength: 1, maxLength: 20 }).filter((name) =>
    !Object.hasOwn(BAD, name) && name !== "__proto__"
  ).map((name) => ({ ...message, [name]: 1 }));
  return fc.oneof(values, missing, more);
}).map((message) => JSON.stringify(message));

/** What is no message at all. */
const junk = fc.oneof(
  fc.json(),
  fc.string({ unit: "binary", maxLength: 500 }),
  fc.integer({ min: 4097, max: 100_000 }).map((n) => `{"op":"list"${" ".repeat(n)}}`),
  fc.integer({ min: 2, max: 2000 }).map((n) => "[".repeat(n) + "]".repeat(n)),
  fc.constantFrom("", "{}", "null", '{"op":"list"}}', '{"op":"list"'),
);

/** Messages that are right, at a time when they are not. */
const untimely = fc.constantFrom<readonly [boolean, string]>(
  [false, JSON.stringify({ op: "list" })],
  [false, JSON.stringify(open)],
  [false, JSON.stringify({ op: "ping", n: 1 })],
  [true, JSON.stringify(hello(BROKER))],
  [true, JSON.stringify({ op: "session", delegate: "host2", via: "gate", peer: "" })],
);

/** The first message itself, spoiled. */
const greeting = fc.constantFrom("op", "version", "broker", "boot", "instance").chain((field) =>
  fc.constantFrom(...BAD[field] ?? []).map((value) =>
    JSON.stringify({ ...hello(BROKER), [field]: value })
  )
);

interface Case {
  /** After a first message that is right. */
  readonly greeted: boolean;
  readonly data: string | Uint8Array;
}

const cases = fc.oneof(
  { weight: 6, arbitrary: spoiled.map((text) => ({ greeted: true, data: text })) },
  { weight: 2, arbitrary: greeting.map((text) => ({ greeted: false, data: text })) },
  { weight: 1, arbitrary: untimely.map(([greeted, text]) => ({ greeted, data: text })) },
  { weight: 3, arbitrary: junk.map((text) => ({ greeted: true, data: text })) },
  {
    weight: 2,
    arbitrary: fc.record({
      greeted: fc.boolean(),
      data: fc.uint8Array({ minLength: 1, maxLength: 9000 }),
    }),
  },
);

/** Tries one; returns what was not as it should be. */
async function attempt({ greeted, data }: Case, n: number): Promise<string | undefined> {
  const broker = BROKER.slice(0, -4) + String(1000 + n);
  const peer = await SshPeer.connect(options);
  const text = (s: string) => s.replaceAll(BROKER, broker);
  if (greeted) peer.raw(text(JSON.stringify(hello(BROKER)) + "\n"));
  peer.raw(typeof data === "string" ? text(data) : data);
  peer.raw("\n");
  const late = setTimeout(() => peer.end(), 15_000);
  const since = performance.now();
  await peer.ended;
  clearTimeout(late);
  if (performance.now() - since >= 15_000) return "the session was not ended";
  const ops = peer.said.map((m) => String(m["op"]));
  // The welcome, and then why the session ends: nothing else may come.
  const expected = greeted ? /^(welcome( error)?)?$/ : /^(error)?$/;
  return expected.test(ops.join(" ")) ? undefined : `answered ${ops.join(" ")}`;
}

const wrong: string[] = [];
const all = fc.sample(cases, { numRuns: Number(runs), seed: 20 });
let next = 0;
await Promise.all(Array.from({ length: 6 }, async () => {
  for (let n = next++; n < all.length; n = next++) {
    const one = all[n] as Case;
    const problem = await attempt(one, n);
    if (problem === undefined) continue;
    wrong.push(`${problem}: ${one.greeted} ${String(one.data).slice(0, 300)}`);
  }
}));

// Bytes that are not even SSH, or stop being it, each from an address of its own: who fails is kept out.
const addresses = Deno.args.slice(7);
const bytes = fc.sample(
  fc.tuple(
    fc.constantFrom("", "SSH-2.0-OpenSSH_9.2\r\n", "SSH-1.5-x\r\n", "SSH-2.0-\r\n\xff\xff\xff\xff"),
    fc.uint8Array({ minLength: 1, maxLength: 40_000 }),
  ),
  { numRuns: addresses.length, seed: 21 },
);
await Promise.all(addresses.map((localAddress, i) => {
  const [ident, rest] = bytes[i] as [string, Uint8Array];
  return new Promise<void>((resolve) => {
    const socket = connect({ host, port: options.port, localAddress });
    socket.on("error", () => {}); // a reset is an answer; "close" follows
    socket.on("close", () => resolve());
    socket.write(ident, "latin1");
    socket.end(rest); // whatever the server still waits for will not come
    socket.resume();
  });
}));
const out = JSON.stringify({ said: all.length + addresses.length, wrong });
Deno.stdout.writeSync(new TextEncoder().encode(out + "\n"));
Deno.exit(0);
