import assert from "node:assert/strict";
import { labPossible } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { ended, INSIDE, OUTSIDE, PORT, TraceLab } from "./support.ts";

const NOBODY = 65534;

function ownDirectory(uid: number): Disposable & { readonly path: string } {
  const base = Deno.makeTempDirSync({ dir: "/run", prefix: "diaper-test-" });
  const path = `${base}/cache`;
  Deno.chmodSync(base, 0o755);
  Deno.mkdirSync(path, { mode: 0o700 });
  Deno.chownSync(path, uid, uid);
  return { path, [Symbol.dispose]: () => Deno.removeSync(base, { recursive: true }) };
}

Deno.test({
  name: "trace: static programs see what they would see without a supervisor, and have their " +
    "pinholes (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await TraceLab.create();
    for (const libc of ["glibc", "musl"] as const) {
      const before = lab.opened().length;
      const plain = await ended(await lab.start(["calls"], { traced: false, libc }));
      assert.equal(plain.code, 0);
      assert.ok(plain.lines.length > 40);
      assert.equal(lab.opened().length, before);
      const server = await lab.start(["calls"], { libc });
      assert.deepEqual(await ended(server), plain);
      await lab.allClosed(before + 7);
      const opened = lab.opened().slice(before);
      assert.ok(opened.every((p) => p["source"] === OUTSIDE[0] && p["destination"] === INSIDE));
      assert.ok(opened.every((p) => p["program"] === lab.program(libc) && p["user"] === "root"));
      // An IPv4 and an IPv6 socket with ports of the kernel's choice, UDP, listen without bind, then
      // 3002 twice and in between 3003 by a child.
      const ports = opened.map((p) => [p["proto"], Number(p["destination_port"])] as const);
      assert.deepEqual(
        ports.map(([proto, port]) => `${proto} ${port < 10_000 ? port : "chosen"}`),
        [
          ...["tcp chosen", "tcp chosen", "udp 3001", "tcp chosen"],
          ...["tcp 3002", "tcp 3003", "tcp 3002"],
        ],
      );
      assert.deepEqual(
        opened.map((p) => p["pid"] === server.pid),
        [true, true, true, true, true, false, true],
      );
    }
  },
});

Deno.test({
  name:
    "trace: what is refused stays refused: rings, privileged ports without the right, ports of " +
    "others (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await TraceLab.create();
    const words = async (process: LabProcess) => {
      await process.status;
      return process.output();
    };
    assert.deepEqual(await words(await lab.start(["uring"])), [
      "io_uring_setup: -1 Function not implemented",
    ]);
    // Not below /tmp, which others may write to.
    using cache = ownDirectory(NOBODY);
    const asNobody = { user: "nobody", env: { XDG_CACHE_HOME: cache.path }, options: [] };
    const plain = await words(await lab.start(["privileged"], { ...asNobody, traced: false }));
    assert.deepEqual(plain, ["bind 81: -1 Permission denied", "port 0"]);
    assert.deepEqual(await words(await lab.start(["privileged"], asNobody)), plain);
    // The supervisor is root, and could: the program gave its rights away.
    const dropped = lab.inside.spawn(lab.command, [
      ...lab.traceArguments(),
      ...["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
      ...["--", lab.program(), INSIDE, "privileged"],
    ]);
    assert.deepEqual(await words(dropped), plain);
    // With the right it is as without a supervisor.
    const asRoot = ["bind 81: 0", "port 81"];
    assert.deepEqual(await words(await lab.start(["privileged"], { traced: false })), asRoot);
    assert.deepEqual(await words(await lab.start(["privileged"])), asRoot);

    const own = await lab.start(["hold"], asNobody);
    assert.equal((await own.waitForLine(/^bind.*$/))[0], "bind: 0");
    const [pinhole] = await lab.diaper.pinholes();
    assert.deepEqual(
      [pinhole?.["user"], pinhole?.["pid"], pinhole?.["destination_port"]],
      ["nobody", own.pid, 3010],
    );
    await own.stop("SIGKILL");
    await lab.allClosed();
  },
});

