import assert from "node:assert/strict";
import { EXIT } from "../../lib/cli/exit.ts";
import { followPinholes } from "../../lib/cli/pinhole_watch.ts";
import { type Answerer, diaper, FakeDaemon, pinholeRow, RunningVerb } from "./fake_daemon.ts";

const FIELDS = Object.keys(pinholeRow(1));
const TUPLE = [
  ...["--proto", "tcp", "--source", "198.51.100.10", "--destination", "192.0.2.10:50001"],
];

function change(id: number, kind: string, state: string): Record<string, unknown> {
  const timestamp = "2030-01-02T03:04:06.000Z";
  return { event_type: `pinhole.${kind}`, timestamp, ...pinholeRow(id, { state }), why: "reason" };
}

/** Lists the pinholes, and has the watch told the changes while the list is under way. */
function listing(
  rows: readonly Record<string, unknown>[],
  changes: readonly Record<string, unknown>[],
): Answerer {
  const told = Promise.withResolvers<void>();
  return async ({ request, data, end, gone }) => {
    if (request["op"] === "watch") {
      await data(...changes);
      told.resolve();
      return await gone;
    }
    await told.promise;
    await data(...rows);
    await end();
  };
}

Deno.test("pinhole list: JSON has the fields that scripts rely on, and no others", async () => {
  await using daemon = new FakeDaemon(async ({ data, end }) => {
    await data(pinholeRow(1), { ...pinholeRow(2, { source_port: 20, pid: null }), secret: 1 });
    await end();
  });
  const { code, stdout } = await diaper("pinhole", "list", "--json", "--config", daemon.config);
  assert.equal(code, EXIT.DONE);
  const rows = stdout.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(rows, [pinholeRow(1), pinholeRow(2, { source_port: 20, pid: null })]);
  assert.deepEqual(Object.keys(rows[1] ?? {}), FIELDS);
  assert.deepEqual(FIELDS, [
    ...["id", "proto", "source", "source_port", "destination", "destination_port", "state"],
    ...[
      "delegate",
      "user",
      "pid",
      "program",
      "opened_at",
      "expires_at",
      "packets",
      "bytes",
      "rule",
    ],
  ]);
});

