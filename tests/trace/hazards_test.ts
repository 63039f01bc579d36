/** The agent's hazard programs, linked statically: the same with a supervisor and without. */
import assert from "node:assert/strict";
import { Broker, execute, inNamespace, runPlain, withBuild } from "../agent/support.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const SOURCES = [
  ...["main", "support", "descriptors", "processes", "sockets", "datagrams", "waiting"],
  ...["multiplexed", "mixed"],
].map((name) => `${ROOT}tests/agent/programs/${name}.c`);

/**
 * Names and arguments, as in tests/agent/programs/main.c. Not `storm`: a handler without SA_RESTART can show
 * the program an EINTR that it would not see otherwise (trace_test.ts, decision 7).
 */
const RUNS = [
  ...["dup", "close_all raw", "close_all close_range", "fclose", "small_limit", "process fork"],
  ...[
    "process clone",
    "process _Fork",
    "two_sessions",
    "daemon",
    "vfork",
    "spawn",
    "exec",
    "sandbox",
  ],
  ...["accept", "no_port", "early", "dual_stack", "raw", "udp_same_number", "state", "cancel"],
  ...["rights", "interrupted", "server_calls", "reserved", "thread_for_each"],
];

Deno.test({
  name: "trace: hazard programs print the same with a supervisor and without (needs root)",
  ignore: Deno.uid() !== 0,
  fn: (t) =>
    withBuild(async (build) => {
      const [program, trace] = [`${build.directory}/static`, `${build.directory}/diaper-trace`];
      const flags = ["-static", "-O1", "-pthread", "-std=gnu11"];
      const made = await Promise.all([
        execute("gcc", [...flags, "-o", program, ...SOURCES]),
        execute("make", ["-s", "-C", `${ROOT}agent`, trace, `OUT=${build.directory}`]),
      ]);
      for (const { code, stderr } of made) assert.equal(code, 0, stderr);
      for (const run of RUNS) {
        await t.step(run, async () => {
          const words = [program, ...run.split(" ")];
          const broker = await Broker.start(build);
          try {
            const supervised = [trace, "--socket", broker.path, "--", ...words];
            const { command, args } = inNamespace(supervised);
            const [plain, traced] = await Promise.all([runPlain(words), execute(command, args)]);
            assert.deepEqual(traced, plain);
            assert.equal(plain.code, 0, plain.stdout + plain.stderr);
          } finally {
            await broker.stop();
          }
          assert.equal(broker.events.filter(({ by }) => by === "connect").length, 1);
          assert.deepEqual(broker.events.filter(({ event }) => event === "error"), []);
        });
      }
    }),
});
