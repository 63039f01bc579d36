/**
 * Alerts in a real PostgreSQL of Debian, in a cluster of this run's own.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { PostgresStore } from "../../lib/admin/postgres_store.ts";
import { userGroup, userId } from "../../lib/sys/accounts.ts";
import { alertEvent, TestConsole } from "./support.ts";

const versions = existsSync("/usr/lib/postgresql")
  ? [...Deno.readDirSync("/usr/lib/postgresql")].map((e) => e.name).sort((a, b) =>
    Number(b) - Number(a)
  )
  : [];
const bin = `/usr/lib/postgresql/${versions[0]}/bin`;
const uid = userId("postgres");
const ignore = versions.length === 0 || uid === undefined || Deno.uid() !== 0;

/** A server on a Unix socket alone. */
class Cluster implements AsyncDisposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "diaper-pg-" });
  #server: Deno.ChildProcess | undefined;
  #messages: ReadableStreamDefaultReader<string> | undefined;
  #drained: Promise<void> | undefined;

  get url(): string {
    return `postgres://postgres@localhost/postgres?host=${this.directory}`;
  }

  static async start(): Promise<Cluster> {
    const cluster = new Cluster();
    const gid = userGroup("postgres") as number;
    Deno.chownSync(cluster.directory, uid as number, gid);
    const as = {
      uid: uid as number,
      gid,
      cwd: cluster.directory,
      env: { LC_ALL: "C" },
      stdout: "null",
      stderr: "piped",
    } as const;
    const made = await new Deno.Command(`${bin}/initdb`, {
      ...as,
      args: ["-D", `${cluster.directory}/data`, "-A", "trust", "--no-sync", "-U", "postgres"],
    }).output();
    assert.ok(made.success, new TextDecoder().decode(made.stderr));
    cluster.#server = new Deno.Command(`${bin}/postgres`, {
      ...as,
      args: [
        ...["-D", `${cluster.directory}/data`, "-k", cluster.directory],
        ...["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"],
      ],
    }).spawn();
    // Its socket is there long before it takes anybody who comes to it.
    let said = "";
    cluster.#messages = cluster.#server.stderr.pipeThrough(new TextDecoderStream()).getReader();
    while (!said.includes("ready to accept connections")) {
      const { value, done } = await cluster.#messages.read();
      if (done) throw new Error(`PostgreSQL does not start: ${said}`);
      said += value;
    }
    cluster.#drained = cluster.#drain();
    return cluster;
  }

  /** Reads what else it says, so that it never waits for somebody to read it. */
  async #drain(): Promise<void> {
    while (!(await this.#messages?.read())?.done);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server?.kill("SIGINT");
    await this.#server?.status;
    await this.#drained;
    Deno.removeSync(this.directory, { recursive: true });
  }
}

Deno.test({
  name:
    "console: two consoles share alerts in PostgreSQL, and whichever an NI comes to, each is kept once",
  ignore,
  fn: async () => {
    await using cluster = await Cluster.start();
    const nis = { ni1: "" };
    const first = await PostgresStore.open(cluster.url);
    await using one = await TestConsole.start(nis, {}, first);
    const second = await PostgresStore.open(cluster.url);
    await using two = await TestConsole.start(nis, {}, second);
    two.relist((lines) => lines[0] = `ni1 ssh-ed25519 ${one.keyOf("ni1").publicKey}`);
    const ni = await one.ni("ni1", {
      connect: [{ host: "127.0.0.1", port: one.port }, { host: "127.0.0.1", port: two.port }],
      consoleKeys: new Set([one.key.publicKey, two.key.publicKey]),
    });
    await ni.start();
    for (let i = 1; i <= 500; i++) ni.alert(alertEvent(`a${i}`), new Uint8Array([i & 255]));
    await one.waitForAlerts(500);
    // The first goes away in the middle of a stream, and the other one goes on.
    for (let i = 501; i <= 1500; i++) ni.alert(alertEvent(`a${i} \u0000`));
    await one.daemon.console.close();
    const shared = await two.waitForAlerts(1500);
    assert.deepEqual(shared.map((a) => a.seq), Array.from({ length: 1500 }, (_, i) => i + 1));
    assert.deepEqual(await second.totals(), [{ ni: "ni1", alerts: 1500, lost: 0 }]);
    // The same questions have the same answers as at the default store.
    const [alert] = await second.list({
      ni: "ni1",
      signature: "a7",
      host: "192.0.2.10",
      text: "A7",
      limit: 5,
    });
    assert.equal(alert?.signature, "a7");
    assert.deepEqual(await second.capture(alert.id), new Uint8Array([7]));
    assert.equal((await second.get(alert.id))?.seq, 7);
    assert.equal((await second.list({ severity: 1, limit: 5 })).length, 0);
    assert.deepEqual((await second.list({ before: alert.id, limit: 2 })).map((a) => a.seq), [6, 5]);
    const rates = await second.rates(0, Date.now() + 60_000, 60_000);
    assert.equal(rates.reduce((sum, r) => sum + r.count, 0), 1500);
    while (await second.prune(0, 100) > 0);
    assert.equal((await second.list({ limit: 500 })).length, 100);
  },
});
