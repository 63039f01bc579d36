import assert from "node:assert/strict";
import { readRange, readSince } from "../../lib/cli/arguments.ts";
import { eventLine, type TrailEvent } from "../../lib/cli/event_line.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { followTrail, matches, readTrail, type TrailFilter } from "../../lib/cli/observe.ts";
import { diaper, FakeDaemon, RunningVerb } from "./fake_daemon.ts";

const START = Date.parse("2030-01-02T03:00:00.000Z");

/** The event of a second after START. */
function event(second: number, kind: string, changes: Record<string, unknown> = {}): TrailEvent {
  return {
    event_type: kind.includes(".") ? kind : `pinhole.${kind}`,
    timestamp: new Date(START + second * 1000).toISOString(),
    ...{ id: second, proto: "tcp", source: "198.51.100.10", source_port: null },
    ...{ destination: "192.0.2.10", destination_port: 50000, delegate: "ftp", user: "alice" },
    ...{ uid: 1000, pid: 88, program: "/usr/sbin/vsftpd", rule: "/etc/diaper/site.policy:3" },
    ...changes,
  };
}

function lines(events: readonly unknown[]): string {
  return events.map((e) => JSON.stringify(e) + "\n").join("");
}

function seconds(
  directory: string,
  query: { since?: number; last?: number },
  only = "opened",
): number[] {
  const found: number[] = [];
  const wanted = (e: TrailEvent) => e.event_type === `pinhole.${only}`;
  readTrail(directory, { ...query, matches: wanted }, (e) => found.push(Number(e["id"])), () => {});
  return found;
}

