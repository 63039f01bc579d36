/** Programs that are hard on an interposition agent print the same with it and without it. */
import assert from "node:assert/strict";
import {
  Broker,
  type Build,
  execute,
  inNamespace,
  type Libc,
  runPlain,
  runWatched,
  withBuild,
} from "./support.ts";

const A = "10.77.0.1";

/** A pinhole on a TCP port of the host for a client that came to the usual control port. */
function tcp(port: number, source = "10.77.0.2"): string {
  return `tcp ${A} ${port} for ${source} by ${A} 2121`;
}

function udp(port: number, source: string, local = A): string {
  return `udp ${local} ${port} for ${source} by ${A} 6969`;
}

interface Hazard {
  /** Name and arguments, as in tests/agent/programs/main.c. */
  readonly run: string;
  /** The pinholes that are asked for, in order; `*` stands for a port that the kernel chose. */
  readonly opens: string[];
  /** The program may do it in another order. */
  readonly anyOrder?: boolean;
  /** How many programs start, and so connect, each once; by default one. */
  readonly starts?: number;
  /** Calls that one of the libraries does not have. */
  readonly only?: Libc;
}

const family = [3010, 3011, 3012, 3013, 3014].map((port) => tcp(port));

/** Hosts of multiplexed.c. */
function host(i: number): string {
  return `10.77.0.${10 + i}`;
}

const everyone = Array.from(
  { length: 40 },
  (_, i) => tcp(3200 + i, host(Math.floor(i / 2))),
);

const HAZARDS: Hazard[] = [
  { run: "dup", opens: [tcp(3001)] },
  { run: "dup_pending", opens: [tcp(3002)] },
  { run: "close_all loop", opens: [tcp(3003)] },
  { run: "close_all raw", opens: [tcp(3003)] },
  { run: "close_all close_range", opens: [tcp(3003)] },
  { run: "close_all listed", opens: [tcp(3003)] },
  { run: "close_all dup2", opens: [tcp(3003)] },
  { run: "close_all closefrom", opens: [tcp(3003)], only: "glibc" },
  { run: "close_all libc_close_range", opens: [tcp(3003)], only: "glibc" },
  { run: "fclose", opens: [tcp(3004), tcp(3005)] },
  { run: "small_limit", opens: [tcp(3006)] },
  { run: "process fork", opens: family },
  { run: "process clone", opens: family },
  { run: "process clone_newipc", opens: family },
  { run: "process _Fork", opens: family, only: "glibc" },
  { run: "two_sessions", opens: [tcp(3020), tcp(3021, "10.77.0.3")] },
  { run: "daemon", opens: [tcp(3015)] },
  { run: "vfork", opens: [tcp(3016, "10.77.0.3")] },
  { run: "vfork_udp", opens: [udp(3032, "10.77.0.2")] },
  { run: "early_reuse", opens: [] },
  { run: "spawn", opens: [tcp(3017)], starts: 2 },
  { run: "exec", opens: [tcp(3018)], starts: 2 },
  { run: "activated", opens: [tcp(3019)], starts: 2 },
  { run: "sandbox", opens: [tcp(3030), tcp(3031)] },
  { run: "accept", opens: [tcp(3040), tcp(3041, "10.77.0.3"), tcp(3042, "10.77.0.4")] },
  { run: "local", opens: [] },
  {
    run: "no_port",
    opens: [A, "0.0.0.0", A].map((local) => `tcp ${local} * for 10.77.0.2 by ${A} 2121`),
  },
  { run: "early", opens: [tcp(3060), tcp(3061)] },
  {
    run: "dual_stack",
    opens: [
      `tcp :: 3070 for 10.77.0.2 by ${A} 2121`,
      "tcp fd77::1 3071 for fd77::2 by fd77::1 2121",
    ],
  },
  { run: "two_families", opens: ["tcp fd77::1 3072 for fd77::2 by fd77::1 2121"] },
  ...["bind", "own_port", "nonblocking"].map((how) => ({
    run: `client ${how}`,
    opens: [`tcp ${A} 3081 for 10.77.0.5 by ${A} *`],
  })),
  { run: "client chosen_port", opens: [`tcp ${A} 3081 for 10.77.0.5 by ${A} 3080`] },
  { run: "client early", opens: [`tcp ${A} * for 10.77.0.5 by ${A} *`] },
  { run: "raw", opens: [tcp(3095)] },
  {
    run: "udp_server",
    opens: [
      udp(3100, "10.77.0.2"),
      udp(3101, "10.77.0.3", "0.0.0.0"),
      udp(3102, "10.77.0.4"),
      udp(3103, "10.77.0.5"),
      `tcp ${A} 3104 for 10.77.0.2 by ${A} 6969`,
    ],
  },
  { run: "udp_same_number", opens: [1, 2].map(() => tcp(2121).replace("tcp", "udp")) },
  { run: "udp_client", opens: [`udp ${A} * for 10.77.0.5 by ${A} *`] },
  { run: "storm 50", opens: Array.from({ length: 50 }, (_, i) => tcp(4000 + i)) },
  { run: "state", opens: [tcp(3110)] },
  { run: "cancel", opens: [] },
  ...["poll", "ppoll", "raw_poll", "select", "pselect", "epoll", "epoll_edge", "epoll_oneshot"].map(
    (way) => ({ run: `multiplexed ${way}`, opens: everyone, anyOrder: true }),
  ),
  ...["epoll_pwait", "raw_epoll"].map((way) => ({
    run: `multiplexed ${way}`,
    opens: everyone,
    anyOrder: true,
  })),
  { run: "multiplexed epoll_pwait2", opens: everyone, anyOrder: true, only: "glibc" },
  ...["poll", "select", "epoll"].map((way) => ({ run: `starving ${way}`, opens: [] })),
  {
    run: "disputed",
    opens: [tcp(3300, host(3)) + " not 10.77.0.17", tcp(3301, host(3)), tcp(3302, host(9))],
  },
  {
    run: "pool",
    opens: [
      tcp(3310),
      `tcp ${A} 3311 for nobody`,
      tcp(3312, "10.77.0.3"),
      tcp(3313),
    ],
  },
  ...["thread_for_each", "thread_for_each c11"].map((run) => ({
    run,
    opens: [0, 1, 2, 3].map((i) => tcp(3320 + i, host(i))),
    anyOrder: true,
  })),
  { run: "rights", opens: [tcp(3330), tcp(3331, "10.77.0.3"), tcp(3332)] },
  { run: "waits", opens: [tcp(3340)] },
  { run: "interrupted", opens: [] },
  {
    run: "mixed",
    opens: [
      `tcp ${A} 3350 for 10.77.0.5 by ${A} *`,
      `tcp ${A} 3351 for 10.77.0.5 by ${A} 3350`,
    ],
  },
  { run: "server_calls", opens: [tcp(3352)] },
  { run: "two_connections", opens: [tcp(3353), tcp(3354, "10.77.0.3")], starts: 2 },
  {
    run: "udp_autobind",
    opens: [
      `udp 0.0.0.0 * for 10.77.0.5 by ${A} *`,
      `udp ${A} * for 10.77.0.5 by ${A} *`,
      "udp 10.77.0.3 * for 10.77.0.5 by 10.77.0.3 *",
    ],
  },
  {
    run: "udp_two_servers",
    opens: [4, 5].map((server) => `udp 0.0.0.0 * for 10.77.0.${server} by ${A} *`),
  },
  { run: "udp_many", opens: [udp(3370, "10.77.0.2"), udp(3371, "10.77.0.3")] },
  {
    run: "reserved",
    opens: [A, "0.0.0.0"].map((local) => `tcp ${local} * for 10.77.0.2 by ${A} 2121`),
    only: "glibc",
  },
  { run: "readers", opens: Array.from({ length: 10 }, (_, i) => tcp(3380 + i, host(i))) },
];