Deno.test("pinhole list: a table for people, safe for the terminal", async () => {
  await using daemon = new FakeDaemon(async ({ data, end }) => {
    await data(
      pinholeRow(1, { program: "/tmp/\x1b[31mevil" }),
      pinholeRow(12345, { source: "2001:db8::1", destination: "2001:db8::2", source_port: 20 }),
    );
    await end();
  });
  const { stdout } = await diaper("pinhole", "list", "--config", daemon.config);
  const [title, first, second] = stdout.split("\n");
  assert.match(title ?? "", /^ +ID {2}STATE {2}PROTO {2}SOURCE/);
  assert.match(first ?? "", /alice\/ftp +\/tmp\/\\x1b\[31mevil\[4711\]/);
  assert.match(second ?? "", /\[2001:db8::1\]:20 +\[2001:db8::2\]:62345/);
  const places = [title, second].map((line) => line?.search(/STATE|open/));
  assert.equal(places[0], places[1]);
});

Deno.test("pinhole list: nothing open prints nothing on stdout", async () => {
  await using daemon = new FakeDaemon(async ({ end }) => await end());
  const { code, stdout, stderr } = await diaper("pinhole", "list", "--config", daemon.config);
  assert.deepEqual([code, stdout], [EXIT.DONE, ""]);
  assert.match(stderr, /no pinhole is open/);
});

Deno.test("pinhole open: asks for exactly what was given, and prints the pinhole", async () => {
  await using daemon = new FakeDaemon(async ({ data, end }) => {
    await data(pinholeRow(7));
    await end();
  });
  const c = ["--config", daemon.config];
  const { code, stdout } = await diaper(
    "pinhole",
    "open",
    ...c,
    ...TUPLE,
    "--ttl",
    "1h30m",
    "--json",
  );
  assert.equal(code, EXIT.DONE);
  assert.deepEqual(JSON.parse(stdout), pinholeRow(7));
  const six = ["--source", "[2001:db8::0:1]:20", "--destination", "[2001:db8::2]:5000"];
  await diaper("pinhole", "open", ...c, "--proto", "udp", ...six);
  const request = { op: "open", proto: "tcp", source: "198.51.100.10", source_port: 0 };
  assert.deepEqual(daemon.requests, [
    { ...request, destination: "192.0.2.10", destination_port: 50001, ttl: 5400 },
    {
      ...{ op: "open", proto: "udp", source: "2001:db8::1", source_port: 20 },
      ...{ destination: "2001:db8::2", destination_port: 5000, ttl: 60 },
    },
  ]);
});

Deno.test("pinhole open: a refusal is exit code 5 with reason and next step", async () => {
  const error = { code: 5, message: "refused: no rule allows it", next: "diaper policy explain" };
  await using daemon = new FakeDaemon(async ({ send }) =>
    await send(JSON.stringify({ error }) + "\n")
  );
  const { code, stdout, stderr } = await diaper("pinhole", "open", ...TUPLE, "-c", daemon.config);
  assert.deepEqual([code, stdout], [EXIT.NOT_PERMITTED, ""]);
  assert.equal(stderr, "diaper: refused: no rule allows it\n  next: diaper policy explain\n");
});

const BAD: readonly (readonly string[])[] = [
  ["--proto", "icmp", "--source", "192.0.2.1", "--destination", "192.0.2.2:1"],
  ["--proto", "tcp", "--source", "192.0.2.01", "--destination", "192.0.2.2:1"],
  ["--proto", "tcp", "--source", "192.0.2.0/24", "--destination", "192.0.2.2:1"],
  ["--proto", "tcp", "--source", "192.0.2.1", "--destination", "192.0.2.2"],
  ["--proto", "tcp", "--source", "192.0.2.1", "--destination", "192.0.2.2:65536"],
  ["--proto", "tcp", "--source", "192.0.2.1", "--destination", "[2001:db8::1]:80"],
  ["--proto", "tcp", "--source", "192.0.2.1; drop", "--destination", "192.0.2.2:1"],
  [...TUPLE, "--ttl", "60"],
  [...TUPLE, "--ttl", "366d"],
  ["--proto", "tcp", "--source", "192.0.2.1"],
];

Deno.test("pinhole open: what makes no sense never reaches the daemon", async () => {
  await using daemon = new FakeDaemon(async ({ end }) => await end());
  const results = await Promise.all(
    BAD.map((args) => diaper("pinhole", "open", "-c", daemon.config, ...args)),
  );
  results.forEach(({ code, stderr }, i) => {
    assert.equal(code, EXIT.USAGE, `${BAD[i]}: ${stderr}`);
    assert.match(stderr, /\n {2}next: /);
  });
  assert.deepEqual(daemon.requests, []);
});

Deno.test("pinhole open --dry-run: goes by the policy file, and opens nothing", async () => {
  await using daemon = new FakeDaemon(async ({ end }) => await end());
  const rules = [
    "allow operator * tcp 198.51.100.0/24 * * 1024-65535 ttl=30s",
    "deny * * * * * * 50002",
  ];
  Deno.writeTextFileSync(`${daemon.directory}/site.policy`, rules.join("\n") + "\n");
  const base = ["pinhole", "open", "-c", daemon.config, "--dry-run", "--json"];
  const allowed = await diaper(...base, ...TUPLE);
  assert.equal(allowed.code, EXIT.DONE, allowed.stderr);
  const answer = JSON.parse(allowed.stdout);
  assert.deepEqual([answer.permitted, answer.ttl], [true, 30]);
  assert.match(answer.rule, /site\.policy:1$/);
  const denied = await diaper(...base, ...TUPLE.slice(0, 5), "192.0.2.10:50002");
  assert.equal(denied.code, EXIT.NOT_PERMITTED, denied.stderr);
  assert.equal(JSON.parse(denied.stdout).permitted, false);
  assert.deepEqual(daemon.requests, []);
});

Deno.test("pinhole close: closes the others when one is not there", async () => {
  await using daemon = new FakeDaemon(async ({ request, data, send, end }) => {
    if (request["id"] === 8) {
      const error = { code: 1, message: "there is no pinhole 8", next: "diaper pinhole list" };
      return await send(JSON.stringify({ error }) + "\n");
    }
    await data(pinholeRow(Number(request["id"]), { state: "closed" }));
    await end();
  });
  const { code, stdout, stderr } = await diaper(
    ...["pinhole", "close", "7", "8", "9", "--json", "--config", daemon.config],
  );
  assert.equal(code, EXIT.FAILED);
  assert.deepEqual(stdout.trim().split("\n").map((line) => JSON.parse(line).id), [7, 9]);
  assert.match(stderr, /there is no pinhole 8/);
  assert.deepEqual(daemon.requests.map((r) => r["id"]), [7, 8, 9]);
  for (const bad of ["0", "-1", "x", "1e3", "9007199254740993"]) {
    assert.equal(
      (await diaper("pinhole", "close", "-c", daemon.config, "--", bad)).code,
      EXIT.USAGE,
      bad,
    );
  }
});

Deno.test("pinhole close --dry-run: shows which they are", async () => {
  await using daemon = new FakeDaemon(async ({ data, end }) => {
    await data(pinholeRow(1), pinholeRow(2));
    await end();
  });
  const args = ["pinhole", "close", "--dry-run", "--json", "-c", daemon.config];
  const { code, stdout, stderr } = await diaper(...args, "2", "3");
  assert.equal(code, EXIT.FAILED);
  assert.deepEqual(JSON.parse(stdout), pinholeRow(2));
  assert.match(stderr, /there is no pinhole 3/);
  assert.deepEqual(daemon.requests, [{ op: "list" }]);
});

Deno.test("pinhole watch: asks for changes first, and tells each change once", async () => {
  await using daemon = new FakeDaemon(listing(
    [pinholeRow(1), pinholeRow(2, { state: "opening" }), pinholeRow(3, { state: "closing" })],
    [
      change(1, "opened", "open"), // in the list already
      change(9, "opened", "open"), // opened and closed while the list was read
      change(9, "closed", "closed"),
      { event_type: "policy.loaded", timestamp: "2030-01-02T03:04:06.000Z", rules: 3 },
      change(2, "opened", "open"),
      change(3, "closed", "closed"),
      change(4, "closed", "closed"), // closed before the list came to it
      change(1, "closed", "closed"),
    ],
  ));
  const seen: string[] = [];
  const config = { run_dir: `${daemon.directory}/run`, control_group: "root" };
  for await (const item of followPinholes(config)) {
    seen.push(`${item.id} ${item.state}`);
    if (seen.at(-1) === "1 closed") break;
  }
  assert.deepEqual(seen, [
    ...["1 open", "2 opening", "3 closing"],
    ...["9 open", "9 closed", "2 open", "3 closed", "1 closed"],
  ]);
  assert.deepEqual(daemon.requests.map((r) => r["op"]), ["watch", "list"]);
});

Deno.test("pinhole list --watch: goes on until the daemon ends, which is exit code 4", async () => {
  const stop = Promise.withResolvers<void>();
  await using daemon = new FakeDaemon(async ({ request, data, end }) => {
    if (request["op"] === "watch") {
      await data(change(2, "opened", "open"));
      return await stop.promise;
    }
    await data(pinholeRow(1));
    await end();
  });
  await using verb = new RunningVerb("pinhole", "list", "--watch", "--json", "-c", daemon.config);
  assert.deepEqual(JSON.parse(await verb.line() ?? ""), pinholeRow(1));
  const second = JSON.parse(await verb.line() ?? "");
  assert.deepEqual([second.id, second.event_type, second.why], [2, "pinhole.opened", "reason"]);
  stop.resolve();
  const { code, stderr } = await verb.ended();
  assert.equal(code, EXIT.UNREACHABLE);
  assert.match(stderr, /ended the watch/);
});
