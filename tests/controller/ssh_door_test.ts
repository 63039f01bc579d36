/**
 * The door that brokers come in by, tried with the real OpenSSH client: the controller's own SSH server,
 * and a stock sshd with `diaper gate`.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { Lab, labPossible } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { hasSshd, RemoteSite, SSH_PORT, type SshKind } from "../lab/remote.ts";

const SOURCE = "198.51.100.7";
const HOST1 = "192.0.2.1";
const HOST2 = "192.0.2.2";
const METRICS_PORT = 9722;
const UUID = "0f0e0d0c-0b0a-4908-8706-050403020100";
const HELLO = { op: "hello", version: 1, broker: UUID, boot: UUID, instance: UUID };

async function withSite(server: SshKind, work: (site: RemoteSite) => Promise<void>): Promise<void> {
  await using lab = await Lab.create({
    outside: [{ name: "out", addresses: [SOURCE] }],
    inside: [{ name: "one", addresses: [HOST1] }, { name: "two", addresses: [HOST2] }],
  });
  const site = await RemoteSite.start(lab, {
    server,
    enforcer: "debug",
    policy: [
      `allow host1 * * * * ${HOST1} *`,
      `allow host2 * * * * ${HOST2} *`,
    ],
    delegates: ["host1", "host2"],
  }, []);
  await work(site);
}

/** The real client with the subsystem open, from one host with one delegate's key. */
class Session {
  readonly #process: LabProcess;

  constructor(site: RemoteSite, host: string, delegate: string, options: readonly string[] = []) {
    this.#process = site.lab.host(host).spawn("ssh", [
      ...options,
      ...site.sshArguments(delegate),
      ...["-s", "diaper"],
    ]);
  }

  async say(...messages: unknown[]): Promise<void> {
    await this.#process.write(messages.map((m) => JSON.stringify(m) + "\n").join(""));
  }

  /** Says something that may be answered by a closed door before it is said to the end. */
  async raw(text: string): Promise<void> {
    try {
      await this.#process.write(text);
    } catch (error) {
      if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    }
  }

  async answer(op: string): Promise<Record<string, unknown>> {
    const line = await this.#process.waitForLine(new RegExp(`^\\{"op":"${op}".*`), 20_000);
    return JSON.parse(line[0]) as Record<string, unknown>;
  }

  async ended(): Promise<number> {
    return (await this.#process.status).code;
  }

  async end(): Promise<void> {
    await this.#process.stop("SIGKILL");
  }
}

/** A request as a broker makes it. */
function open(n: number, destination: string, change: Record<string, unknown> = {}): unknown {
  return {
    ...{ op: "open", key: `${UUID}.${n}`, proto: "tcp", source: SOURCE, source_port: 0 },
    ...{ destination, destination_port: 50000 + n, user: "root", uid: 0, pid: 7 },
    ...{ program: "/usr/sbin/ftpd", cookie: String(n) },
    ...change,
  };
}

