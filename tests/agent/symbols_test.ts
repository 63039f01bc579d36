/** The shared object itself: what it asks of a system, and what it puts in front of programs. */
import assert from "node:assert/strict";
import { execute, makeAgent, withBuild } from "./support.ts";

Deno.test("the agent needs nothing above GLIBC_2.2.5, and exports its hooks alone", () =>
  withBuild(async (build) => {
    const { stdout } = await execute("readelf", ["--dyn-syms", "-W", build.agent]);
    const needed: string[] = [];
    const exported: string[] = [];
    for (const line of stdout.split("\n")) {
      const [number, , , , , , section, name] = line.trim().split(/\s+/);
      if (!/^[1-9]\d*:$/.test(number ?? "") || name === undefined) continue;
      (section === "UND" ? needed : exported).push(name);
    }
    assert.deepEqual(needed.map((name) => name.split("@")[0]).sort(), [
      "__environ",
      "__errno_location",
      "dlsym",
      "environ",
    ]);
    for (const name of needed) assert.match(name, /@GLIBC_2\.2\.5$/);
    const map = await Deno.readTextFile(
      new URL("../../agent/preload/exports.map", import.meta.url),
    );
    const listed = [...map.matchAll(/^ {4}(.*)$/gm)].flatMap(([, names]) =>
      (names ?? "").split(";").map((name) => name.trim()).filter((name) => name !== "")
    );
    assert.deepEqual(exported.sort(), listed.sort());
  }));

Deno.test("the agent is hardened, has initial-exec TLS, and no writable code", () =>
  withBuild(async (build) => {
    const { stdout } = await execute("readelf", ["-d", "-l", "-W", build.agent]);
    assert.match(stdout, /FLAGS\).*BIND_NOW.*STATIC_TLS/);
    assert.match(stdout, /GNU_RELRO/);
    assert.match(stdout, /GNU_STACK.* RW /);
    assert.doesNotMatch(stdout, /TEXTREL/);
    assert.doesNotMatch(stdout, / RWE /);
    assert.deepEqual(
      [...stdout.matchAll(/NEEDED.*\[(.*)\]/g)].map(([, library]) => library),
      ["libc.so.6", "libdl.so.2"],
    );
  }));

Deno.test("two builds of the agent are the same to the byte", () =>
  withBuild(async ({ agent, directory }) => {
    await Deno.mkdir(`${directory}/again`);
    await makeAgent(`${directory}/again`);
    const again = await Deno.readFile(`${directory}/again/libdiaper-agent.so`);
    assert.deepEqual(await Deno.readFile(agent), again);
  }));
