/**
 * Bundles: what is taken, what is refused at both ends, and how a bundle gets to its NIs and back.
 */
import assert from "node:assert/strict";
import {
  type Bundle,
  bundleDiff,
  BundleError,
  type BundleLimits,
  makeBundle,
  readBundle,
} from "../../lib/admin/bundle.ts";
import { NiBundles } from "../../lib/admin/ni_bundles.ts";
import type { PushNews } from "../../lib/admin/rollouts.ts";
import { newKeyPair, publicKeyOf } from "../../lib/sys/ssh.ts";
import { type TestConsole, TestConsole as Start } from "./support.ts";

const LIMITS: BundleLimits = {
  contain: true,
  injections: 4,
  memory: 1 << 30,
  cpu: 90,
  alerts_per_minute: 600,
};
const code = new TextEncoder().encode("export {};");

function bundle(key: string, version: string, scanner: Record<string, unknown> = {}): Uint8Array {
  return makeBundle(
    {
      version,
      scanners: [{
        name: "probe",
        code: "probe.js",
        read: ["tcp"],
        contain: [],
        injections: [],
        options: {},
        ...scanner,
      }],
      prevent: [],
    },
    new Map([["probe.js", code]]),
    key,
  );
}

Deno.test("bundles: any change to a signed bundle is noticed", () => {
  const key = newKeyPair("signer");
  const signers = new Set([key.publicKey]);
  const good = bundle(key.privateKey, "1");
  assert.equal(readBundle(good, signers).manifest.version, "1");
  for (let at = 0; at < good.length; at++) {
    const bad = good.slice();
    bad[at] = (bad[at] as number) ^ 1;
    assert.throws(() => readBundle(bad, signers), BundleError, `octet ${at}`);
  }
  for (const length of [0, 10, 20, good.length - 1]) {
    assert.throws(() => readBundle(good.slice(0, length), signers), BundleError);
  }
  assert.throws(
    () => readBundle(good, new Set([newKeyPair("other").publicKey])),
    /nobody who is trusted/,
  );
});

Deno.test("bundles: what differs is said line by line", () => {
  const { privateKey, publicKey } = newKeyPair("signer");
  const read = (data: Uint8Array) => readBundle(data, new Set([publicKey])).manifest;
  const before = read(bundle(privateKey, "1"));
  const after = read(bundle(privateKey, "2", { contain: ["tcp port 25"], options: { most: 3 } }));
  assert.deepEqual(bundleDiff(before, after), [
    "version: 1 -> 2",
    '  probe.contain: [] -> ["tcp port 25"]',
    '  probe.options: {} -> {"most":3}',
  ]);
  assert.deepEqual(bundleDiff(after, after), []);
});

/** An NI that can take bundles, and what it has put in force. */
async function ni(
  test: TestConsole,
  name: string,
  options: {
    limits?: BundleLimits;
    signers?: ReadonlySet<string>;
    sick?: (b: Bundle | undefined) => string | undefined;
  } = {},
) {
  const applied: (string | undefined)[] = [];
  let running: Bundle | undefined;
  const bundles: NiBundles = new NiBundles({
    directory: `${test.directory}/${name}-bundles`,
    signers: options.signers ?? new Set([test.key.publicKey]),
    limits: options.limits ?? LIMITS,
    apply: (b) => {
      running = b;
      applied.push(b?.manifest.version);
      return Promise.resolve();
    },
    health: () => Promise.resolve(options.sick?.(running)),
    probation: 100,
    look: 20,
    say: (message) => void side.say(message),
    log: () => {},
  });
  const side = await test.ni(name, {
    handlers: {
      bundle: (message, bytes) => bundles.message(message, bytes),
      running: () =>
        bundles.running === undefined
          ? null
          : { version: bundles.running.manifest.version, digest: bundles.running.digest },
    },
  });
  await side.start();
  await test.until(() => side.connected ? true : undefined, `${name} at the console`);
  return { side, bundles, applied };
}

async function push(
  test: TestConsole,
  data: Uint8Array,
  more: Record<string, unknown> = {},
): Promise<PushNews[]> {
  const connection = await Deno.connect({
    transport: "unix",
    path: `${test.directory}/console.sock`,
  });
  const request = { op: "push", bundle: data.toBase64(), targets: [], soak: 0, ...more };
  const bytes = new TextEncoder().encode(JSON.stringify(request) + "\n");
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  const lines = (await new Response(connection.readable).text()).trimEnd().split("\n")
    .map((l) => JSON.parse(l) as { data?: PushNews; error?: { message: string } });
  const error = lines.at(-1)?.error;
  if (error !== undefined) throw new Error(error.message);
  return lines.flatMap((l) => l.data === undefined ? [] : [l.data]);
}