for (const server of ["embedded", "sshd"] as const) {
  const ignore = !labPossible || (server === "sshd" && !hasSshd);
  const name = `door (${server})`;

  Deno.test({
    name:
      `${name}: the OpenSSH client gets pinholes and nothing else; a stolen key is of no use elsewhere`,
    ignore,
    fn: () =>
      withSite(server, async (site) => {
        const lab = site.lab;
        const session = new Session(site, "one", "host1");
        await session.say(HELLO);
        assert.equal((await session.answer("welcome"))["delegate"], "host1");
        await session.say(open(1, HOST1));
        const verdict = await session.answer("verdict");
        assert.equal(verdict["kind"], "open", String(verdict["why"]));
        // The same once more, as after a lost answer: the same pinhole.
        await session.say(open(1, HOST1), { op: "list" });
        assert.equal((await session.answer("listed"))["count"], 1);
        await session.say({ op: "close", key: `${UUID}.1`, reason: "socket-closed" });
        assert.equal((await session.answer("closed"))["key"], `${UUID}.1`);
        assert.deepEqual(await site.controller.pinholes(), []);

        // The key of host1, stolen and used from host2: it opens nothing to host2.
        const thief = new Session(site, "two", "host1");
        await thief.say(HELLO, open(2, HOST2), open(3, HOST2, { user: "admin", uid: 1 }));
        const refused = await thief.answer("verdict");
        assert.equal(refused["kind"], "refused");
        await thief.say({ op: "list" });
        assert.equal((await thief.answer("listed"))["count"], 0);
        await thief.end();

        // Whatever else SSH has: there is none of it.
        const ssh = (options: string[], ...words: string[]) =>
          lab.host("one").run("ssh", [...options, ...site.sshArguments("host1"), ...words], {
            timeout: 20_000,
          });
        for (
          const [options, words] of [
            [[], ["id"]],
            [[], ["/bin/sh", "-c", "id"]],
            [["-tt"], []],
            [[], ["-s", "sftp"]],
            [[], ["diaper; id"]],
          ] as [string[], string[]][]
        ) {
          const { code, stdout } = await ssh(options, ...words);
          assert.notEqual(code, 0, words.join(" "));
          assert.doesNotMatch(stdout, /uid=|root/, words.join(" "));
        }
        const forwards = await ssh(["-W", `${HOST2}:22`]);
        assert.notEqual(forwards.code, 0, "a way through to another host");
        const back = await ssh([
          ...["-o", "ExitOnForwardFailure=yes", "-N", "-R", "7000:127.0.0.1:7"],
        ]);
        assert.notEqual(back.code, 0, "a listener at the controller");
        const listening = (await lab.perimeter.sockets("tcp")).filter((s) => s.listening);
        assert.deepEqual(
          listening.map((s) => s.localPort).filter((port) => port !== METRICS_PORT),
          [SSH_PORT],
          "only the SSH server listens, and the metrics on loopback",
        );
      }),
  });

  Deno.test({
    name: `${name}: a key that is not known, or is no more, gets nothing`,
    ignore,
    fn: () =>
      withSite(server, async (site) => {
        const lab = site.lab;
        const session = new Session(site, "one", "host1");
        const other = new Session(site, "two", "host2");
        await session.say(HELLO);
        await session.answer("welcome");
        await other.say({ ...HELLO, broker: "another-one" });
        await other.answer("welcome");
        const file = `${site.controller.config.replace(/[^/]*$/, "")}authorized_keys`;
        const lines = readFileSync(file, "utf8").split("\n");
        writeFileSync(file, lines.filter((line) => !line.endsWith(" host1")).join("\n"));
        site.controller.daemon.kill("SIGHUP");
        await session.ended();
        await other.say({ op: "ping", n: 5 });
        assert.equal((await other.answer("pong"))["n"], 5, "others are not disturbed");
        await other.end();
        const { code, stderr } = await lab.host("one").run("ssh", [
          ...site.sshArguments("host1"),
          ...["-s", "diaper"],
        ], { timeout: 20_000 });
        assert.notEqual(code, 0);
        assert.match(stderr, /Permission denied/);
      }),
  });

  Deno.test({
    name: `${name}: whatever is said there, the next broker is served and nothing was opened`,
    ignore,
    fn: () =>
      withSite(server, async (site) => {
        const bad: string[] = [
          "\n",
          "{}\n",
          "null\n",
          "x".repeat(10_000),
          "\xff\xfe\n",
          JSON.stringify({ op: "list" }) + "\n",
          JSON.stringify({ ...HELLO, version: 2 }) + "\n",
          JSON.stringify({ ...HELLO, extra: 1 }) + "\n",
          JSON.stringify({ op: "session", delegate: "host2", via: "gate", peer: "" }) + "\n",
        ];
        const hello = JSON.stringify(HELLO) + "\n";
        for (
          const change of [
            { destination_port: 0 },
            { destination_port: 70_000 },
            { proto: "icmp" },
            { key: "no key" },
            { cookie: -1 },
            { uid: -1 },
            { user: "a b" },
            { program: "x".repeat(2000) },
            { op: "welcome" },
          ]
        ) bad.push(hello + JSON.stringify(open(1, HOST1, change)) + "\n");
        const value = fc.oneof(
          fc.json(),
          fc.string({ unit: "binary", maxLength: 300 }),
          fc.record({
            op: fc.constantFrom("hello", "open", "close", "list", "ping", "verdict"),
            key: fc.anything(),
            n: fc.anything(),
          }).map((v) => {
            try {
              return JSON.stringify(v) ?? "";
            } catch {
              return "[";
            }
          }),
        );
        // A fixed seed: the run is the same everywhere. Each is a login of its own, so that they are few.
        for (const text of fc.sample(value, { numRuns: 4, seed: 7 })) bad.push(hello + text + "\n");
        for (let i = 0; i < bad.length; i += 4) {
          await Promise.all(
            bad.slice(i, i + 4).map(async (text, j) => {
              // Each as a broker of its own, or one would be taken for another's new connection.
              const session = new Session(site, "one", "host1");
              await session.raw(text.replaceAll(UUID, UUID.slice(0, -2) + String(10 + i + j)));
              const end = setTimeout(() => session.end(), 2000);
              await session.ended();
              clearTimeout(end);
            }),
          );
        }
        // Addresses that are none, or not one host's, are answered and not opened.
        const session = new Session(site, "one", "host1");
        await session.say(
          HELLO,
          open(1, "0.0.0.0"),
          open(2, "224.0.0.1"),
          open(3, "::1"),
          open(4, HOST1, { source: "nowhere" }),
          { op: "list" },
        );
        assert.equal((await session.answer("listed"))["count"], 0);
        assert.deepEqual(
          site.controller.events().filter((e) => e.event_type === "pinhole.opened"),
          [],
        );
        await session.say(open(5, HOST1), { op: "list" });
        await session.answer("verdict");
        assert.equal((await site.controller.pinholes()).length, 1);
      }),
  });
}

Deno.test({
  name: "door (embedded): who fails to log in again and again is kept out, others are not",
  ignore: !labPossible,
  fn: () =>
    withSite("embedded", async (site) => {
      const [one, two] = [site.lab.host("one"), site.lab.host("two")];
      const path = site.lab.path("stranger");
      await one.must("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path]);
      const args = site.sshArguments("host1").map((a) => a.endsWith("/key") ? path : a);
      const attempt = () => one.run("ssh", [...args, "-s", "diaper"], { timeout: 20_000 });
      let last = "";
      for (let i = 0; i < 12 && !/closed|reset/i.test(last); i++) last = (await attempt()).stderr;
      assert.match(last, /closed|reset/i, "no more than a closed door in the end");
      const session = new Session(site, "two", "host2");
      await session.say(HELLO);
      await session.answer("welcome");
      assert.equal(await two.tryConnect(site.controller.host.address(4), SSH_PORT), "connected");
    }),
});
