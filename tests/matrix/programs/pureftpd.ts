/**
 * pure-ftpd: a process a session with a privileged helper of its own, which binds for active mode.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import type { MatrixCase } from "../case.ts";
import { account, command, fetched, PRIVILEGED, unpacked } from "./common.ts";
import { type FtpTransfer, lftp } from "./ftp.ts";

const SERVER = unpacked("pure-ftpd", "usr/sbin/pure-ftpd");
const ACCOUNTS = unpacked("pure-ftpd", "usr/bin/pure-pw");
const PORT = 21;

function pureftpd(name: string, mode: string, active: boolean): MatrixCase {
  return {
    ...{ name, mode, program: "pure-ftpd", package: "pure-ftpd", inside: "server" },
    model: "process a session, privileged helper",
    open: [`tcp/${PORT}`],
    pinholes: active ? 0 : 1,
    ...(active ? { refused: PRIVILEGED } : {}),
    needed: !active,
    files: [SERVER, ACCOUNTS, "/usr/bin/lftp"],
    prepare: async (field) => {
      const root = field.directory("root");
      const data = field.random("root/data", field.bytes);
      const pem = await field.certificate();
      const both = field.file(
        "both.pem",
        readFileSync(pem.key, "utf8") + readFileSync(pem.certificate, "utf8"),
        0o600,
      );
      const { uid, gid } = account("nobody");
      // Written by hand: pure-pw itself takes a hash that is meant to keep the machine busy for seconds.
      const hash = (await field.inside.must("openssl", ["passwd", "-6", "lab"])).trim();
      const users = field.file(
        "users",
        `lab:${hash}:${uid}:${gid}::${root}/./::::::::::::\n`,
        0o600,
      );
      const database = field.path("users.pdb");
      await field.inside.must(ACCOUNTS, ["mkdb", database, "-f", users]);
      const local = (host: number) => field.path(`got-${host}`);
      return {
        listen: () =>
          command(SERVER, ...[
            ...["-S", `${field.address},${PORT}`, "-4", "-H", "-A", "-u", "100", "-c", "60"],
            ...["-l", `puredb:${database}`, "-g", field.path("pid"), "-Y", "2", "-2", both],
          ]),
        ready: () => ({ protocol: "tcp", port: PORT }),
        session: (host) => {
          const transfer: FtpTransfer = {
            ...{ server: field.address, port: PORT, remote: "data", user: ["lab", "lab"] },
            certificate: pem.certificate,
            local: local(host),
            ...(active ? { active: field.source(host) } : {}),
          };
          // curl 7.88 hangs in active mode with TLS, and in passive mode often waits for what it has already
          // read by TLS, for 200 ms or a second (strace), without the agent as well.
          return lftp(transfer);
        },
        verify: fetched(local, data),
      };
    },
  };
}

/** The cases. */
export const PUREFTPD: readonly MatrixCase[] = [
  pureftpd("pureftpd-passive", "passive, TLS, privilege separation", false),
  pureftpd("pureftpd-active", "active, TLS, privilege separation", true),
];