/** Ports that the kernel (32768 and up by default) or libc chose (512 to 1023) as `*`. */
function withoutChosenPorts(opens: string[]): string[] {
  return opens.map((open) =>
    open.replaceAll(
      / (\d+)\b(?!\.)/g,
      (text, port) =>
        Number(port) >= 32768 || Number(port) >= 512 && Number(port) < 1024 ? " *" : text,
    )
  );
}

async function compare(build: Build, libc: Libc, hazard: Hazard): Promise<void> {
  const program = [build.hazard[libc], ...hazard.run.split(" ")];
  const { broker, ...watched } = await runWatched(build, program);
  assert.deepEqual(watched, await runPlain(program));
  assert.equal(watched.code, 0, watched.stdout + watched.stderr);
  const opens = withoutChosenPorts(broker.opens());
  assert.deepEqual(hazard.anyOrder ? opens.sort() : opens, hazard.opens);
  // A channel that was lost to the program would have been connected again.
  const starts = broker.events.filter(({ by }) => by === "connect").length;
  assert.equal(starts, hazard.starts ?? 1);
  for (const event of broker.events) {
    assert.notEqual(event.event, "error", JSON.stringify(event));
    // Each process asks over a channel that the kernel names it by.
    if (event.event === "open") assert.equal(event.pid, event.channel_pid);
  }
}

Deno.test({
  name: "programs see the same with and without the agent (needs root)",
  ignore: Deno.uid() !== 0,
  fn: (t) =>
    withBuild(async (build) => {
      for (const libc of ["glibc", "musl"] as const) {
        for (const hazard of HAZARDS) {
          if (hazard.only !== undefined && hazard.only !== libc) continue;
          await t.step(`${libc}: ${hazard.run}`, () => compare(build, libc, hazard));
        }
      }
    }),
});

