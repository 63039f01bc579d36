/**
 * FTP clients in active mode: the server connects back to a port that the client has bound, or that the
 * kernel chose when it listened without binding (lftp).
 *
 * @module
 */
import type { Command, MatrixCase } from "../case.ts";
import { command, fetched } from "./common.ts";
import { curl, lftp } from "./ftp.ts";
import { vsftpdSite } from "./vsftpd.ts";

const PORT = 21;

interface Client {
  readonly name: string;
  readonly package: string;
  readonly file: string;
  readonly tls: boolean;
  readonly broken?: string;
  readonly command: (
    t: { server: string; inside: string; local: string; directory: string; certificate: string },
  ) => Command;
}

const CLIENTS: readonly Client[] = [
  {
    ...{ name: "lftp-active-tls", package: "lftp", file: "/usr/bin/lftp", tls: true },
    command: ({ server, inside, local, certificate }) =>
      lftp({ server, port: PORT, remote: "data", local, certificate, active: inside }),
  },
  {
    ...{ name: "lftp-active", package: "lftp", file: "/usr/bin/lftp", tls: false },
    command: ({ server, inside, local }) =>
      lftp({ server, port: PORT, remote: "data", local, active: inside }),
  },
  {
    ...{ name: "curl-active", package: "curl", file: "/usr/bin/curl", tls: false },
    command: ({ server, inside, local }) =>
      curl({ server, port: PORT, remote: "data", local, active: inside }),
  },
  {
    ...{ name: "curl-active-tls", package: "curl", file: "/usr/bin/curl", tls: true },
    broken: "curl 7.88 has no active mode with TLS that works: it waits for the server's TLS " +
      "handshake before it asks for the file",
    command: ({ server, inside, local, certificate }) =>
      curl({ server, port: PORT, remote: "data", local, certificate, active: inside }),
  },
  {
    ...{ name: "ncftp-active", package: "ncftp", file: "/usr/bin/ncftpget", tls: false },
    command: ({ server, directory }) =>
      command("ncftpget", "-E", "-V", "-t", "20", "-P", String(PORT), server, directory, "data"),
  },
  {
    ...{ name: "tnftp-active", package: "tnftp", file: "/usr/bin/tnftp", tls: false },
    command: ({ server, local }) =>
      command("tnftp", "-A", "-V", "-o", local, `ftp://${server}:${PORT}/data`),
  },
];

function active(client: Client): MatrixCase {
  return {
    name: client.name,
    program: client.package,
    package: client.package,
    mode: `active${client.tls ? ", TLS" : ""}`,
    model: "a client",
    inside: "client",
    open: [],
    pinholes: 1,
    needed: true,
    ...(client.broken === undefined ? {} : { broken: client.broken }),
    files: [client.file, "/usr/sbin/vsftpd"],
    prepare: async (field) => {
      const { certificate } = await field.certificate();
      const { config, data } = await vsftpdSite(field, "vsftpd", {}, client.tls);
      const directory = (i: number) => field.path(`here-${i}`);
      for (let i = 0; i < field.outside.length; i++) field.directory(`here-${i}`);
      const local = (i: number) => `${directory(i)}/data`;
      return {
        listen: () => command("vsftpd", config),
        ready: () => ({ protocol: "tcp", port: PORT }),
        session: (i) =>
          client.command({
            ...{ server: field.source(i), inside: field.address, certificate },
            ...{ local: local(i), directory: directory(i) },
          }),
        verify: fetched(local, data),
      };
    },
  };
}

/** The cases. */
export const ACTIVE_CLIENTS: readonly MatrixCase[] = CLIENTS.map(active);