async function withTrail(
  files: Readonly<Record<string, string>>,
  work: (directory: string) => unknown,
): Promise<void> {
  const directory = Deno.makeTempDirSync({ prefix: "diaper-trail-" });
  try {
    for (const [name, text] of Object.entries(files)) {
      Deno.writeTextFileSync(`${directory}/${name}`, text);
    }
    await work(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("observe: filters by verdict, addresses, port, user and delegate", () => {
  const opened = event(1, "opened");
  const check = (filter: TrailFilter, e: TrailEvent = opened) => matches(filter, e);
  assert(check({}));
  assert(check({ verdict: ["opened", "closed"] }));
  assert(!check({ verdict: ["refused"] }));
  assert(check({ verdict: ["refused"] }, event(1, "request.refused")));
  assert(!check({ verdict: ["opened"] }, event(1, "policy.loaded")));
  assert(check({ fromIp: readRange("198.51.100.0/24"), toIp: readRange("192.0.2.10") }));
  assert(!check({ fromIp: readRange("198.51.100.11") }));
  assert(!check({ toIp: readRange("::/0") }));
  assert(!check({ fromIp: readRange("0.0.0.0/0") }, { ...opened, source: undefined }));
  assert(!check({ fromIp: readRange("0.0.0.0/0") }, { ...opened, source: "1.2.3" }));
  assert(check({ user: "alice", delegate: "ftp", port: 50000 }));
  for (const filter of [{ user: "bob" }, { delegate: "grid" }, { port: 50001 }]) {
    assert(!check(filter));
  }
});

Deno.test("observe: --since takes a time or how long ago", () => {
  const now = Date.parse("2030-01-02T03:04:05Z");
  assert.equal(readSince("5m", now), now - 300_000);
  assert.equal(readSince("1h30m", now), now - 5_400_000);
  assert.equal(readSince("2030-01-02T04:04:05+01:00", now), now);
  for (const bad of ["5", "m", "5x", "-5m", "yesterday", "2030-02-30T00:00:00Z", ""]) {
    assert.throws(() => readSince(bad, now), /Bad|no zone/, bad);
  }
});

Deno.test("observe: reads the rotated file before the present one", async () => {
  const files = {
    "audit.jsonl.1": lines([event(1, "opened"), event(2, "closed"), event(3, "opened")]),
    "audit.jsonl": lines([event(4, "opened"), event(5, "refused"), event(6, "opened")]),
  };
  await withTrail(files, (directory) => {
    assert.deepEqual(seconds(directory, {}), [1, 3, 4, 6]);
    assert.deepEqual(seconds(directory, { last: 3 }), [3, 4, 6]);
    assert.deepEqual(seconds(directory, { last: 2 }), [4, 6]);
    assert.deepEqual(seconds(directory, { last: 100 }), [1, 3, 4, 6]);
    assert.deepEqual(seconds(directory, { since: START + 3000 }), [3, 4, 6]);
    assert.deepEqual(seconds(directory, { since: START + 3001, last: 5 }), [4, 6]);
    assert.deepEqual(seconds(directory, { since: START + 2000, last: 1 }), [6]);
    assert.deepEqual(seconds(directory, { since: START + 7000 }), []);
  });
});

Deno.test("observe: a clock set back a little hides nothing", async () => {
  const order = [100, 101, 60, 102, 103, 62, 104];
  await withTrail({ "audit.jsonl": lines(order.map((s) => event(s, "opened"))) }, (directory) => {
    assert.deepEqual(seconds(directory, { since: START + 102_000 }), [102, 103, 104]);
    assert.deepEqual(seconds(directory, { since: START + 62_000 }), [100, 101, 102, 103, 62, 104]);
  });
});

Deno.test("observe: torn and foreign lines are skipped and counted, the event behind one is found", async () => {
  const torn = '{"event_type":"pinhole.opened","timestamp":"2030-01-02T03:00:0';
  const text = lines([event(1, "opened")]) + torn + lines([event(2, "opened")]) +
    'hello\n\n[]\n{"event_type":7,"timestamp":"x"}\n\0\0\0\n' + "z".repeat(400_000) + "\n" +
    lines([event(3, "opened")]) + torn;
  await withTrail({ "audit.jsonl": text }, (directory) => {
    let skipped = 0;
    const found: unknown[] = [];
    readTrail(directory, { matches: () => true }, (e) => found.push(e["id"]), (n) => skipped = n);
    assert.deepEqual(found, [1, 2, 3]);
    assert.equal(skipped, 7); // two torn, hello, [], a bad event, zeros, an endless line
    assert.deepEqual(seconds(directory, { last: 2 }), [2, 3]);
  });
});

Deno.test("observe: a program cannot forge a second event by its name", async () => {
  const forged = lines([event(99, "opened")]).trim();
  await withTrail(
    { "audit.jsonl": `x${lines([event(1, "opened", { program: forged })])}` },
    (directory) => assert.deepEqual(seconds(directory, {}), [1]),
  );
});

Deno.test("observe: follows what is added, through rotation by renaming and by emptying", async () => {
  await withTrail({ "audit.jsonl": lines([event(1, "opened")]) }, async (directory) => {
    const path = `${directory}/audit.jsonl`;
    const append = (file: string, ...second: number[]) =>
      Deno.writeTextFileSync(file, lines(second.map((s) => event(s, "opened"))), { append: true });
    const seen: number[] = [];
    const stop = new AbortController();
    let wanted = 1;
    let reached = Promise.withResolvers<void>();
    const following = followTrail(
      directory,
      { matches: () => true },
      (e) => {
        seen.push(Number(e["id"]));
        if (seen.length === wanted) reached.resolve();
      },
      () => {},
      stop.signal,
    );
    const upTo = async (count: number) => {
      wanted = count;
      if (seen.length < count) await reached.promise;
      reached = Promise.withResolvers();
    };
    try {
      await upTo(1);
      append(path, 2, 3);
      await upTo(3);
      Deno.renameSync(path, `${path}.1`);
      append(path, 5); // the new file is there, while a daemon that has not noticed writes to the old one
      append(`${path}.1`, 4);
      await upTo(5);
      append(`${path}.1`, 6);
      append(path, 7);
      await upTo(7);
      Deno.truncateSync(path, 0);
      append(path, 8);
      await upTo(8);
      assert.deepEqual(seen.toSorted(), [1, 2, 3, 4, 5, 6, 7, 8]);
    } finally {
      stop.abort();
      await following;
    }
  });
});

Deno.test("observe: a line for people tells time, verdict, tuple, who and why", () => {
  assert.equal(
    eventLine(event(7, "opened")),
    "2030-01-02T03:00:07.000Z  opened     #7 tcp 198.51.100.10 > 192.0.2.10:50000  alice/ftp  " +
      "/usr/sbin/vsftpd[88]  /etc/diaper/site.policy:3",
  );
  const why = { why: "its socket was closed" };
  assert.match(eventLine(event(7, "closed", why)), / {2}its socket was closed$/);
  const six = { source: "2001:db8::1", source_port: 20, destination: "2001:db8::2", rule: null };
  const refused = eventLine(event(7, "refused", { ...six, why: "no rule allows it" }));
  assert.match(refused, /tcp \[2001:db8::1\]:20 > \[2001:db8::2\]:50000 .* no rule allows it$/);
  const other = { event_type: "perimeter.started", timestamp: "2030-01-02T03:00:00.000Z", pid: 7 };
  assert.equal(eventLine(other), "2030-01-02T03:00:00.000Z  perimeter.started  pid=7");
  const evil = eventLine(event(7, "opened", { program: "\x1b[2J\u202e", user: "a\nb" }));
  assert.match(evil, /a\\x0ab\/ftp {2}\\x1b\[2J\\u\{202e\}\[88\]/);
});

Deno.test("observe: prints JSON lines or lines for people, and says what it skipped", async () => {
  await using daemon = new FakeDaemon();
  const events = [
    event(1, "requested"),
    event(1, "refused", { why: "no rule allows it" }),
    event(2, "opened"),
  ];
  Deno.writeTextFileSync(daemon.trail, lines(events) + "torn\n");
  const c = ["observe", "--config", daemon.config];
  const all = await diaper(...c, "--json");
  assert.deepEqual([all.code, all.stdout], [EXIT.DONE, lines(events)]);
  assert.match(all.stderr, /skipped a line/);
  const some = await diaper(
    ...c,
    "--json",
    "--verdict",
    "refused",
    "--verdict",
    "OPENED",
    "--last",
    "1",
  );
  assert.equal(some.stdout, lines([events[2]]));
  const people = await diaper(
    ...c,
    "--verdict",
    "refused",
    "--from-ip",
    "198.51.100.0/24",
    "--user",
    "alice",
  );
  assert.match(people.stdout, /^2030-01-02T03:00:01\.000Z {2}refused .* no rule allows it\n$/);
  for (
    const bad of [["--last", "0"], ["--verdict", "maybe"], ["--from-ip", "192.0.2.0/33"], [
      "--port",
      "0",
    ]]
  ) {
    const { code, stderr } = await diaper(...c, ...bad);
    assert.equal(code, EXIT.USAGE, stderr);
  }
});

Deno.test("observe --follow: shows the last ten and then what comes, also where no file is yet", async () => {
  await using daemon = new FakeDaemon();
  await using waiting = new RunningVerb("observe", "--follow", "--json", "--config", daemon.config);
  const first = waiting.line();
  // The verb may start to watch before or after this: it sees the event either way.
  Deno.writeTextFileSync(daemon.trail, lines([event(1, "opened")]));
  assert.equal(JSON.parse(await first ?? "").id, 1);
  Deno.writeTextFileSync(
    daemon.trail,
    lines(Array.from({ length: 20 }, (_, i) => event(i + 2, "opened"))),
    {
      append: true,
    },
  );
  for (let id = 2; id <= 21; id++) assert.equal(JSON.parse(await waiting.line() ?? "").id, id);
  await using late = new RunningVerb("observe", "--follow", "--json", "--config", daemon.config);
  for (let id = 12; id <= 21; id++) assert.equal(JSON.parse(await late.line() ?? "").id, id);
  Deno.writeTextFileSync(daemon.trail, lines([event(22, "closed")]), { append: true });
  assert.equal(JSON.parse(await late.line() ?? "").id, 22);
});

Deno.test("observe: without a trail it says so", async () => {
  await using daemon = new FakeDaemon();
  const missing = await diaper("observe", "--config", daemon.config);
  assert.equal(missing.code, EXIT.FAILED);
  assert.match(missing.stderr, /there is no audit trail in .*\n {2}next: /);
  Deno.removeSync(`${daemon.directory}/log`);
  assert.equal((await diaper("observe", "-f", "--config", daemon.config)).code, EXIT.FAILED);
});
