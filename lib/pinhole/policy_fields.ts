/**
 * Readers of the positional fields of a rule: names, protocol, address ranges, ports. Each throws
 * {@link FieldError} with the place inside the field.
 *
 * @module
 */
import { compareIp, type IpAddress, type IpRange, mergeRanges, parseIp } from "../net/ip.ts";
import { ipKind, prefixRange, rangeText, unmapIp } from "../net/ip.ts";
import type { Protocol } from "./pinhole.ts";
import { didYouMean, FieldError, quote } from "./policy_problem.ts";
import type { PortRange } from "./policy_rule.ts";

/** What a resolver knows of a host name: its addresses, or none and the reason. */
export interface HostAnswer {
  /** Its addresses, of either family; none when it has none. */
  readonly addresses: readonly IpAddress[];
  /** Why there are no addresses, for people. */
  readonly failure?: string;
}

/** Gives the addresses of a host name; asked while a policy is read, so it must know them already. */
export type HostResolver = (name: string) => HostAnswer;

/** The ranges of a field, and what is doubtful about them. */
export interface RangesField {
  /** Ordered and disjoint. */
  readonly ranges: readonly IpRange[] | "*";
  /** Doubts, each at a place in the field. */
  readonly warnings: readonly { readonly index: number; readonly message: string }[];
}

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.@+\\-]*\$?$/;
const MAX_NAME = 63; // what the agent's protocol carries
const MAX_ITEMS = 256;

/** `allow` or `deny`. */
export function readEffect(text: string): "allow" | "deny" {
  if (text === "allow" || text === "deny") return text;
  const hint = didYouMean(text, ["allow", "deny"]);
  throw new FieldError(`Unknown effect ${quote(text)}: a rule begins with allow or deny${hint}`);
}

/** `tcp`, `udp` or `*`. */
export function readProtocol(text: string): Protocol | "*" {
  if (text === "tcp" || text === "udp" || text === "*") return text;
  const hint = didYouMean(text, ["tcp", "udp"]);
  throw new FieldError(`Unknown protocol ${quote(text)}: use tcp, udp or *${hint}`);
}

/** `*`, or one or more account names with commas between them. `what` names the field. */
export function readNames(text: string, what: string): readonly string[] | "*" {
  if (text === "*") return "*";
  const names: string[] = [];
  for (const { item, index } of items(text, what)) {
    if (item.includes("*")) {
      throw new FieldError(`Bad ${what} ${quote(item)}: * stands alone and means any`, index);
    }
    if (!NAME.test(item)) {
      const message = `Bad ${what} ${quote(item)}: letters, digits and _.@+\\- make a name`;
      throw new FieldError(message, index);
    }
    if (item.length > MAX_NAME) {
      const message = `Bad ${what} ${quote(item)}: a name has at most ${MAX_NAME} characters`;
      throw new FieldError(message, index);
    }
    if (names.includes(item)) {
      throw new FieldError(`The ${what} ${quote(item)} is named twice: take one out`, index);
    }
    names.push(item);
  }
  return names;
}

/** `*`, or ports and port ranges with commas between them; ordered and joined. */
export function readPorts(text: string): readonly PortRange[] | "*" {
  if (text === "*") return "*";
  const ranges: PortRange[] = [];
  for (const { item, index } of items(text, "port")) {
    const dash = item.indexOf("-");
    const first = readPort(dash === -1 ? item : item.slice(0, dash), item, index);
    const last = dash === -1 ? first : readPort(item.slice(dash + 1), item, index + dash + 1);
    if (first > last) {
      throw new FieldError(`Port range ${quote(item)} is reversed: write ${last}-${first}`, index);
    }
    ranges.push({ first, last });
  }
  ranges.sort((a, b) => a.first - b.first);
  const out: PortRange[] = [];
  for (const next of ranges) {
    const previous = out.at(-1);
    if (previous === undefined || previous.last + 1 < next.first) out.push(next);
    else {
      out[out.length - 1] = { first: previous.first, last: Math.max(previous.last, next.last) };
    }
  }
  return out.length === 1 && out[0]?.first === 1 && out[0].last === 65535 ? "*" : out;
}

function readPort(text: string, item: string, index: number): number {
  if (!/^(0|[1-9][0-9]{0,4})$/.test(text) || Number(text) > 65535) {
    const message = text === "*" || text === "any"
      ? `Bad port ${quote(item)}: * stands alone and means any`
      : `Bad port ${quote(item)}: ports are numbers from 1 to 65535, N or N-M`;
    throw new FieldError(message, index);
  }
  if (text === "0") throw new FieldError("Port 0 is no port: * means any", index);
  return Number(text);
}

