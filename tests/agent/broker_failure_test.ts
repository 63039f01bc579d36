/** Brokers that are not there, go away, refuse, stay silent, or talk nonsense. */
import assert from "node:assert/strict";
import {
  Broker,
  type Build,
  inNamespace,
  runPlain,
  runWatched,
  underAgent,
  withBuild,
} from "./support.ts";

const ignore = Deno.uid() !== 0;
const PORT_3001 = "tcp 10.77.0.1 3001 for 10.77.0.2 by 10.77.0.1 2121";

Deno.test({
  name: "a program without a broker runs as without the agent (needs root)",
  ignore,
  fn: (t) =>
    withBuild(async (build) => {
      for (const libc of ["glibc", "musl"] as const) {
        const program = [build.hazard[libc], "dup"];
        const plain = await runPlain(program);
        const preload = `LD_PRELOAD=${build.agent}`;
        await t.step(`${libc}: no variable`, async () => {
          assert.deepEqual(await runPlain(["env", preload, ...program]), plain);
        });
        await t.step(`${libc}: no socket`, async () => {
          const nowhere = [...underAgent(build, `${build.directory}/nobody.sock`), ...program];
          assert.deepEqual(await runPlain(nowhere), plain);
        });
        await t.step(`${libc}: HELLO refused`, async () => {
          const { broker, ...watched } = await runWatched(build, program, {
            broker: ["refuse_hello"],
          });
          assert.deepEqual(watched, plain);
          assert.deepEqual(broker.opens(), []);
        });
        await t.step(`${libc}: nonsense for an answer`, async () => {
          const { broker, ...watched } = await runWatched(build, program, { broker: ["garbage"] });
          assert.deepEqual(watched, plain);
          assert.deepEqual(broker.opens(), []);
        });
        await t.step(`${libc}: refused softly`, async () => {
          const { broker, ...watched } = await runWatched(build, program, {
            broker: ["verdict=1"],
          });
          assert.deepEqual(watched, plain);
          assert.deepEqual(broker.opens(), [PORT_3001]);
        });
        await t.step(`${libc}: silent`, async () => {
          const { broker, ...watched } = await runWatched(build, program, {
            broker: ["mute"],
            variables: ["DIAPER_TIMEOUT_MS=100"],
          });
          assert.deepEqual(watched, plain);
          assert.deepEqual(broker.opens(), [PORT_3001]);
        });
      }
    }),
});

Deno.test({
  name: "a wrong variable is named on stderr, and the program runs (needs root)",
  ignore,
  fn: () =>
    withBuild(async (build) => {
      const wrong = [
        ["DIAPER_CONTROL=tcp/21;udp/69", "tcp/PORT"],
        ["DIAPER_CONTROL=tcp/0", "tcp/PORT"],
        ["DIAPER_CONTROL=tcp/65536", "tcp/PORT"],
        ["DIAPER_TIMEOUT_MS=soon", "milliseconds"],
        ["DIAPER_LIMIT=sometimes", "auto, always or never"],
        ["DIAPER_LOG=stdout", "broker, stderr or none"],
        ["DIAPER_FD=-1", "descriptor"],
        [`DIAPER_DELEGATE=${"d".repeat(64)}`, "63 bytes"],
        ["DIAPER_SOCKET=relative", "absolute path"],
        [`DIAPER_SOCKET=/${"s".repeat(107)}`, "107 bytes"],
      ] as const;
      for (const [variable, expected] of wrong) {
        const { code, stdout, stderr, broker } = await runWatched(
          build,
          [build.hazard.glibc, "say", "hello"],
          { variables: [variable] },
        );
        assert.equal(code, 0);
        assert.equal(stdout, "says: hello\n");
        // The shell that sets up the namespace has no agent yet: the program alone says it.
        assert.equal(stderr.split("\n").length, 2, stderr);
        assert.ok(stderr.includes(variable.slice(variable.indexOf("=") + 1)), stderr);
        assert.ok(stderr.includes(expected), stderr);
        assert.deepEqual(broker.events.map(({ event }) => event), ["ready"]);
      }
    }),
});

