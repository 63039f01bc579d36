/**
 * FTP clients as the cases of FTP servers use them, from an outside host.
 *
 * @module
 */
import type { Command } from "../case.ts";

/** A transfer of one file, by a client that is not under the agent or one that is. */
export interface FtpTransfer {
  /** The server. */
  readonly server: string;
  /** Its control port. */
  readonly port: number;
  /** The server's certificate; no TLS without it. */
  readonly certificate?: string;
  /** Account and password. */
  readonly user?: readonly [string, string];
  /** The client's address, for active mode; passive without it. */
  readonly active?: string;
  /** `store` is an upload. */
  readonly direction?: "fetch" | "store";
  /** Path on the server. */
  readonly remote: string;
  /** Path here. */
  readonly local: string;
  /** The clock's limit for a connection, in seconds. */
  readonly patience?: number;
}

function familyOf(address: string): 4 | 6 {
  return address.includes(":") ? 6 : 4;
}

/** An address as it stands in a URL. */
export function inUrl(address: string): string {
  return familyOf(address) === 6 ? `[${address}]` : address;
}

/** The transfer by curl. */
export function curl(t: FtpTransfer): Command {
  const [user, password] = t.user ?? ["anonymous", "lab@"];
  return {
    program: "curl",
    args: [
      ...["--silent", "--show-error", "--user", `${user}:${password}`],
      ...["--connect-timeout", String(t.patience ?? 20), "--max-time", "60"],
      ...(t.certificate === undefined ? [] : ["--ssl-reqd", "--cacert", t.certificate]),
      ...(t.active === undefined ? [] : ["--ftp-port", inUrl(t.active)]),
      ...(t.direction === "store" ? ["--upload-file", t.local] : ["--output", t.local]),
      `ftp://${inUrl(t.server)}:${t.port}/${t.remote}`,
    ],
  };
}

/** The transfer by lftp. */
export function lftp(t: FtpTransfer): Command {
  const [user, password] = t.user ?? ["anonymous", "lab@"];
  const tls = t.certificate !== undefined;
  const settings = [
    "cmd:fail-exit yes",
    "xfer:clobber yes",
    "net:max-retries 1",
    `net:timeout ${t.patience ?? 20}`,
    `ftp:passive-mode ${t.active === undefined ? "yes" : "no"}`,
    ...(t.active === undefined ? [] : [`ftp:port-ipv4 ${t.active}`]),
    `ftp:ssl-allow ${tls ? "yes" : "no"}`,
    ...(tls
      ? [
        "ftp:ssl-force yes",
        "ftp:ssl-allow-anonymous yes",
        "ftp:ssl-protect-data yes",
        "ssl:verify-certificate yes",
        `ssl:ca-file ${t.certificate}`,
      ]
      : []),
  ];
  const transfer = t.direction === "store"
    ? `put ${t.local} -o ${t.remote}`
    : `get ${t.remote} -o ${t.local}`;
  const script = [
    ...settings.map((setting) => `set ${setting}`),
    `open -u ${user},${password} ftp://${inUrl(t.server)}:${t.port}`,
    transfer,
  ].join("; ");
  return { program: "lftp", args: ["-c", script] };
}
