/**
 * lftp, active and wrapped, behind a closed perimeter and against a real FTPS server outside; run by
 * wrap_test.ts through namespace.ts.
 */
import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import type { WrapperRecord } from "../../lib/broker/wrapper_record.ts";
import { type AuditLine, DiaperHost } from "../lab/diaper.ts";
import { type FtpsSite, makeFtpsSite, sha256File } from "../lab/ftps.ts";
import type { Host, RunResult } from "../lab/host.ts";
import { Lab } from "../lab/lab.ts";
import { ACCOUNTS } from "./namespace.ts";
import { cases } from "./results.ts";

type User = "alice" | "bob";

const work = Deno.args[0] ?? "";
const WRAPPED = "/usr/local/bin/lftp";
const PLAIN = "/usr/bin/lftp";
/** As long as it takes to look at a transfer that goes on. */
const SLOW = ["set net:limit-rate 400000", "set net:limit-max 100000"];
const BYTES = 1_200_000;
const LISTENER = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => $ARGV[0], " +
  "Listen => 5, ReuseAddr => 1) or die $@; 1 while $s->accept;";

await using lab = await Lab.create({
  outside: [
    { name: "server", addresses: ["198.51.100.10"] },
    { name: "neighbour", addresses: ["198.51.100.66"] },
  ],
  inside: [{ name: "inside", addresses: ["192.0.2.10"] }],
});
const server = lab.host("server");
const inside = lab.host("inside");
const site: FtpsSite = await makeFtpsSite(lab, server, { bigBytes: BYTES });
appendFileSync(site.config, "port_enable=YES\n");
const PLAIN_PORT = 2121; // without TLS: curl 7.88 fails in active mode with it, without Diaper too
const plainConfig = lab.path("plain.conf");
Deno.copyFileSync(site.config, plainConfig);
appendFileSync(plainConfig, `ssl_enable=NO\nlisten_port=${PLAIN_PORT}\n`);
for (const [config, port] of [[site.config, site.port], [plainConfig, PLAIN_PORT]] as const) {
  server.spawn("vsftpd", [config]);
  await server.waitForListener("tcp", port);
}
const diaper = await DiaperHost.up(lab, inside, {
  policy: ["allow ftpclient alice tcp 198.51.100.0/24 * 192.0.2.10 1024-65535"],
  openPorts: ["tcp/22"],
});
const added = await diaper.verb("wrap add", PLAIN, "--delegate", "ftpclient", "--json");
assert.equal(added.code, 0, added.stderr);
const wrapper = JSON.parse(added.stdout) as WrapperRecord;

function commands(...steps: string[]): string[] {
  return [
    "-d",
    "-c",
    [
      ...["cmd:fail-exit yes", "net:max-retries 1", "net:timeout 3", "ftp:passive-mode no"],
      ...["ftp:ssl-force yes", "ftp:ssl-protect-data yes", `ssl:ca-file ${site.certificate}`],
    ].map((setting) => `set ${setting}`).concat(
      `open -u anonymous,lab@ ftp://${server.address(4)}:${site.port}`,
      steps,
    ).join("; "),
  ];
}

function options(user: User) {
  return { user, env: { HOME: `${work}/${user}` }, cwd: `${work}/${user}` };
}

async function lftp(user: User, program: string, ...steps: string[]): Promise<RunResult> {
  return await inside.run(program, commands(...steps), options(user));
}

/** Events of a kind that come while something is done; waits for the first. */
async function eventsOf(kind: string, work: () => Promise<void>): Promise<AuditLine[]> {
  const before = diaper.events().length;
  await work();
  const later = () => diaper.events().slice(before).filter((e) => e.event_type === kind);
  await diaper.waitForEvent(() => later().length > 0);
  return later();
}

async function nothingOpen(): Promise<void> {
  assert.deepEqual(await diaper.pinholes(), []);
  assert.deepEqual(await diaper.kernelPinholes(), []);
}

/** Tries to connect from a host; true when a packet was answered. */
async function reaches(from: Host, port: number): Promise<boolean> {
  return (await from.tryConnect(inside.address(4), port, 1_200)) !== "unanswered";
}

