/**
 * Which key stands for which remote delegate: one file for both SSH servers, in the format of OpenSSH's
 * authorized_keys (sshd(8)). Each line restricts its key to `diaper gate` in one delegate's name.
 *
 * @module
 */
import { isKey, KEY_TYPE } from "../broker/known_controllers.ts";
import { inRange, type IpAddress, type IpRange, parseIp, prefixRange } from "../net/ip.ts";

/** A key and what it stands for. */
export interface AuthorizedKey {
  readonly delegate: string;
  /** The public key in SSH's form, as base64. */
  readonly key: string;
  /** Where it may come from; undefined: from anywhere. */
  readonly from: readonly IpRange[] | undefined;
}

const DELEGATE = /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/;
const LINE =
  /^restrict,(?:from="([^"\s]+)",)?command="[^"]*\bgate --delegate ([^"\s]+)" (\S+) (\S+)(?: .*)?$/;

/** A line of the file that cannot be used. */
export class AuthorizedKeysError extends Error {
  override readonly name = "AuthorizedKeysError";
}

/**
 * Reads the file.
 *
 * @throws {AuthorizedKeysError} with file and line: a line that is not understood must not be taken for
 *   less than was meant.
 */
export function parseAuthorizedKeys(text: string, file: string): AuthorizedKey[] {
  const keys: AuthorizedKey[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const wrong = (what: string) => new AuthorizedKeysError(`${file}:${i + 1}: ${what}`);
    const [, from, delegate = "", type, key = ""] = LINE.exec(line.trim()) ?? [];
    if (!DELEGATE.test(delegate)) {
      throw wrong("expected a line as diaper controller authorize prints it");
    }
    if (type !== KEY_TYPE || !isKey(key)) throw wrong(`only ${KEY_TYPE} keys are taken`);
    const known = keys.find((k) => k.key === key);
    if (known !== undefined) throw wrong(`this key stands for ${known.delegate} already`);
    keys.push({ delegate, key, from: from === undefined ? undefined : readFrom(from, wrong) });
  }
  return keys;
}

function readFrom(text: string, wrong: (what: string) => Error): IpRange[] {
  return text.split(",").map((part) => {
    const [address = "", length] = part.split("/");
    const ip = parseIp(address);
    const bits = length === undefined ? (ip?.family === 4 ? 32 : 128) : Number(length);
    if (
      ip === undefined || !/^[0-9]{0,3}$/.test(length ?? "") || bits > (ip.family === 4 ? 32 : 128)
    ) {
      throw wrong(`from: ${part} is neither an address nor a prefix`);
    }
    return prefixRange(ip, bits);
  });
}

/** True when a key may be used from an address. */
export function mayComeFrom(key: AuthorizedKey, address: IpAddress): boolean {
  return key.from === undefined || key.from.some((range) => inRange(address, range));
}

/**
 * The line that lets a key ask in a delegate's name and do nothing else.
 *
 * @param command how `diaper` is called at the controller.
 * @param from addresses and prefixes, when it may not come from elsewhere.
 */
export function authorizedKeyLine(
  delegate: string,
  key: string,
  command: string,
  from: readonly string[],
): string {
  const where = from.length === 0 ? "" : `from="${from.join(",")}",`;
  return `restrict,${where}command="${command} gate --delegate ${delegate}" ` +
    `${KEY_TYPE} ${key} ${delegate}`;
}
