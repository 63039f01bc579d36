import assert from "node:assert/strict";
import { askDaemon, askForOne, type ControlAnswer } from "../../lib/cli/control_client.ts";
import { CliError, EXIT } from "../../lib/cli/exit.ts";
import { type Answerer, FakeDaemon } from "./fake_daemon.ts";

const STATUS = { op: "status" } as const;

function config(daemon: FakeDaemon): { run_dir: string; control_group: string } {
  return { run_dir: `${daemon.directory}/run`, control_group: "diaper" };
}

async function collect(answer: ControlAnswer): Promise<unknown[]> {
  const items: unknown[] = [];
  for await (const item of answer) items.push(item);
  return items;
}

/** What the client makes of what a daemon says. */
async function failureOf(answerer: Answerer, silence?: number): Promise<CliError> {
  await using daemon = new FakeDaemon(answerer);
  try {
    await collect(await askDaemon(config(daemon), STATUS, silence));
  } catch (error) {
    assert(error instanceof CliError, String(error));
    assert.notEqual(error.next, undefined);
    return error;
  }
  throw new Error("the client took it");
}

Deno.test("control client: gives the data of an answer, whatever pieces it comes in", async () => {
  await using daemon = new FakeDaemon(async ({ send, gone }) => {
    const text = '{"data":{"n":1,"name":"añb"}}\n{"data":2}\n{"data":null}\n{"end":true}\n';
    for (const octet of new TextEncoder().encode(text)) await send(Uint8Array.of(octet));
    await gone;
  });
  const items = await collect(await askDaemon(config(daemon), STATUS));
  assert.deepEqual(items, [{ n: 1, name: "añb" }, 2, null]);
  assert.deepEqual(daemon.requests, [STATUS]);
});

Deno.test("control client: a long answer arrives whole and in order", async () => {
  const COUNT = 20_000;
  await using daemon = new FakeDaemon(async ({ data, end }) => {
    for (let i = 0; i < COUNT; i += 500) {
      await data(...Array.from({ length: 500 }, (_, n) => ({ id: i + n, text: "x".repeat(50) })));
    }
    await end();
  });
  let expected = 0;
  for await (const item of await askDaemon(config(daemon), { op: "list" })) {
    assert.equal((item as { id: number }).id, expected++);
  }
  assert.equal(expected, COUNT);
});

Deno.test("control client: stopping early ends the connection", async () => {
  const gone = Promise.withResolvers<void>();
  await using daemon = new FakeDaemon(async (c) => {
    await c.data(1, 2, 3);
    await c.gone;
    gone.resolve();
  });
  for await (const item of await askDaemon(config(daemon), { op: "watch" })) {
    assert.equal(item, 1);
    break;
  }
  await gone.promise;
});

Deno.test("control client: no daemon is exit code 4, with the way to start it", async () => {
  await using daemon = new FakeDaemon();
  for (const prepare of [() => {}, () => void Deno.writeTextFileSync(daemon.socket, "")]) {
    prepare();
    await assert.rejects(askDaemon(config(daemon), STATUS), (error) => {
      assert(error instanceof CliError);
      assert.equal(error.code, EXIT.UNREACHABLE);
      assert.match(error.message, /not running/);
      assert.match(error.next ?? "", /diaper up/);
      return true;
    });
  }
});

Deno.test("control client: the daemon's refusal keeps code, message and next step", async () => {
  const error = { code: 5, message: "only root may sweep", next: "run it with sudo" };
  const failure = await failureOf(async ({ send }) => await send(JSON.stringify({ error }) + "\n"));
  const { code, message, next } = failure;
  assert.deepEqual({ code, message, next }, error);
});

const HOSTILE: readonly [string, Answerer, RegExp][] = [
  ["garbage", async ({ send }) => await send("HTTP/1.1 400 Bad Request\n"), /not JSON: HTTP/],
  ["no reply's form", async ({ send }) => await send('{"ok":true}\n'), /neither data, end nor/],
  ["a bare value", async ({ send }) => await send("null\n"), /neither data, end nor/],
  [
    "a bad error",
    async ({ send }) => await send('{"error":{"code":0}}\n'),
    /an error without code/,
  ],
  ["an end", async () => {}, /broke off its answer/],
  ["other than UTF-8", async ({ send }) => await send(Uint8Array.of(0x7b, 0xff, 10)), /not UTF-8/],
  ["half a line", async ({ send }) => await send('{"data":'), /broke off its answer/],
  [
    "a line without end",
    async ({ send }) => {
      for (;;) await send("x".repeat(65_536));
    },
    /longer than 1048576 octets/,
  ],
];

for (const [what, answerer, expected] of HOSTILE) {
  Deno.test(`control client: ${what} in place of an answer is a clear error`, async () => {
    assert.match((await failureOf(answerer)).message, expected);
  });
}

Deno.test("control client: a daemon that says nothing is given up", async () => {
  const failure = await failureOf(async ({ data, gone }) => {
    await data(1);
    await gone;
  }, 50);
  assert.equal(failure.code, EXIT.UNREACHABLE);
  assert.match(failure.message, /silent for 0.05 s/);
});

Deno.test("control client: one item means one", async () => {
  for (const items of [[], [1, 2]]) {
    await using daemon = new FakeDaemon(async ({ data, end }) => {
      await data(...items);
      await end();
    });
    await assert.rejects(askForOne(config(daemon), STATUS), /the answer to status has/);
  }
});

/** Another account can run this Deno: it may be in a home directory. */
function othersCanRun(): boolean {
  const test = { args: ["-c", 'test -x "$0"', Deno.execPath()], uid: NOBODY, gid: NOBODY };
  return Deno.uid() === 0 && new Deno.Command("/bin/sh", test).outputSync().success;
}

const NOBODY = 65534;

Deno.test("control client: who may not use the socket is told so (needs root)", {
  ignore: !othersCanRun(),
}, async () => {
  await using daemon = new FakeDaemon(async ({ end }) => await end());
  const place = daemon.directory;
  for (const path of [place, `${place}/run`]) Deno.chmodSync(path, 0o755);
  Deno.chmodSync(daemon.socket, 0o600);
  for (const name of ["control_client.ts", "exit.ts"]) {
    Deno.copyFileSync(new URL(`../../lib/cli/${name}`, import.meta.url), `${place}/${name}`);
  }
  const client = `import { askDaemon } from "file://${place}/control_client.ts";
    try { await askDaemon(${JSON.stringify(config(daemon))}, { op: "status" }); }
    catch (error) { console.log(JSON.stringify([error.code, error.message, error.next])); }`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", client],
    cwd: "/",
    uid: NOBODY,
    gid: NOBODY,
    env: { DENO_DIR: "/nonexistent", HOME: "/nonexistent", NO_COLOR: "1" },
  }).output();
  const said = new TextDecoder().decode(stdout);
  assert.notEqual(said, "", new TextDecoder().decode(stderr));
  const [code, message, next] = JSON.parse(said);
  assert.equal(code, EXIT.NOT_PERMITTED);
  assert.match(message, /may not use/);
  assert.match(next, /group diaper/);
});