Deno.test("bundles: the canary first, the others when it is well, those who are away when they come", async () => {
  await using test = await Start.start({ n1: "group=lab", n2: "group=lab", n3: "" });
  const [n1, n2] = [await ni(test, "n1"), await ni(test, "n2")];
  const news = await push(test, bundle(test.key.privateKey, "7"), { canary: "n2" });
  const peers = news.flatMap((n) => "peer" in n ? [`${n.peer} ${n.phase}`] : []);
  assert.deepEqual(peers, [
    ...["n2 started", "n2 switched", "n2 healthy"],
    ...["n1 started", "n1 switched", "n1 healthy"],
  ]);
  assert.deepEqual(news.at(-1), { done: true, healthy: 2, waiting: 1, why: "" });
  assert.deepEqual([n1.applied, n2.applied], [["7"], ["7"]]);
  const n3 = await ni(test, "n3");
  await test.until(
    () => n3.applied.length > 0 ? true : undefined,
    "bundle at the one that was away",
  );
  await test.until(
    () =>
      test.daemon.console.state.rollouts(1)[0]?.placements.every((p) => p.phase === "healthy") ||
      undefined,
    "all healthy in the history",
  );
  for (const n of [n1, n2, n3]) n.bundles.close();
  // Only what was well is there after a restart.
  const again = new NiBundles({ ...niOptions(test, "n1"), say: () => {}, log: () => {} });
  assert.equal(again.running?.manifest.version, "7");
});

function niOptions(test: TestConsole, name: string) {
  return {
    directory: `${test.directory}/${name}-bundles`,
    signers: new Set([test.key.publicKey]),
    limits: LIMITS,
    apply: () => Promise.resolve(),
    health: () => Promise.resolve(undefined),
    probation: 0,
    look: 1,
  };
}

Deno.test("bundles: an NI goes back by itself when a bundle is not well, and the others never get it", async () => {
  await using test = await Start.start({ n1: "", n2: "" });
  const sick = (b: Bundle | undefined) =>
    b?.manifest.version === "bad" ? "scanner probe ended 3 times" : undefined;
  const [n1, n2] = [await ni(test, "n1", { sick }), await ni(test, "n2")];
  await push(test, bundle(test.key.privateKey, "good"));
  const news = await push(test, bundle(test.key.privateKey, "bad"), { canary: "n1" });
  assert.deepEqual(n1.applied, ["good", "bad", "good"]);
  assert.deepEqual(n2.applied, ["good"]);
  const last = news.at(-1) as { done: boolean; why: string };
  assert.equal(last.done, false);
  assert.match(last.why, /n1: rolled-back/);
  const [rollout] = test.daemon.console.state.rollouts(1);
  assert.equal(rollout?.state, "stopped");
  assert.match(rollout?.placements.find((p) => p.peer === "n1")?.why ?? "", /ended 3 times/);
  for (const n of [n1, n2]) n.bundles.close();
});

Deno.test("bundles: what asks for too much, or is signed by somebody else, is refused at both ends", async () => {
  await using test = await Start.start({ n1: "" }, { bundles: { contain: false } });
  const greedy = bundle(test.key.privateKey, "1", { contain: [""] });
  await assert.rejects(push(test, greedy), /asks for the right to contain/);
  await assert.rejects(
    push(test, bundle(newKeyPair("x").privateKey, "1")),
    /nobody who is trusted/,
  );
  const refusals = test.daemon.console.state.auditLines(undefined, 10).filter((l) =>
    l.what === "bundle.refused"
  );
  assert.equal(refusals.length, 2);
  // The console would allow it, the NI does not.
  const strict = await ni(test, "n1", { limits: { ...LIMITS, cpu: 10 } });
  const news = await push(test, bundle(test.key.privateKey, "2", { cpu: 50 }));
  const refused = news.find((n) => "peer" in n);
  assert.ok(refused !== undefined && "phase" in refused);
  assert.deepEqual([refused.phase, refused.why], [
    "refused",
    "scanner probe asks for 50 % of a processor, 10 are allowed",
  ]);
  assert.deepEqual(strict.applied, []);
  strict.bundles.close();
});

Deno.test("bundles: an NI that trusts another signer takes nothing from a console that was taken over", async () => {
  const offline = newKeyPair("offline");
  await using test = await Start.start({ n1: "" });
  const n1 = await ni(test, "n1", { signers: new Set([publicKeyOf(offline.privateKey)]) });
  const news = await push(test, bundle(test.key.privateKey, "1"));
  const refused = news.find((n) => "peer" in n);
  assert.ok(refused !== undefined && "why" in refused);
  assert.match(refused.why, /nobody who is trusted/);
  assert.deepEqual(n1.applied, []);
  n1.bundles.close();
});

Deno.test("bundles: the console shows what an NI runs, also after it went back", async () => {
  await using test = await Start.start({ n1: "" });
  const sick = (b: Bundle | undefined) => b?.manifest.version === "bad" ? "it is" : undefined;
  const n1 = await ni(test, "n1", { sick });
  const shown = () => test.daemon.console.status()[0]?.bundle?.version;
  assert.equal(shown(), undefined);
  await push(test, bundle(test.key.privateKey, "good"));
  await test.until(() => shown() === "good" || undefined, "the good one");
  await push(test, bundle(test.key.privateKey, "bad"));
  await test.until(() => shown() === "good" || undefined, "the good one again");
  assert.deepEqual(n1.applied, ["good", "bad", "good"]);
  n1.bundles.close();
});
