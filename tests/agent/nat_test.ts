/** Programs behind address translation are told outside addresses, where the outside is concerned. */
import assert from "node:assert/strict";
import { execute, runPlain, runWatched, withBuild } from "./support.ts";

const PROGRAMS = new URL("programs", import.meta.url).pathname;
const OUTSIDE = "203.0.113.1";

const told = (session: string, own: string) => [
  `session of ${session}`,
  "listener: 0 10.77.0.1 2121 length 16 next ee",
  `control connection: 0 ${own} 2121 length 16 next ee`,
  `with room for 16: 0 ${own} 2121 length 16 next ee`,
  // What has no room for the address tells the port.
  "with room for 6: 0 ? 2121 length 16 next ee",
  "with room for 0: 0 ? -1 length 16 next ee",
  "no socket: -1 ? -1 length 16 next ee",
];

Deno.test({
  name:
    "a program behind address translation is told the outside address on control connections, " +
    "and can bind to it (needs root)",
  ignore: Deno.uid() !== 0,
  fn: () =>
    withBuild(async (build) => {
      for (const compiler of ["gcc", "musl-gcc"]) {
        const program = `${build.directory}/names-${compiler}`;
        const sources = [`${PROGRAMS}/names.c`, `${PROGRAMS}/support.c`];
        const made = await execute(compiler, ["-Wall", "-Werror", "-o", program, ...sources]);
        assert.equal(made.code, 0, made.stderr);
        const plain = await runPlain([program, OUTSIDE]);
        assert.match(
          plain.stdout,
          /bind outside: -1 .*\n[^]*stranger's: -1 .*\nbind to nowhere: -1 .*\n$/,
        );
        // Another host behind the same address comes first.
        const pairs = `10.88.0.1=${OUTSIDE},10.77.0.1=${OUTSIDE}`;
        const variables = [`DIAPER_NAT=${pairs}`, "DIAPER_NAT_LOCAL=10.77.0.3/32"];
        const watched = await runWatched(build, [program, OUTSIDE], { variables });
        assert.equal(watched.code, 0, watched.stderr);
        const mapped = `::ffff:${OUTSIDE}`;
        assert.deepEqual(watched.stdout.trimEnd().split("\n"), [
          ...told("10.77.0.3", "10.77.0.1"),
          ...told("10.77.0.2", OUTSIDE),
          "bind outside: 0",
          `  its name: 0 ${OUTSIDE} 3001 length 16 next ee`,
          `  a duplicate's: 0 ${OUTSIDE} 3001 length 16 next ee`,
          "  reached at the inside address: 0",
          "bind outside, mapped: 0",
          `  its name: 0 ${mapped} 3002 length 28 next ee`,
          `  a duplicate's: 0 ${mapped} 3002 length 28 next ee`,
          "  reached at the inside address: 0",
          "bind inside: 0",
          "  its name: 0 10.77.0.1 3003 length 16 next ee",
          "  a duplicate's: 0 10.77.0.1 3003 length 16 next ee",
          "  reached at the inside address: 0",
          // As libc names these errors.
          ...plain.stdout.trimEnd().split("\n").slice(-2),
        ]);
        // Policy and pinholes know inside addresses alone.
        const asked = watched.broker.events.filter(({ event }) => event === "open");
        assert.deepEqual(
          asked.map(({ local, port, control }) => [local?.replace("::ffff:", ""), port, control]),
          [3001, 3002, 3003].map((port) => ["10.77.0.1", port, "10.77.0.1"]),
        );
        const without = await runWatched(build, [program, OUTSIDE]);
        assert.equal(without.stdout, plain.stdout, "without the variable nothing is changed");
      }
    }),
});

Deno.test({
  name: "a wrong list of addresses is told, and changes nothing (needs root)",
  ignore: Deno.uid() !== 0,
  fn: () =>
    withBuild(async (build) => {
      for (
        const wrong of [
          "10.77.0.1",
          "10.77.0.1=",
          "10.77.0.1=203.0.113.256",
          "a=b",
          "1.2.3.4=5.6.7.8,",
        ]
      ) {
        const outcome = await runWatched(build, ["true"], { variables: [`DIAPER_NAT=${wrong}`] });
        assert.equal(outcome.code, 0);
        assert.match(outcome.stderr, /DIAPER_NAT: expected/, wrong);
      }
    }),
});
