/**
 * Random policies and questions over a small world, with a judge that knows nothing of the index: it
 * looks at numbers and names, rule by rule, as the paper's section 4.2 words it.
 */
import fc from "fast-check";
import { type IpAddress, ipFromBytes } from "../../lib/net/ip.ts";
import type { PolicyQuestion } from "../../lib/pinhole/policy.ts";

/** An address range with its text in the policy. */
interface ModelRange {
  readonly text: string;
  readonly family: 4 | 6;
  readonly first: bigint;
  readonly last: bigint;
}

interface ModelPorts {
  readonly first: number;
  readonly last: number;
}

/** A rule as drawn. */
export interface ModelRule {
  readonly effect: "allow" | "deny";
  readonly delegates: readonly string[] | undefined;
  readonly users: readonly string[] | undefined;
  readonly protocol: "tcp" | "udp" | "*";
  readonly sources: readonly ModelRange[] | undefined;
  readonly sourcePorts: readonly ModelPorts[] | undefined;
  readonly destinations: readonly ModelRange[] | undefined;
  readonly destinationPorts: readonly ModelPorts[] | undefined;
  readonly hours: readonly [number, number] | undefined;
  readonly days: readonly number[] | undefined;
  readonly until: number | undefined;
  readonly max: number | undefined;
  readonly rate: number | undefined;
}

/** A question with what the controller knows at the time. */
export interface ModelQuestion extends PolicyQuestion {
  readonly open: number;
  readonly recent: number;
}

const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const DELEGATES = ["d1", "d2", "d3"];
const USERS = ["u1", "u2"];
const BASE4 = 0x0a000000n;
const BASE6 = 0x20010db8n << 96n;
const WEEK0 = new Date(2026, 5, 7).getTime(); // a Sunday

/** The address with this value. */
export function address(family: 4 | 6, value: bigint): IpAddress {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  let rest = value;
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 255n);
    rest >>= 8n;
  }
  return ipFromBytes(bytes);
}

const family = fc.constantFrom<4 | 6>(4, 6);
const topOf = (f: 4 | 6) => (1n << (f === 4 ? 32n : 128n)) - 1n;
const baseOf = (f: 4 | 6) => f === 4 ? BASE4 : BASE6;

const value = (f: 4 | 6) =>
  fc.oneof(
    { weight: 8, arbitrary: fc.bigInt(0n, 15n).map((n) => baseOf(f) + n) },
    { weight: 1, arbitrary: fc.constantFrom(0n, 1n, topOf(f), topOf(f) - 1n) },
  );

const modelRange = (f: 4 | 6): fc.Arbitrary<ModelRange> =>
  fc.oneof(
    value(f).map((v) => ({ text: address(f, v).text, family: f, first: v, last: v })),
    fc.tuple(value(f), value(f)).map(([a, b]) => {
      const [first, last] = a < b ? [a, b] : [b, a];
      return { text: `${address(f, first).text}-${address(f, last).text}`, family: f, first, last };
    }),
    fc.tuple(value(f), fc.constantFrom(0, 1, 2, 3, 4, f === 4 ? 32 : 128)).map(([v, free]) => {
      const size = 1n << BigInt(free);
      const first = v - v % size;
      const length = (f === 4 ? 32 : 128) - free;
      return {
        text: `${address(f, first).text}/${length}`,
        family: f,
        first,
        last: first + size - 1n,
      };
    }),
  );

const port = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(65534, 65535));
const ports = fc.array(
  fc.tuple(port, port).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) })),
  { minLength: 1, maxLength: 3 },
);
const any = <T>(arbitrary: fc.Arbitrary<T>) => fc.oneof(fc.constant(undefined), arbitrary);
const rarely = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
const ranges = (f: 4 | 6) => fc.array(modelRange(f), { minLength: 1, maxLength: 3 });
const minute = fc.integer({ min: 0, max: 23 }).map((h) => h * 60);

/** A rule; deny rules are drawn less often, since a few of them leave nothing to allow. */
export const modelRule: fc.Arbitrary<ModelRule> = family.chain((f) =>
  fc.record({
    effect: fc.constantFrom("allow" as const, "allow" as const, "allow" as const, "deny" as const),
    delegates: any(fc.subarray(DELEGATES, { minLength: 1 })),
    users: any(fc.subarray(USERS, { minLength: 1 })),
    protocol: fc.constantFrom("tcp" as const, "udp" as const, "*" as const),
    sources: any(
      fc.tuple(ranges(f), fc.option(modelRange(f === 4 ? 6 : 4)))
        .map(([own, other]) => other === null ? own : [...own, other]),
    ),
    sourcePorts: rarely(ports),
    destinations: any(ranges(f)),
    destinationPorts: any(ports),
    hours: rarely(fc.tuple(minute, minute).filter(([a, b]) => a !== b)),
    days: rarely(fc.subarray([0, 1, 2, 3, 4, 5, 6], { minLength: 1 })),
    until: rarely(fc.integer({ min: 0, max: 13 }).map((day) => WEEK0 + day * 86_400_000)),
    max: rarely(fc.integer({ min: 1, max: 3 })),
    rate: rarely(fc.integer({ min: 1, max: 3 })),
  })
);

