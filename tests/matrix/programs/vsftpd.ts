/**
 * vsftpd: a tree of processes for each session, whose socket-making one sits in an empty jail.
 *
 * @module
 */
import type { MatrixCase } from "../case.ts";
import type { Field } from "../field.ts";
import { command, fetched, PRIVILEGED } from "./common.ts";
import { curl, type FtpTransfer, lftp } from "./ftp.ts";

const FILES = ["/usr/sbin/vsftpd", "/usr/bin/curl", "/usr/bin/lftp"];
const PORT = 21;

/** Writes the configuration and what it serves, `data` in the root. */
export async function vsftpdSite(
  field: Field,
  name: string,
  settings: Readonly<Record<string, string | number>>,
  tls: boolean,
): Promise<{ config: string; data: string }> {
  const root = field.directory(`${name}-root`);
  const data = field.random(`${name}-root/data`, field.bytes);
  const pem = await field.certificate();
  const all: Record<string, string | number> = {
    ...(field.family === 4 ? { listen: "YES" } : { listen: "NO", listen_ipv6: "YES" }),
    listen_port: PORT,
    background: "NO",
    anonymous_enable: "YES",
    no_anon_password: "YES",
    anon_root: root,
    secure_chroot_dir: field.directory(`${name}-empty`),
    connect_from_port_20: "NO",
    pasv_min_port: 1025,
    pasv_max_port: 65535,
    xferlog_enable: "NO",
    ...(tls
      ? {
        ssl_enable: "YES",
        allow_anon_ssl: "YES",
        force_anon_logins_ssl: "YES",
        force_anon_data_ssl: "YES",
        require_ssl_reuse: "NO",
        rsa_cert_file: pem.certificate,
        rsa_private_key_file: pem.key,
      }
      : {}),
    ...settings,
  };
  const config = field.file(
    `${name}.conf`,
    Object.entries(all).map(([key, value]) => `${key}=${value}\n`).join(""),
  );
  return { config, data };
}

interface Mode {
  readonly name: string;
  readonly mode: string;
  readonly model?: string;
  readonly tls: boolean;
  readonly active?: boolean;
  readonly pinholes?: 0;
  readonly settings?: Readonly<Record<string, string>>;
}

function vsftpd(mode: Mode): MatrixCase {
  return {
    name: mode.name,
    program: "vsftpd",
    package: "vsftpd",
    mode: mode.mode,
    model: mode.model ?? "processes a session, jailed",
    inside: "server",
    open: [`tcp/${PORT}`],
    pinholes: mode.pinholes ?? 1,
    ...(mode.pinholes === 0 ? { refused: PRIVILEGED } : {}),
    needed: mode.active !== true,
    files: FILES,
    prepare: async (field) => {
      const { config, data } = await vsftpdSite(field, "vsftpd", mode.settings ?? {}, mode.tls);
      const { certificate } = await field.certificate();
      const local = (host: number) => field.path(`got-${host}`);
      return {
        listen: () => command("vsftpd", config),
        ready: () => ({ protocol: "tcp", port: PORT }),
        session: (host) => {
          const transfer: FtpTransfer = {
            server: field.address,
            port: PORT,
            remote: "data",
            local: local(host),
            ...(mode.tls ? { certificate } : {}),
            ...(mode.active === true ? { active: field.source(host) } : {}),
          };
          // curl 7.88 has no active mode with TLS that works; lftp has.
          return mode.active === true && mode.tls ? lftp(transfer) : curl(transfer);
        },
        verify: fetched(local, data),
      };
    },
  };
}

/** The cases. */
export const VSFTPD: readonly MatrixCase[] = [
  vsftpd({ name: "vsftpd-passive", mode: "passive, TLS", tls: true }),
  vsftpd({ name: "vsftpd-active", mode: "active, TLS", tls: true, active: true }),
  vsftpd({
    name: "vsftpd-port20",
    mode: "active from port 20, TLS",
    tls: true,
    active: true,
    pinholes: 0,
    settings: { connect_from_port_20: "YES", ftp_data_port: "20" },
  }),
  vsftpd({
    name: "vsftpd-oneprocess",
    mode: "passive, one-process model",
    model: "process a session",
    tls: false,
    settings: { one_process_model: "YES" },
  }),
];
