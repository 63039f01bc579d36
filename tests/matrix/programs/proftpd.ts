/**
 * proftpd: a process a session, which takes the control connection onto descriptors 0 and 1.
 *
 * @module
 */
import type { MatrixCase } from "../case.ts";
import type { Field } from "../field.ts";
import { account, command, fetched, unpacked } from "./common.ts";
import { type FtpTransfer, lftp } from "./ftp.ts";

const SERVER = unpacked("proftpd-core", "usr/sbin/proftpd");
const MODULES = unpacked("proftpd-mod-crypto", "usr/lib/proftpd");
const PORT = 21;

async function site(field: Field): Promise<{ config: string; data: string }> {
  const root = field.directory("root");
  const data = field.random("root/data", field.bytes);
  const { certificate, key } = await field.certificate();
  const { uid, gid } = account("nobody");
  const hash = (await field.inside.must("openssl", ["passwd", "-6", "lab"])).trim();
  const users = field.file("users", `lab:${hash}:${uid}:${gid}::${root}:/bin/sh\n`, 0o600);
  const config = field.file(
    "proftpd.conf",
    `
ModulePath ${MODULES}
LoadModule mod_tls.c
ServerName inside
ServerType standalone
UseIPv6 off
UseReverseDNS off
Port ${PORT}
User nobody
Group nogroup
PidFile ${field.path("pid")}
ScoreboardFile ${field.path("scoreboard")}
ScoreboardMutex ${field.path("scoreboard.lock")}
DelayEngine off
WtmpLog off
TransferLog none
SystemLog ${field.path("log")}
MaxInstances 60
AuthOrder mod_auth_file.c
AuthUserFile ${users}
RequireValidShell off
DefaultRoot ~
TLSEngine on
TLSRequired on
TLSOptions NoSessionReuseRequired
TLSRSACertificateFile ${certificate}
TLSRSACertificateKeyFile ${key}
`,
  );
  return { config, data };
}

function proftpd(name: string, mode: string, active: boolean): MatrixCase {
  return {
    ...{ name, mode, program: "proftpd", package: "proftpd-core", inside: "server" },
    model: "process a session",
    // Its main process sleeps for 0.2 s when a child's end has interrupted it (PR_TUNABLE_EINTR_RETRY_INTERVAL).
    rest: 300,
    open: [`tcp/${PORT}`],
    pinholes: 1,
    needed: !active,
    files: [SERVER, MODULES, "/usr/bin/lftp"],
    prepare: async (field) => {
      const { config, data } = await site(field);
      const { certificate } = await field.certificate();
      const local = (host: number) => field.path(`got-${host}`);
      return {
        listen: () => command(SERVER, "--nodaemon", "--config", config),
        ready: () => ({ protocol: "tcp", port: PORT }),
        session: (host) => {
          const transfer: FtpTransfer = {
            ...{ server: field.address, port: PORT, certificate, remote: "data" },
            user: ["lab", "lab"],
            local: local(host),
            ...(active ? { active: field.source(host) } : {}),
          };
          // curl 7.88 often waits for what it has already read by TLS: 200 ms, or a second (strace).
          return lftp(transfer);
        },
        verify: fetched(local, data),
      };
    },
  };
}

/** The cases. */
export const PROFTPD: readonly MatrixCase[] = [
  proftpd("proftpd-passive", "passive, TLS", false),
  proftpd("proftpd-active", "active, TLS", true),
];