await cases({
  async "a user fetches by active FTP over TLS, in the delegate's name, from that host alone"() {
    const local = `${work}/alice/big`;
    const client = inside.spawn(
      WRAPPED,
      commands(...SLOW, `get big.bin -o ${local}`),
      options("alice"),
    );
    const opened = await diaper.waitForEvent((e) => e.event_type === "pinhole.opened");
    const held = await diaper.pinholes();
    const port = Number(held[0]?.["destination_port"]);
    assert.equal(held.length, 1);
    assert.equal(await reaches(lab.host("neighbour"), port), false);
    const race = await inside.run("perl", ["-e", LISTENER, String(port)], options("bob"));
    assert.match(race.stderr, /Address already in use/);
    assert.equal(client.running, true, "they tried while the transfer went on");
    assert.equal((await client.status).code, 0, client.output().slice(-5).join("\n"));
    assert.equal(await sha256File(local), site.bigSha256);
    const { delegate, user, program, source } = opened;
    assert.deepEqual({ delegate, user, program, source }, {
      ...{ delegate: "ftpclient", user: "alice", program: PLAIN, source: server.address(4) },
    });
    await diaper.waitForEvent((e) => e.event_type === "pinhole.closed" && e["id"] === opened["id"]);
    await nothingOpen();
    // A packet that passed would be answered with a reset.
    assert.equal(await reaches(server, port), false);
  },
  async "so does curl, another wrapped program of the same delegate"() {
    const { code, stderr } = await diaper.verb("wrap add", "/usr/bin/curl", "-d", "ftpclient");
    assert.equal(code, 0, stderr);
    const local = `${work}/alice/curl`;
    const events = await eventsOf("pinhole.opened", async () => {
      const result = await inside.run("/usr/local/bin/curl", [
        ...["--silent", "--show-error", "--ftp-port", "-", "--max-time", "20"],
        ...["--user", "anonymous:lab@", "--output", local],
        `ftp://${server.address(4)}:${PLAIN_PORT}/big.bin`,
      ], options("alice"));
      assert.equal(result.code, 0, result.stderr);
    });
    assert.equal(await sha256File(local), site.bigSha256);
    const { delegate, user, program } = events[0] as AuditLine;
    assert.deepEqual([delegate, user, program], ["ftpclient", "alice", "/usr/bin/curl"]);
    await diaper.waitForEvent((e) =>
      e.event_type === "pinhole.closed" && e["id"] === events[0]?.["id"]
    );
    await nothingOpen();
  },
  async "another user, whom no rule allows, gets none by the same wrapper"() {
    const events = await eventsOf("pinhole.refused", async () => {
      assert.notEqual((await lftp("bob", WRAPPED, "get big.bin")).code, 0);
    });
    const { delegate, user } = events[0] as AuditLine;
    assert.deepEqual({ delegate, user }, { delegate: "ftpclient", user: "bob" });
    await nothingOpen();
  },
  async "without the wrapper the same user gets none"() {
    assert.notEqual((await lftp("alice", PLAIN, "get big.bin")).code, 0);
    const env = {
      LD_PRELOAD: wrapper.agent,
      DIAPER_SOCKET: wrapper.socket,
      DIAPER_DELEGATE: "ftpclient",
    };
    const events = await eventsOf("channel.refused", async () => {
      const { code } = await inside.run(PLAIN, commands("get big.bin"), {
        ...options("alice"),
        env: { ...options("alice").env, ...env },
      });
      assert.notEqual(code, 0);
    });
    assert.equal(events[0]?.["uid"], ACCOUNTS.alice);
    assert.match(String(events[0]?.["why"]), /alice may not ask in the name of ftpclient/);
    await nothingOpen();
  },
  async "a shell escape has neither agent nor channel, and its wrapper is refused"() {
    const events = await eventsOf("channel.refused", async () => {
      const inner = `${WRAPPED} -c 'echo inner'`;
      const { stdout, code } = await lftp(
        "alice",
        WRAPPED,
        "pwd", // logs in, so that there is a control connection
        `!env | grep -c -E '^(LD_|DIAPER_)'; ls -l /proc/self/fd | grep -c socket; ${inner}`,
      );
      assert.notEqual(code, 0);
      const lines = stdout.split("\n");
      assert.deepEqual(lines.filter((line) => /^\d+$/.test(line)), ["0", "0"], stdout);
      assert.ok(!lines.includes("inner"), stdout);
    });
    assert.equal(events.length, 1);
    assert.equal(events[0]?.["uid"], ACCOUNTS.alice);
    assert.match(String(events[0]?.["why"]), /without its delegate's rights/);
  },
  async "lftp's module command does not load what its user wrote"() {
    const library = `${work}/alice/module.so`;
    const source = `${work}/module.c`;
    await Deno.writeTextFile(
      source,
      '#include <unistd.h>\n__attribute__((constructor)) static void f(void) { write(1, "mine\\n", 5); }\n',
    );
    await inside.must("cc", ["-w", "-shared", "-fPIC", "-o", library, source]);
    const free = await inside.run(PLAIN, ["-c", `module ${library}`], options("alice"));
    assert.match(free.stdout, /^mine$/m, "a plain lftp loads it");
    const events = await eventsOf("channel.refused", async () => {
      const { stdout, stderr } = await lftp("alice", WRAPPED, `module ${library}`);
      assert.doesNotMatch(stdout, /^mine$/m);
      assert.match(stderr, /only libraries that root alone can change/);
    });
    assert.equal(events[0]?.["uid"], ACCOUNTS.alice);
    assert.match(String(events[0]?.["why"]), /a library that others than root can change/);
  },
  async "lftp cannot be traced, read or dumped while it has its pinhole"() {
    const command = commands(...SLOW, `get big.bin -o ${work}/alice/again`);
    const before = diaper.events().length;
    const client = inside.spawn(WRAPPED, command, options("alice"));
    const opened = () =>
      diaper.events().slice(before).find((e) => e.event_type === "pinhole.opened");
    await diaper.waitForEvent(() => opened() !== undefined);
    assert.equal(opened()?.["user"], "alice");
    const pid = String(opened()?.["pid"]);
    const { code, stderr } = await inside.run("cat", [`/proc/${pid}/environ`], options("alice"));
    assert.notEqual(code, 0);
    assert.match(stderr, /Permission denied/);
    assert.equal((await client.status).code, 0);
  },
  async "every refusal of all that is in the audit trail, with who tried"() {
    await diaper.waitForEvent((e) => e.event_type === "channel.refused");
    const refusals = diaper.events().filter((e) => /refused$/.test(e.event_type));
    assert.ok(refusals.length >= 4, JSON.stringify(refusals));
    for (const event of refusals) {
      assert.ok(
        event["uid"] === ACCOUNTS.alice || event["user"] === "bob" ||
          event["uid"] === ACCOUNTS.bob,
        JSON.stringify(event),
      );
    }
  },
});