/** A question into the same small world. */
export const modelQuestion: fc.Arbitrary<ModelQuestion> = family.chain((f) =>
  fc.record({
    delegate: fc.constantFrom(...DELEGATES, "stranger", "*"),
    user: fc.constantFrom(...USERS, "stranger", "*", "__proto__"),
    protocol: fc.constantFrom("tcp" as const, "udp" as const),
    source: value(f).map((v) => address(f, v)),
    sourcePort: fc.oneof(fc.constant(0), port),
    destination: value(f).map((v) => address(f, v)),
    destinationPort: port,
    at: fc.integer({ min: 0, max: 14 * 1440 }).map((m) => WEEK0 + m * 60_000),
    open: fc.integer({ min: 0, max: 3 }),
    recent: fc.integer({ min: 0, max: 3 }),
  })
);

/** The rule as a line of policy. */
export function ruleLine(r: ModelRule): string {
  const list = <T>(items: readonly T[] | undefined, text: (item: T) => string) =>
    items === undefined ? "*" : items.map(text).join(",");
  const portText = (p: ModelPorts) => p.first === p.last ? `${p.first}` : `${p.first}-${p.last}`;
  const clock = (m: number) => `${String(m / 60).padStart(2, "0")}:00`;
  const words = [
    r.effect,
    list(r.delegates, String),
    list(r.users, String),
    r.protocol,
    list(r.sources, (x) => x.text),
    list(r.sourcePorts, portText),
    list(r.destinations, (x) => x.text),
    list(r.destinationPorts, portText),
  ];
  if (r.hours !== undefined) words.push(`hours=${clock(r.hours[0])}-${clock(r.hours[1])}`);
  if (r.days !== undefined) words.push(`days=${r.days.map((d) => DAYS[d]).join(",")}`);
  if (r.until !== undefined) words.push(`until=${new Date(r.until).toISOString()}`);
  if (r.effect === "allow" && r.max !== undefined) words.push(`max=${r.max}`);
  if (r.effect === "allow" && r.rate !== undefined) words.push(`rate=${r.rate}`);
  return words.join(" ");
}

/** Does the rule speak? */
export function speaks(r: ModelRule, q: ModelQuestion): boolean {
  return (r.delegates ?? [q.delegate]).includes(q.delegate) &&
    (r.users ?? [q.user]).includes(q.user) &&
    (r.protocol === "*" || r.protocol === q.protocol) &&
    hasAddress(r.sources, q.source) && hasAddress(r.destinations, q.destination) &&
    hasPort(r.destinationPorts, q.destinationPort) && hasSourcePort(r, q.sourcePort) &&
    inTime(r, q.at) &&
    (r.effect === "deny" || r.max === undefined || q.open < r.max) &&
    (r.effect === "deny" || r.rate === undefined || q.recent < r.rate);
}

/** Permitted, and the place of the rule that decides. */
export function judge(
  rules: readonly ModelRule[],
  q: ModelQuestion,
): { permitted: boolean; by: number | undefined } {
  const speaking = rules.map((r, i) => ({ r, i })).filter(({ r }) => speaks(r, q));
  const denying = speaking.find(({ r }) => r.effect === "deny");
  const deciding = denying ?? speaking[0];
  return { permitted: deciding !== undefined && denying === undefined, by: deciding?.i };
}

function hasAddress(rs: readonly ModelRange[] | undefined, a: IpAddress): boolean {
  const v = a.bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  return rs === undefined || rs.some((r) => r.family === a.family && r.first <= v && v <= r.last);
}

function hasPort(ps: readonly ModelPorts[] | undefined, n: number): boolean {
  return ps === undefined || ps.some((p) => p.first <= n && n <= p.last);
}

/** Port 0 is the set of all ports: allow must hold all of it, deny must touch it. */
function hasSourcePort(r: ModelRule, n: number): boolean {
  if (n !== 0) return hasPort(r.sourcePorts, n);
  if (r.sourcePorts === undefined || r.effect === "deny") return true;
  const behind = r.sourcePorts.map((p) => p.last + 1).filter((p) => p <= 65535);
  return [1, ...behind].every((p) => hasPort(r.sourcePorts, p));
}

/** On the ring of the week's minutes, is the moment inside a window that begins on one of the days? */
function inTime(r: ModelRule, at: number): boolean {
  if (r.until !== undefined && at >= r.until) return false;
  const date = new Date(at);
  const wall = date.getDay() * 1440 + date.getHours() * 60 + date.getMinutes();
  const [start, stop] = r.hours ?? [0, 1440];
  const length = stop > start ? stop - start : stop + 1440 - start;
  return (r.days ?? [0, 1, 2, 3, 4, 5, 6]).some((day) => {
    const since = (wall - (day * 1440 + start) + 7 * 1440) % (7 * 1440);
    return since < length;
  });
}
