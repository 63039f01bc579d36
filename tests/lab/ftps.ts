/**
 * A real FTPS server for the lab: vsftpd with TLS forced on control and data connections.
 *
 * @module
 */
import { createHash, randomFillSync } from "node:crypto";
import { chmodSync, chownSync, closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { writeFileSync, writeSync } from "node:fs";
import type { Host } from "./host.ts";
import type { Lab } from "./lab.ts";

/** What the server offers and listens on. */
export interface FtpsSpec {
  /** Control port; 21 without it. */
  readonly port?: number;
  /** Size of `big.bin` in bytes. */
  readonly bigBytes: number;
  /** Number of files `small/1` and so on, of 1,000 bytes each; 0 without it. */
  readonly smallFiles?: number;
  /** Addresses that it is reached by besides the host's own, for its certificate. */
  readonly names?: readonly string[];
}

/** The server's files. */
export interface FtpsSite {
  /** For `vsftpd CONFIG`; it stays in the foreground and listens on IPv4 and IPv6. */
  readonly config: string;
  /** Control port. */
  readonly port: number;
  /** The self-signed certificate, for clients to verify the server by. */
  readonly certificate: string;
  /** Where uploads end up, on the server. */
  readonly uploads: string;
  /** Size of `big.bin` in bytes. */
  readonly bigBytes: number;
  /** SHA-256 of `big.bin`, in hexadecimal. */
  readonly bigSha256: string;
  /** A copy of `big.bin` for clients to store; the server's own cannot be read from outside. */
  readonly bigFile: string;
}

/** Makes the files of an FTPS server on `host`, in the lab's directory. */
export async function makeFtpsSite(lab: Lab, host: Host, spec: FtpsSpec): Promise<FtpsSite> {
  const base = lab.path(`ftps-${host.name}`);
  const root = `${base}/root`;
  const uploads = `${root}/upload`;
  const port = spec.port ?? 21;
  mkdirSync(base, { mode: 0o711 });
  // vsftpd refuses an anonymous root that the account "ftp" could write, and an unprivileged side's
  // root that "nobody" could.
  for (const directory of [root, `${root}/small`, uploads, `${base}/empty`]) mkdirSync(directory);
  const ftp = accountIds("ftp");
  chownSync(uploads, ftp.uid, ftp.gid);

  const certificate = `${base}/certificate.pem`;
  const key = `${base}/key.pem`;
  const addresses = [...host.addresses.map((a) => a.text), ...(spec.names ?? [])];
  const names = addresses.map((a) => `IP:${a}`).join(",");
  await host.must("openssl", [
    ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ftps"],
    ...["-addext", `subjectAltName=${names}`, "-keyout", key, "-out", certificate],
  ]);
  chmodSync(key, 0o600);

  const bigFile = `${root}/big.bin`;
  const bigSha256 = writeRandomFile(bigFile, spec.bigBytes);
  for (let i = 1; i <= (spec.smallFiles ?? 0); i++) writeRandomFile(`${root}/small/${i}`, 1_000);

  const config = `${base}/vsftpd.conf`;
  writeFileSync(config, vsftpdConfig({ root, empty: `${base}/empty`, certificate, key, port }));
  return {
    config,
    port,
    certificate,
    uploads,
    bigBytes: spec.bigBytes,
    bigSha256,
    bigFile,
  };
}

/** SHA-256 of a file, in hexadecimal. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  const buffer = new Uint8Array(1 << 20);
  for (let n = file.readSync(buffer); n !== null; n = file.readSync(buffer)) {
    hash.update(buffer.subarray(0, n));
  }
  return hash.digest("hex");
}

/** True when the Debian package vsftpd, which also makes the account "ftp", is there. */
export function hasVsftpd(): boolean {
  try {
    Deno.statSync("/usr/sbin/vsftpd");
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

interface VsftpdFiles {
  readonly root: string;
  readonly empty: string;
  readonly certificate: string;
  readonly key: string;
  readonly port: number;
}

function vsftpdConfig(files: VsftpdFiles): string {
  const settings: Record<string, string | number> = {
    listen: "NO",
    listen_ipv6: "YES", // one socket for both families
    listen_port: files.port,
    background: "NO",
    anonymous_enable: "YES",
    no_anon_password: "YES",
    local_enable: "NO",
    anon_root: files.root,
    secure_chroot_dir: files.empty,
    write_enable: "YES",
    anon_upload_enable: "YES",
    anon_umask: "022",
    ssl_enable: "YES",
    allow_anon_ssl: "YES",
    force_anon_logins_ssl: "YES",
    force_anon_data_ssl: "YES",
    require_ssl_reuse: "NO",
    ssl_ciphers: "HIGH",
    rsa_cert_file: files.certificate,
    rsa_private_key_file: files.key,
    pasv_enable: "YES",
    pasv_min_port: 1025,
    pasv_max_port: 65535,
    port_enable: "NO",
    xferlog_enable: "NO",
    use_localtime: "NO",
  };
  return Object.entries(settings).map(([name, value]) => `${name}=${value}\n`).join("");
}

/** Writes random bytes, and gives their SHA-256. */
function writeRandomFile(path: string, bytes: number): string {
  const hash = createHash("sha256");
  const fd = openSync(path, "wx", 0o644);
  try {
    const chunk = new Uint8Array(Math.min(bytes, 1 << 20));
    for (let left = bytes; left > 0;) {
      const part = randomFillSync(chunk.subarray(0, Math.min(left, chunk.length)));
      hash.update(part);
      left -= writeSync(fd, part);
    }
  } finally {
    closeSync(fd);
  }
  return hash.digest("hex");
}

function accountIds(name: string): { uid: number; gid: number } {
  for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
    const fields = line.split(":");
    if (fields[0] === name) return { uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new Error(`There is no account "${name}": install the package vsftpd`);
}