Deno.test({
  name: "a channel that a launcher hands over is used and survives exec (needs root)",
  ignore: Deno.uid() !== 0,
  fn: () =>
    withBuild(async (build) => {
      for (const libc of ["glibc", "musl"] as const) {
        for (const name of ["close_all", "exec"]) {
          const broker = await Broker.start(build);
          try {
            const hazard = build.hazard[libc];
            const handed = [hazard, "handed", build.agent, broker.path, name];
            const { command, args } = inNamespace(handed);
            const { broker: _, ...plain } = await runWatched(build, [hazard, name]);
            assert.deepEqual(await execute(command, args), plain);
          } finally {
            await broker.stop();
          }
          assert.deepEqual(broker.opens(), [tcp(name === "exec" ? 3018 : 3003)]);
          // One connection, by the launcher; who asks made a channel of its own.
          const channels = broker.events.filter(({ event }) => event === "channel");
          assert.deepEqual(channels.map(({ by }) => by), ["connect", "passed"]);
          const open = broker.events.find(({ event }) => event === "open");
          assert.equal(open?.channel, channels.at(-1)?.channel);
          assert.equal(open?.pid, open?.channel_pid);
        }
      }
    }),
});

Deno.test({
  name: "threads ask at the same time, each for its own peer (needs root)",
  ignore: Deno.uid() !== 0,
  fn: () =>
    withBuild(async (build) => {
      for (const libc of ["glibc", "musl"] as const) {
        const many = await runWatched(build, [build.hazard[libc], "threads"]);
        assert.equal(many.stdout, "failed: 0\n");
        const all = Array.from({ length: 2000 }, (_, i) => tcp(5000 + i));
        assert.deepEqual(many.broker.opens().sort(), all);

        const peers = await runWatched(build, [build.hazard[libc], "thread_peers"]);
        assert.equal(peers.stdout, "failed: 0\n");
        const each = [2, 3, 4, 5].map((host) => tcp(3150 + host, `10.77.0.${host}`));
        assert.deepEqual(peers.broker.opens().sort(), each);
      }
    }),
});

Deno.test({
  name: "handlers run while bind waits, and may bind, or leave it (needs root)",
  ignore: Deno.uid() !== 0,
  fn: () =>
    withBuild(async (build) => {
      const settings = { broker: ["delay_ms=20"] };
      for (const libc of ["glibc", "musl"] as const) {
        const storm = await runWatched(build, [build.hazard[libc], "storm", "20", "x"], settings);
        assert.equal(storm.stdout, "failed: 0\nmask kept: 1\nhandler ran in a bind: 1\n");
        const nested = await runWatched(build, [build.hazard[libc], "nested"], settings);
        assert.equal(nested.stdout, "outer: 0\n");
        assert.deepEqual(nested.broker.opens(), [tcp(3140), tcp(3141)]);
        const left = await runWatched(build, [build.hazard[libc], "longjmp"], settings);
        const plain = await runPlain([build.hazard[libc], "longjmp"]);
        assert.equal(left.stdout, plain.stdout);
        assert.equal(left.broker.opens().at(-1), tcp(3130));
      }
    }),
});

Deno.test({
  name: "each way to tell the peer is enough, and a test without either fails (needs root)",
  ignore: Deno.uid() !== 0,
  fn: () =>
    withBuild(async (build) => {
      for (const libc of ["glibc", "musl"] as const) {
        const rounds = [build.hazard[libc], "multiplexed", "poll"];
        const reads = [...rounds, "seen"];
        const never = { variables: ["DIAPER_LIMIT=never"] };
        const byReads = await runWatched(build, reads, never);
        assert.deepEqual(byReads.broker.opens().sort(), everyone);
        const byNothing = await runWatched(build, rounds, never);
        assert.equal(byNothing.broker.opens().length, everyone.length);
        assert.notDeepEqual(byNothing.broker.opens().sort(), everyone);
        // One host, and rounds all the same.
        const always = { variables: ["DIAPER_LIMIT=always"] };
        const single = await runWatched(build, [build.hazard[libc], "interrupted"], always);
        assert.equal(single.code, 0);
      }
    }),
});

Deno.test({
  name: "what is not sure is told where DIAPER_LOG says (needs root)",
  ignore: Deno.uid() !== 0,
  fn: () =>
    withBuild(async (build) => {
      const program = [build.hazard.glibc, "disputed"];
      for (const [log, said, marked] of [["stderr", 1, 0], ["none", 0, 0], ["broker", 0, 1]]) {
        const { stderr, broker } = await runWatched(build, program, {
          variables: [`DIAPER_LOG=${log}`],
        });
        assert.equal(stderr.split("different hosts").length - 1, said, stderr);
        assert.equal(broker.opens().filter((open) => open.includes(" not ")).length, marked);
      }
    }),
});