Deno.test({
  name: "bind fails with EACCES where the administrator asks for it (needs root)",
  ignore,
  fn: () =>
    withBuild(async (build) => {
      for (const libc of ["glibc", "musl"] as const) {
        const { stdout } = await runWatched(build, [build.hazard[libc], "refused"], {
          broker: ["verdict=1", "flags=1"],
        });
        // musl and glibc have different words for EACCES.
        const lines = stdout.replaceAll(/-1 .*/g, "-1").trimEnd().split("\n");
        assert.deepEqual(lines, [
          "bind: -1",
          "port known: 0",
          "bind again: -1",
          "SO_REUSEADDR: 1",
          "TCP_NODELAY: 1",
          "O_NONBLOCK: 1",
          "FD_CLOEXEC: 1",
          "listen: -1",
          "other bind: -1",
          "loopback: 8",
        ]);
        assert.match(stdout, /^bind: -1 Permission denied$/m);
        assert.match(stdout, /^bind again: -1 Permission denied$/m);
      }
    }),
});

Deno.test({
  name: "the delegate is named in HELLO, and DIAPER_CONTROL names the control port (needs root)",
  ignore,
  fn: () =>
    withBuild(async (build) => {
      const program = [build.hazard.glibc, "early"];
      const named = await runWatched(build, program, {
        variables: ["DIAPER_DELEGATE=ftpserver", "DIAPER_CONTROL=tcp/2121"],
      });
      assert.equal(
        named.broker.events.find(({ event }) => event === "hello")?.delegate,
        "ftpserver",
      );
      assert.equal(named.broker.opens().length, 2);
      // With another port named, nobody ever comes to the control port: no peer, no pinhole.
      const other = await runWatched(build, program, { variables: ["DIAPER_CONTROL=udp/2121"] });
      assert.deepEqual(other.broker.opens(), []);
    }),
});

/** A program that makes a step for each line that it gets. */
async function withSteps(
  build: Build,
  broker: Broker,
  use: (step: (kind: "bind" | "client") => Promise<string>) => Promise<void>,
): Promise<void> {
  const program = [...underAgent(build, broker.path), build.hazard.glibc, "steps"];
  const { command, args } = inNamespace(program);
  const child = new Deno.Command(command, { args, stdin: "piped", stdout: "piped" }).spawn();
  const writer = child.stdin.getWriter();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const line = async () => (await reader.read()).value ?? "";
  try {
    assert.equal(await line(), "ready\n");
    await use(async (kind) => {
      await writer.write(new TextEncoder().encode(kind === "client" ? "c\n" : "b\n"));
      return await line();
    });
  } finally {
    await writer.close();
    await reader.cancel();
    await child.status;
  }
}

Deno.test({
  name: "a server finds a broker that was restarted, and runs while there is none (needs root)",
  ignore,
  fn: () =>
    withBuild(async (build) => {
      const first = await Broker.start(build);
      let second: Broker | undefined;
      try {
        await withSteps(build, first, async (step) => {
          assert.equal(await step("bind"), "bind: 0\n");
          await first.stop();
          assert.equal(await step("bind"), "bind: 0\n");
          assert.equal(await step("client"), "accept: 1\n");
          second = await Broker.start(build, [], first.path);
          assert.equal(await step("client"), "accept: 1\n");
          await second.until(({ event }) => event === "hello");
          assert.equal(await step("bind"), "bind: 0\n");
        });
        assert.equal(first.opens().length, 1);
        assert.deepEqual(second?.opens(), [
          "tcp 10.77.0.1 3164 for 10.77.0.3 by 10.77.0.1 2121",
        ]);
      } finally {
        await second?.stop();
      }
    }),
});