/** `*`, or addresses, prefixes, `a-b` and `host:NAME` with commas between them; ordered and joined. */
export function readRanges(text: string, resolve: HostResolver | undefined): RangesField {
  if (text === "*") return { ranges: "*", warnings: [] };
  const ranges: IpRange[] = [];
  const warnings: { index: number; message: string }[] = [];
  for (const { item, index } of items(text, "address range")) {
    if (!item.startsWith("host:")) {
      ranges.push(readRange(item, index));
      continue;
    }
    for (const found of readHost(item.slice(5), index + 5, resolve)) {
      const address = unmapIp(found);
      ranges.push({ first: address, last: address });
      const kind = ipKind(address);
      if (kind !== "host") {
        warnings.push({ index, message: `${quote(item)} stands for ${address.text} (${kind})` });
      }
    }
  }
  return { ranges: mergeRanges(ranges), warnings };
}

const HOST =
  /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$/;

/** The name of `host:NAME` when it is one that may be looked up (RFC 1123, and `_`). */
export function hostName(item: string): string | undefined {
  if (!item.startsWith("host:")) return undefined;
  const name = item.slice(5);
  // A name that ends in a number is an address to many resolvers: 127.1, 0x7f.1 (RFC 3696, 2).
  const isNumber = /(^|\.)(0[xX][0-9a-fA-F]*|[0-9]+)\.?$/.test(name);
  return HOST.test(name) && !isNumber ? name : undefined;
}

function readHost(
  name: string,
  index: number,
  resolve: HostResolver | undefined,
): readonly IpAddress[] {
  if (parseIp(name) !== undefined) {
    throw new FieldError(`${quote(name)} is an address: write it without host:`, index);
  }
  if (hostName(`host:${name}`) === undefined) {
    throw new FieldError(`Bad host name ${quote(name)}`, index);
  }
  if (resolve === undefined) {
    throw new FieldError(`Host name ${quote(name)} cannot be resolved here: give addresses`, index);
  }
  const { addresses, failure } = resolve(name);
  if (addresses.length === 0) {
    const why = failure === undefined ? "" : ` (${visibleReason(failure)})`;
    const message = `Host name ${quote(name)} cannot be resolved${why}: ` +
      "mend the name or the resolver, or give addresses";
    throw new FieldError(message, index);
  }
  return addresses;
}

function visibleReason(text: string): string {
  return quote(text).slice(1, -1);
}

function readRange(item: string, index: number): IpRange {
  const slash = item.indexOf("/");
  if (slash !== -1) return readPrefix(item, slash, index);
  const dash = item.indexOf("-");
  if (dash === -1) {
    const address = readAddress(item, index);
    return { first: address, last: address };
  }
  const first = readAddress(item.slice(0, dash), index);
  const last = readAddress(item.slice(dash + 1), index + dash + 1);
  if (first.family !== last.family) {
    throw new FieldError(`Range ${quote(item)} mixes IPv4 and IPv6: write two ranges`, index);
  }
  if (compareIp(first, last) > 0) {
    const mend = `write ${last.text}-${first.text}`;
    throw new FieldError(`Address range ${quote(item)} is reversed: ${mend}`, index);
  }
  return { first, last };
}

function readPrefix(item: string, slash: number, index: number): IpRange {
  const address = readAddress(item.slice(0, slash), index);
  const bits = address.bytes.length * 8;
  const text = item.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(text) || Number(text) > bits) {
    const message = `Bad prefix length ${quote(text)}: a number from 0 to ${bits}`;
    throw new FieldError(message, index + slash + 1);
  }
  const range = prefixRange(address, Number(text));
  if (compareIp(range.first, address) !== 0) {
    const message = `Prefix ${quote(item)} has host bits set: write ${rangeText(range)}, ` +
      `or ${address.text} for the one address`;
    throw new FieldError(message, index);
  }
  return range;
}

function readAddress(text: string, index: number): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw new FieldError(addressMessage(text), index);
  if (address.family === 6 && address.text.startsWith("::ffff:") && address.text.includes(".")) {
    const mend = `write ${address.text.slice(7)}`;
    throw new FieldError(`Address ${quote(text)} is IPv4 inside IPv6: ${mend}`, index);
  }
  return address;
}

function addressMessage(text: string): string {
  const bad = `Bad address ${quote(text)}`;
  if (text === "") return "An address is missing";
  if (text.includes("*")) return `${bad}: * stands alone and means any`;
  if (text.includes("%")) return `${bad}: a zone means nothing to a perimeter, leave it out`;
  if (/^[[].*[\]]$/.test(text)) return `${bad}: leave out the brackets`;
  if (/^\d+(\.\d+){3}$/.test(text)) {
    return `${bad}: octets are numbers from 0 to 255 without leading zeros`;
  }
  if (hostName(`host:${text}`) !== undefined) return `${bad}; for a host name write host:${text}`;
  return bad;
}

/** The items of a comma list with their places; an empty item is an error. */
function* items(text: string, what: string): Generator<{ item: string; index: number }> {
  let index = 0;
  let count = 0;
  for (const item of text.split(",")) {
    if (item === "") throw new FieldError(`A ${what} is missing beside a comma`, index);
    if (++count > MAX_ITEMS) {
      throw new FieldError(`More than ${MAX_ITEMS} items: split the rule`, index);
    }
    yield { item, index };
    index += item.length + 1;
  }
}
