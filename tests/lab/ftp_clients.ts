/**
 * FTPS clients of the lab: curl and lftp, passive, with TLS forced on both connections and the
 * server's certificate verified.
 *
 * @module
 */
import type { FtpsSite } from "./ftps.ts";
import type { Host } from "./host.ts";
import type { LabProcess } from "./process.ts";

/** The clients. */
export type FtpClient = "curl" | "lftp";

/** One transfer. */
export interface FtpTransfer {
  /** The program. */
  readonly client: FtpClient;
  /** `fetch` is a download. */
  readonly direction: "fetch" | "store";
  /** The server's address. */
  readonly server: string;
  /** Path on the server, relative to its root. */
  readonly remote: string;
  /** Path of the file here. */
  readonly local: string;
  /** Largest rate in bytes a second; as fast as possible without it. */
  readonly rate?: number;
  /** Seconds to wait for a connection; 30 without it, since test machines are busy. */
  readonly connectTimeout?: number;
  /** curl only: ask with PASV and not EPSV (IPv4). */
  readonly pasv?: boolean;
}

/** Seconds to wait for a connection. */
const PATIENCE = 30;

/** Starts a transfer from a host; the program's code is 0 when it was successful. */
export function startTransfer(from: Host, site: FtpsSite, transfer: FtpTransfer): LabProcess {
  const args = transfer.client === "curl" ? curlArgs(site, transfer) : lftpArgs(site, transfer);
  return from.spawn(transfer.client, args);
}

/** Fetches all of `small/` into a directory by lftp: one control connection, a data connection a file. */
export function fetchSmallFiles(
  from: Host,
  site: FtpsSite,
  server: string,
  directory: string,
): LabProcess {
  return from.spawn(
    "lftp",
    lftpProgram(site, server, PATIENCE, [`lcd ${directory}`, "cd small", "mget *"]),
  );
}

function curlArgs(site: FtpsSite, t: FtpTransfer): string[] {
  return [
    ...curlBasics(site, t.connectTimeout ?? PATIENCE),
    ...(t.rate === undefined ? [] : ["--limit-rate", String(t.rate)]),
    ...(t.pasv === true ? ["--disable-epsv"] : []),
    ...(t.direction === "fetch" ? ["--output", t.local] : ["--upload-file", t.local]),
    `${url(t.server, site.port)}/${t.remote}`,
  ];
}

function curlBasics(site: FtpsSite, connectTimeout: number): string[] {
  return [
    ...["--silent", "--show-error", "--verbose", "--no-progress-meter"],
    ...["--ssl-reqd", "--cacert", site.certificate, "--user", "anonymous:lab@"],
    ...["--connect-timeout", String(connectTimeout), "--max-time", "300"],
  ];
}

function lftpArgs(site: FtpsSite, t: FtpTransfer): string[] {
  return lftpProgram(site, t.server, t.connectTimeout ?? PATIENCE, [
    // Without limit-max, two seconds of unused rate may come at once.
    ...(t.rate === undefined
      ? []
      : [`set net:limit-rate ${t.rate}`, `set net:limit-max ${Math.ceil(t.rate / 4)}`]),
    t.direction === "fetch" ? `get ${t.remote} -o ${t.local}` : `put ${t.local} -o ${t.remote}`,
  ]);
}

function lftpProgram(
  site: FtpsSite,
  server: string,
  connectTimeout: number,
  commands: readonly string[],
): string[] {
  const settings = [
    "cmd:fail-exit yes",
    "net:max-retries 1",
    `net:timeout ${connectTimeout}`,
    "ftp:passive-mode yes",
    "ftp:ssl-force yes",
    "ftp:ssl-protect-data yes",
    "ssl:verify-certificate yes",
    `ssl:ca-file ${site.certificate}`,
  ];
  return [
    "-d",
    "-c",
    [
      ...settings.map((setting) => `set ${setting}`),
      `open -u anonymous,lab@ ${url(server, site.port)}`,
      ...commands,
    ].join("; "),
  ];
}

function url(server: string, port: number): string {
  return `ftp://${server.includes(":") ? `[${server}]` : server}:${port}`;
}
