/**
 * An event of the audit trail as one line for people.
 *
 * @module
 */
import { parseIp } from "../net/ip.ts";
import { endpointText } from "../pinhole/pinhole.ts";
import { type Style, style, visible } from "./output.ts";

/** What became of a request or a pinhole. */
export const VERDICTS = ["requested", "allowed", "refused", "opened", "closed", "failed"] as const;

/** One of {@link VERDICTS}. */
export type Verdict = typeof VERDICTS[number];

/** A line of the trail. */
export interface TrailEvent {
  readonly event_type: string;
  readonly timestamp: string;
  readonly [field: string]: unknown;
}

const COLOURS: Readonly<Partial<Record<Verdict, Style>>> = {
  refused: "red",
  failed: "red",
  opened: "green",
  closed: "dim",
};

/** The verdict that an event tells of; undefined when it tells of something else. */
export function verdictOf(event: TrailEvent): Verdict | undefined {
  if (event.event_type === "request.refused") return "refused";
  const [kind, what] = event.event_type.split(".");
  return kind === "pinhole" ? VERDICTS.find((v) => v === what) : undefined;
}

/**
 * Time, verdict, pinhole, tuple, user and delegate, program, and why:
 * `TIME  opened     #7 tcp 192.0.2.1 > 198.51.100.7:50000  alice/ftp  /usr/sbin/vsftpd[88]  site.policy:3`.
 */
export function eventLine(event: TrailEvent): string {
  const verdict = verdictOf(event);
  const name = verdict ?? event.event_type;
  const colour = verdict === undefined ? undefined : COLOURS[verdict];
  const padded = visible(name).padEnd(9);
  const words = verdict === undefined
    ? otherFields(event)
    : [tuple(event), who(event), program(event), reason(event, verdict)];
  return [
    style("dim", visible(event.timestamp)),
    colour === undefined ? padded : style(colour, padded),
    ...words.filter((word) => word !== "").map(visible),
  ].join("  ");
}

function tuple(event: TrailEvent): string {
  const id = typeof event["id"] === "number" ? `#${event["id"]} ` : "";
  if (typeof event["source"] !== "string") return id.trim();
  const source = placeText(event["source"], event["source_port"]);
  const destination = placeText(text(event["destination"]), event["destination_port"]);
  return `${id}${text(event["proto"])} ${source} > ${destination}`;
}

/** Address and port as the daemon tells them; a port that is no number is left out. */
export function placeText(address: string, port: unknown): string {
  const ip = parseIp(address);
  if (ip !== undefined) return endpointText(ip, typeof port === "number" ? port : 0);
  return typeof port === "number" ? `${address}:${port}` : address;
}

function who(event: TrailEvent): string {
  const user = text(event["user"]) ||
    (typeof event["uid"] === "number" ? `uid ${event["uid"]}` : "");
  const delegate = text(event["delegate"]);
  return delegate === "" ? user : `${user}/${delegate}`;
}

function program(event: TrailEvent): string {
  const pid = typeof event["pid"] === "number" ? `[${event["pid"]}]` : "";
  return `${text(event["program"])}${pid}`;
}

/** A close is explained by its cause, everything else by the rule, or what stands in its way. */
function reason(event: TrailEvent, verdict: Verdict): string {
  const [rule, why] = [text(event["rule"]), text(event["why"])];
  if (verdict === "closed") return why || rule;
  if (verdict === "refused" || verdict === "failed") {
    return rule === "" || why.includes(rule) ? why : `${rule}: ${why}`;
  }
  return rule || why;
}

function otherFields(event: TrailEvent): string[] {
  return Object.entries(event)
    .filter(([name, value]) => name !== "event_type" && name !== "timestamp" && value !== null)
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