Deno.test({
  name:
    "trace: a bind is never half done under a storm of signals, nor by many threads (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await TraceLab.create();
    const storm = await ended(await lab.start(["storm", "3000"]));
    const result = JSON.parse(storm.lines[0] ?? "{}");
    assert.deepEqual([result.binds, result.wrong], [3000, 0]);
    assert.ok(result.ticks > 100, `${result.ticks} signals`);
    await lab.allClosed(3000);
    assert.equal(lab.opened().length, 3000);
    const threads = await ended(await lab.start(["threads", "1600"]));
    assert.deepEqual(threads.lines, ['{"bound":1600,"failed":0}']);
    await lab.allClosed(4600);
    assert.equal(lab.opened().length, 4600);
    assert.ok(lab.opened().every((p) => p["source"] === OUTSIDE[0]));
  },
});

Deno.test({
  name: "trace: a thread that changes address and descriptor during bind gets no pinhole but for " +
    "what was bound (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await TraceLab.create();
    const { code, lines } = await ended(await lab.start(["race", "400"]));
    assert.equal(code, 0);
    const bound = lines.map((line) => line.split(" ").slice(1).map(Number).filter((n) => n > 0));
    assert.equal(bound.length, 400);
    assert.ok(bound.flat().every((port) => port === 40000 || port === 50000));
    await lab.allClosed(1);
    // One after the other: the pinholes of a round are among the ports that it bound.
    const opened = lab.opened().map((p) => Number(p["destination_port"]));
    let at = 0;
    for (const ports of bound) {
      if (at < opened.length && ports.includes(opened[at] as number)) at++;
    }
    assert.equal(at, opened.length, "each pinhole is for a port that was bound");
    assert.ok(opened.length > 0);
    assert.ok(new Set(bound.flat()).size === 2, "the race was a race");
  },
});

Deno.test({
  name: "trace: kill -9 of program or supervisor leaves no pinhole and nobody hanging (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await TraceLab.create();
    const program = await lab.start(["hold"]);
    await program.waitForLine(/^bind: 0$/);
    assert.equal((await lab.diaper.kernelPinholes()).length, 1);
    const first = await lab.supervisor();
    await program.stop("SIGKILL");
    await lab.allClosed();
    assert.deepEqual(await lab.diaper.kernelPinholes(), []);
    await lab.gone(first);

    const other = await lab.start(["wait"]);
    await other.write("1\n");
    await other.waitForLine(/^bind: 0$/);
    Deno.kill(await lab.supervisor(), "SIGKILL");
    await other.write("2\n");
    await other.find(() => other.output("stdout").length === 3 ? true : undefined, "3 lines");
    // The kernel's way to say that nobody answers any more.
    assert.deepEqual(other.output("stdout").slice(1), [
      "bind: -1 Function not implemented",
      "bind: -1 Function not implemented",
    ]);
    assert.equal((await lab.diaper.pinholes()).length, 1, "the first one's socket is still open");
    await other.closeInput();
    assert.equal((await other.status).code, 0);
    await lab.allClosed();
  },
});

Deno.test({
  name: "trace: each process's pinhole is for the host that it serves, and for none when that " +
    "cannot be told (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await TraceLab.create();
    const server = await lab.start(["session"], { from: ["one", "two"] });
    await server.find(() => server.output("stdout").length === 3 ? true : undefined, "3 lines");
    assert.deepEqual(new Set(server.output("stdout")), new Set(["bind: 0"]));
    const byPort = Object.fromEntries(
      (await lab.diaper.pinholes()).map((p) => [p["destination_port"], p["source"]]),
    );
    assert.deepEqual(byPort, { 3020: OUTSIDE[0], 3021: OUTSIDE[1], 3022: OUTSIDE[1] });
    await server.stop("SIGKILL");

    const busy = await lab.start(["wait"], {
      options: ["--delegate", "test", "--control", "tcp/9"],
    });
    await busy.write("1\n");
    await busy.waitForLine(/^bind: 0$/);
    assert.deepEqual(
      await lab.diaper.pinholes().then((p) => p.filter((q) => q["pid"] === busy.pid)),
      [],
    );
    await busy.stop("SIGKILL");
  },
});

