/**
 * TFTP: the server answers each request from a port of its own, so that the client needs a pinhole and
 * the server, which begins the flow, does not.
 *
 * @module
 */
import type { Command, MatrixCase } from "../case.ts";
import type { Field } from "../field.ts";
import { command, fetched, unpacked } from "./common.ts";
import { inUrl } from "./ftp.ts";

const ATFTPD = unpacked("atftpd", "usr/sbin/atftpd");
const PORT = 69;
/** A block is 512 bytes, and each waits for the other end: a tenth of the others' bytes. */
const SHARE = 10;

function family(address: string): string {
  return address.includes(":") ? "-6" : "-4";
}

/** The two implementations, by their Debian names. */
const SERVERS: Readonly<Record<string, (address: string, root: string) => Command>> = {
  "tftpd-hpa": (address, root) =>
    command("in.tftpd", ...[
      ...["-L", family(address), "-a", `${inUrl(address)}:${PORT}`, "-u", "nobody", "-s", root],
    ]),
  atftpd: (address, root) =>
    command(ATFTPD, ...[
      ...["--daemon", "--no-fork", "--bind-address", address, "--port", String(PORT)],
      ...["--user", "nobody.nogroup", "--logfile", "-", root],
    ]),
};

const CLIENTS: Readonly<Record<string, (server: string, local: string) => Command>> = {
  "tftp-hpa": (server, local) =>
    command(
      "tftp",
      family(server),
      "-m",
      "octet",
      server,
      String(PORT),
      "-c",
      "get",
      "data",
      local,
    ),
  atftp: (server, local) =>
    command("atftp", "--get", "--remote-file", "data", "--local-file", local, server, String(PORT)),
};

function site(field: Field): { root: string; data: string } {
  return { root: field.directory("root"), data: field.random("root/data", field.bytes / SHARE) };
}

function server(name: string, model: string): MatrixCase {
  return {
    ...{ name: `${name}-server`, program: name, package: name, model, mode: "server" },
    inside: "server",
    open: [`udp/${PORT}`],
    // in.tftpd also binds a port for an instant, to see whether an address is its own.
    pinholes: name === "atftpd" ? 1 : [1, 2],
    needed: false,
    files: ["/usr/bin/tftp", name === "atftpd" ? ATFTPD : "/usr/sbin/in.tftpd"],
    prepare: (field) => {
      const { root, data } = site(field);
      const local = (host: number) => field.path(`got-${host}`);
      return {
        listen: () => (SERVERS[name] as typeof SERVERS[string])(field.address, root),
        ready: () => ({ protocol: "udp", port: PORT }),
        session: (i) => (CLIENTS["tftp-hpa"] as typeof CLIENTS[string])(field.address, local(i)),
        verify: fetched(local, data),
      };
    },
  };
}

function client(name: string): MatrixCase {
  return {
    ...{ name: `${name}-client`, program: name, package: name, model: "a client", mode: "client" },
    inside: "client",
    open: [],
    pinholes: 1,
    needed: true,
    files: [`/usr/bin/${name === "atftp" ? name : "tftp"}`, "/usr/sbin/in.tftpd"],
    prepare: (field) => {
      const { root, data } = site(field);
      const local = (host: number) => field.path(`got-${host}`);
      return {
        listen: (i) => (SERVERS["tftpd-hpa"] as typeof SERVERS[string])(field.source(i), root),
        ready: () => ({ protocol: "udp", port: PORT }),
        session: (i) => (CLIENTS[name] as typeof CLIENTS[string])(field.source(i), local(i)),
        verify: fetched(local, data),
      };
    },
  };
}

/** The cases. */
export const TFTP: readonly MatrixCase[] = [
  server("tftpd-hpa", "process a request, jailed"),
  client("tftp-hpa"),
  server("atftpd", "thread a request"),
  client("atftp"),
];
