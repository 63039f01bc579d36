/**
 * Two programs of this project's tests: a server built with musl, and one on Debian's libudt whose control
 * and data both go by UDP, as in the paper.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { MatrixCase } from "../case.ts";
import type { Field } from "../field.ts";
import { command, fetched } from "./common.ts";

const source = (name: string) => fileURLToPath(new URL(`../../programs/${name}`, import.meta.url));

/** Compiles a program once for the lab. */
async function built(
  field: Field,
  compiler: string,
  name: string,
  ...more: string[]
): Promise<string> {
  const path = field.lab.path(`built-${name}`);
  if (!existsSync(path)) {
    await field.inside.must(compiler, ["-O2", "-o", path, source(name), ...more]);
  }
  return path;
}

/** Asks for the data port by the first connection and reads it all from a second. */
const FETCH = 'exec 3<>"/dev/tcp/$0/$1"; read -r port <&3; cat <"/dev/tcp/$0/$port" >"$2"';

const MUSL: MatrixCase = {
  name: "musl",
  program: "a server built with musl",
  mode: "passive",
  package: "musl",
  model: "process a session",
  inside: "server",
  open: ["tcp/7000"],
  pinholes: 1,
  needed: true,
  files: ["/usr/bin/musl-gcc"],
  prepare: async (field) => {
    const data = field.random("data", field.bytes);
    const program = await built(field, "musl-gcc", "port_server.c");
    const local = (host: number) => field.path(`got-${host}`);
    return {
      listen: () => command(program, field.address, "7000", data),
      ready: () => ({ protocol: "tcp", port: 7000 }),
      session: (i) => command("bash", "-euc", FETCH, field.address, "7000", local(i)),
      verify: fetched(local, data),
    };
  },
};

const UDT: MatrixCase = {
  name: "udt",
  program: "a server on libudt",
  mode: "UDP control, UDP data",
  package: "libudt-dev",
  model: "one process, threads",
  inside: "server",
  open: ["udp/9000"],
  pinholes: 1,
  needed: true,
  files: ["/usr/include/udt/udt.h", "/usr/bin/g++"],
  prepare: async (field) => {
    const data = field.random("data", field.bytes / 10);
    const program = await built(field, "g++", "udt_transfer.cpp", "-ludt", "-lpthread");
    const local = (host: number) => field.path(`got-${host}`);
    return {
      listen: () => command(program, "serve", field.address, "9000", data),
      ready: () => ({ protocol: "udp", port: 9000 }),
      session: (i) => command(program, "fetch", field.address, "9000", local(i)),
      verify: fetched(local, data),
    };
  },
};

/** The cases. */
export const OWN: readonly MatrixCase[] = [MUSL, UDT];