Deno.test({
  name: "trace: a client's pinhole is for the server that it is connected to (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await TraceLab.create();
    const server = lab.lab.host("two").spawn(lab.program(), [OUTSIDE[1], "wait"]);
    await server.waitForLine(/^ready$/);
    const client = await lab.start(["client", OUTSIDE[1], String(PORT)]);
    const [, port] = await client.waitForLine(/^port (\d+)$/);
    const [pinhole] = await lab.diaper.pinholes();
    assert.deepEqual(
      [pinhole?.["source"], pinhole?.["destination_port"], pinhole?.["destination"]],
      [OUTSIDE[1], Number(port), INSIDE],
    );
    await client.stop("SIGKILL");
  },
});

Deno.test({
  name:
    "trace: a supervised program goes on when the broker does, and asks the next one (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await TraceLab.create(["broker:", "  fail_bind: true"]);
    const server = await lab.start(["wait"]);
    await server.write("1\n");
    await server.waitForLine(/^bind: 0$/);
    await lab.diaper.restart();
    await server.write("1\n");
    await server.find(() => server.output("stdout").length === 2 ? true : undefined, "2 lines");
    assert.deepEqual(server.output("stdout"), ["bind: 0", "bind: 0"]);
    assert.equal((await lab.diaper.pinholes()).length, 2);
    // A port that no rule allows: fail_bind has it fail, and the socket is as if it had never been bound.
    await server.stop("SIGKILL");
    await lab.allClosed();
    const refused = await lab.start(["hold"], { options: ["--delegate", "root"] });
    assert.equal((await refused.waitForLine(/^bind.*$/))[0], "bind: -1 Permission denied");
    assert.deepEqual(await lab.inside.must("ss", ["-Hltn", `sport = :3010`]), "");
    await refused.stop("SIGKILL");
  },
});

const hasGo = await new Deno.Command("sh", { args: ["-c", "command -v go"], stdout: "null" })
  .output().then(({ success }) => success);

Deno.test({
  name: "trace: a program in Go has pinholes for its one client, and none when it has two " +
    "(needs root, go)",
  ignore: !labPossible || !hasGo,
  fn: async () => {
    await using lab = await TraceLab.create();
    const server = lab.lab.path("server");
    const source = new URL("programs/server.go", import.meta.url).pathname;
    await lab.inside.must("go", ["build", "-o", server, source], {
      env: { CGO_ENABLED: "0", GO111MODULE: "off", GOCACHE: lab.lab.path("go-cache") },
    });
    const plain = await lab.inside.run(lab.command, [
      ...["run", "--config", lab.diaper.config, "--", server, INSIDE, String(PORT)],
    ]);
    assert.equal(plain.code, 1);
    assert.match(plain.stderr, /static program written in Go/);

    const go = lab.diaper.run("test", server, [INSIDE, String(PORT)], ["--trace", "auto"]);
    await go.waitForLine(/^ready$/);
    const one = await lab.talk("one");
    await one.write("tcp\n");
    const [, port] = await one.waitForLine(/^port (\d+)$/);
    const [pinhole] = await lab.diaper.pinholes();
    assert.deepEqual(
      [pinhole?.["source"], pinhole?.["destination"], pinhole?.["destination_port"]],
      [OUTSIDE[0], INSIDE, Number(port)],
    );
    assert.deepEqual([pinhole?.["program"], pinhole?.["pid"]], [server, go.pid]);
    const data = `cat </dev/tcp/${INSIDE}/${port}`;
    assert.equal(await lab.lab.host("two").tryConnect(INSIDE, Number(port)), "unanswered");
    assert.equal(await lab.lab.host("one").must("bash", ["-c", data]), "data\n");
    await one.write("udp\n");
    await lab.diaper.waitForEvent(() => lab.opened().length === 2);
    assert.deepEqual(lab.opened().map((p) => p["proto"]), ["tcp", "udp"]);

    const two = await lab.talk("two");
    await two.write("tcp\n");
    await two.waitForLine(/^port (\d+)$/);
    const refused = await lab.diaper.waitForEvent((e) => e.event_type === "request.refused");
    assert.match(String(refused["why"]), /^several hosts are connected/);
    assert.equal(lab.opened().length, 2);
    await go.stop("SIGKILL");
    await lab.allClosed();
  },
});
