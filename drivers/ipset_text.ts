/**
 * The text of ipset(8): elements as `ipset save` prints them and `ipset restore` takes them.
 *
 * @module
 */
import { parseIp } from "../lib/net/ip.ts";
import type { FiveTuple } from "../lib/pinhole/pinhole.ts";
import type { EnforcerChange, ListedEntry } from "./enforcer.ts";

/** The kind of set that holds pinholes: source, protocol and destination port, destination. */
export const SET_TYPE = "hash:ip,port,ip";

/** The element that a pinhole is. */
export function elementText(t: FiveTuple): string {
  return `${t.source.text},${t.protocol}:${t.destinationPort},${t.destination.text}`;
}

/** The line of `ipset -exist restore` that makes a change. A lease has whole seconds, rounded up. */
export function changeLine(set: string, { action, tuple, id, lease }: EnforcerChange): string {
  const element = elementText(tuple);
  return action === "close"
    ? `del ${set} ${element}`
    : `add ${set} ${element} timeout ${Math.ceil(lease)} comment "diaper:ph-${id}"`;
}

/** An element of a set, as a listing has it. */
export interface SavedElement {
  readonly element: string;
  readonly options: ReadonlyMap<string, string>;
}

/** An element and its options: `1.2.3.4,tcp:22,5.6.7.8 timeout 3 packets 0 bytes 0 comment "x"`. */
export function parseElement(text: string): SavedElement {
  const [element = "", ...words] = text.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? [];
  const options = new Map<string, string>();
  for (let i = 0; i < words.length; i++) {
    const name = words[i] as string;
    const value = FLAGS.has(name) ? "" : words[++i] ?? "";
    options.set(name, value.replace(/^"(.*)"$/, "$1").replaceAll(/\\(.)/g, "$1"));
  }
  return { element, options };
}

/** Options without a value. */
const FLAGS = new Set(["nomatch", "before", "after"]);

/** The pinhole that an element of our kind of set is; undefined for any other. */
export function elementTuple(element: string): FiveTuple | undefined {
  const [, source, protocol, port, destination] =
    /^([^,]+),(tcp|udp):([0-9]{1,5}),([^,]+)$/.exec(element) ?? [];
  if (source === undefined || destination === undefined) return undefined;
  const from = parseIp(source);
  const to = parseIp(destination);
  const number = Number(port);
  if (from === undefined || to === undefined || number < 1 || number > 0xffff) return undefined;
  return {
    protocol: protocol as "tcp" | "udp",
    source: from,
    sourcePort: 0,
    destination: to,
    destinationPort: number,
  };
}

/** The pinholes in what `ipset save SET` printed. */
export function savedPinholes(text: string): ListedEntry[] {
  return text.split("\n").flatMap((line) => {
    const body = /^add \S+ (.*)$/.exec(line)?.[1];
    if (body === undefined) return [];
    const { element, options } = parseElement(body);
    const tuple = elementTuple(element);
    if (tuple === undefined) return [];
    const timeout = Number(options.get("timeout") ?? 0);
    return [{
      tuple,
      packets: Number(options.get("packets") ?? 0),
      bytes: Number(options.get("bytes") ?? 0),
      expires: timeout === 0 ? undefined : timeout,
    }];
  });
}
