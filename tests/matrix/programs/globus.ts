/**
 * GridFTP: a process a session which executes itself again, several data streams by one listener.
 *
 * @module
 */
import type { Command, MatrixCase } from "../case.ts";
import type { Field } from "../field.ts";
import { command, fetched } from "./common.ts";

const PORT = 2811;
const FILES = ["/usr/sbin/globus-gridftp-server", "/usr/bin/globus-url-copy"];

interface Mode {
  readonly name: string;
  readonly mode: string;
  readonly inside: MatrixCase["inside"];
  readonly direction: "up" | "down";
  readonly model?: string;
  readonly server?: readonly string[];
  readonly streams?: number;
  readonly pinholes: MatrixCase["pinholes"];
}

/** Both ends ask for names of addresses, and the server does not start without an answer. */
function named(field: Field, address: string, command: Command): Command {
  return { ...command, hosts: field.hosts(), env: { GLOBUS_HOSTNAME: address } };
}

function server(address: string, root: string, more: readonly string[] = []): Command {
  return command("globus-gridftp-server", ...[
    ...["-p", String(PORT), "-control-interface", address, "-data-interface", address],
    ...["-aa", "-anonymous-user", "ftp", "-home-dir", root, "-port-range", "44000,44999"],
    ...more,
  ]);
}

function globus(mode: Mode): MatrixCase {
  const { direction, inside } = mode;
  const program = inside === "server" ? "globus-gridftp-server" : "globus-url-copy";
  return {
    ...{ name: mode.name, mode: mode.mode, inside, pinholes: mode.pinholes, program },
    package: inside === "server" ? "globus-gridftp-server-progs" : "globus-gass-copy-progs",
    model: mode.model ?? (inside === "server" ? "process a session, executed anew" : "a client"),
    open: inside === "server" ? [`tcp/${PORT}`] : [],
    needed: true,
    files: FILES,
    prepare: (field) => {
      const root = field.directory("root", 0o777);
      // Whatever the umask of this process is: the server gives up its rights.
      Deno.chmodSync(root, 0o777);
      const data = field.random("root/data", field.bytes);
      const server_ = (i: number) => inside === "server" ? field.address : field.source(i);
      const arrived = (i: number) =>
        direction === "up" ? field.path(`root/got-${i}`) : field.path(`got-${i}`);
      return {
        listen: (i) => named(field, server_(i), server(server_(i), root, mode.server)),
        ready: () => ({ protocol: "tcp", port: PORT }),
        session: (i) => {
          const remote = `ftp://${server_(i)}:${PORT}${direction === "up" ? arrived(i) : data}`;
          const local = `file://${direction === "up" ? data : arrived(i)}`;
          const copy = command(
            "globus-url-copy",
            ...(mode.streams === undefined ? [] : ["-p", String(mode.streams)]),
            ...(direction === "up" ? [local, remote] : [remote, local]),
          );
          return named(field, inside === "client" ? field.address : field.source(i), copy);
        },
        verify: fetched(arrived, data),
      };
    },
  };
}

/** The cases. */
export const GLOBUS: readonly MatrixCase[] = [
  globus({ name: "globus-up", mode: "up", inside: "server", direction: "up", pinholes: 1 }),
  globus({
    name: "globus-up-p4",
    mode: "up, -p 4",
    inside: "server",
    direction: "up",
    streams: 4,
    pinholes: 1,
  }),
  globus({ name: "globus-down", mode: "down", inside: "server", direction: "down", pinholes: 1 }),
  globus({
    name: "globus-threads",
    mode: "up, -p 4, -threads 2",
    inside: "server",
    direction: "up",
    model: "threads",
    server: ["-threads", "2"],
    streams: 4,
    pinholes: 1,
  }),
  globus({
    name: "globus-client",
    mode: "down, -p 4",
    inside: "client",
    direction: "down",
    streams: 4,
    pinholes: [1, 4],
  }),
];
