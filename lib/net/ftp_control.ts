/**
 * What an FTP control connection says about data connections: PORT and PASV (RFC 959), EPRT and EPSV
 * (RFC 2428). Lines come from anywhere and never throw.
 *
 * @module
 */
import { type IpAddress, ipFromBytes, parseIp } from "./ip.ts";

/** Where a data connection is to go. The address is undefined where it is that of the control connection. */
export interface FtpDataPort {
  readonly address: IpAddress | undefined;
  readonly port: number;
}

/** What a client's command says, if it names a data port. */
export function commandPort(line: string): FtpDataPort | undefined {
  const [, verb, argument = ""] = /^(PORT|EPRT) +(.*)$/i.exec(line.trim()) ?? [];
  if (verb === undefined) return undefined;
  return verb.toUpperCase() === "PORT" ? numbers(argument) : extended(argument);
}

/** What a server's reply says, if it names a data port. */
export function replyPort(line: string): FtpDataPort | undefined {
  if (line.startsWith("227")) {
    const found = /(\d{1,3}(?:,\d{1,3}){5})/.exec(line)?.[1];
    return found === undefined ? undefined : numbers(found);
  }
  if (!line.startsWith("229")) return undefined;
  const port = /\(([!-~])\1\1(\d{1,5})\1\)/.exec(line)?.[2];
  return port === undefined ? undefined : valid(undefined, Number(port));
}

/** True for a reply after which a data connection that has not come will not come. */
export function endsTransfer(line: string): boolean {
  return /^(226|250|425|426|45[0-2]|55[0-3])[ -]/.test(line);
}

/** `h1,h2,h3,h4,p1,p2` */
function numbers(text: string): FtpDataPort | undefined {
  const found = /^(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})$/.exec(text.trim());
  const values = found?.slice(1).map(Number) ?? [];
  if (values.length !== 6 || values.some((value) => value > 255)) return undefined;
  const [, , , , high = 0, low = 0] = values;
  return valid(ipFromBytes(Uint8Array.from(values.slice(0, 4))), high * 256 + low);
}

/** `|1|192.0.2.1|5000|`, with any delimiter. */
function extended(text: string): FtpDataPort | undefined {
  const delimiter = text.trim().charAt(0);
  const [, family, address = "", port = ""] = text.trim().split(delimiter);
  if ((family !== "1" && family !== "2") || !/^\d{1,5}$/.test(port)) return undefined;
  const ip = parseIp(address);
  if (ip === undefined || ip.family !== (family === "1" ? 4 : 6)) return undefined;
  return valid(ip, Number(port));
}

function valid(address: IpAddress | undefined, port: number): FtpDataPort | undefined {
  return port >= 1 && port <= 0xffff ? { address, port } : undefined;
}

/** Longest line that is kept; FTP's are shorter. */
const LONGEST_LINE = 4096;

/** The lines of one direction of a control connection. Lost segments lose lines, and nothing else. */
export class ControlLines {
  #next: number | undefined;
  #rest = "";

  /**
   * Takes a segment.
   *
   * @param sequence the sequence number of its first byte.
   * @returns the lines that it completes.
   */
  push(sequence: number, bytes: Uint8Array): string[] {
    if (bytes.length === 0) return [];
    const ahead = this.#next === undefined ? 0 : (sequence - this.#next) | 0;
    if (ahead > 0) this.#rest = "";
    const skipped = Math.max(0, -ahead);
    if (skipped >= bytes.length) return [];
    this.#next = (sequence + bytes.length) >>> 0;
    let text = this.#rest;
    for (let i = skipped; i < bytes.length; i++) text += String.fromCharCode(bytes[i] as number);
    const lines = text.split("\n");
    this.#rest = (lines.pop() ?? "").slice(-LONGEST_LINE);
    return lines.map((line) => line.slice(0, LONGEST_LINE).replace(/\r$/, ""));
  }
}
