/**
 * The audit trail as syslog messages (RFC 5424), besides the file, which remains the record.
 *
 * @module
 */
import { DatagramSender } from "../sys/datagrams.ts";
import { type AuditEvent, AuditTrail } from "./audit.ts";
import { type Config, parseEndpoint } from "./config.ts";

const AUTHPRIV = 10;
const SEVERITY = { warning: 4, info: 6 } as const;
/** Events that somebody should look at. */
const WARNINGS = /failed|refused|rejected|lost|damaged|fault|limit|suppressed/;

/**
 * Makes one message: the event's name as MSGID, its JSON as the text.
 *
 * @param host name of this host.
 */
export function syslogMessage(event: AuditEvent, line: string, host: string, pid: number): string {
  const severity = WARNINGS.test(event.event_type) ? SEVERITY.warning : SEVERITY.info;
  const word = (text: string, longest: number) =>
    text.replace(/[^\x21-\x7e]/g, "").slice(0, longest) || "-";
  return `<${AUTHPRIV * 8 + severity}>1 ${event.timestamp} ${word(host, 255)} diaper ${pid} ` +
    `${word(event.event_type, 32)} - ${line}`;
}

/**
 * Opens the audit trail, and sends its events to syslog as well where the configuration says so.
 *
 * @throws {TypeError} for a syslog host that is no address.
 */
export function openAuditTrail(config: Config): AuditTrail {
  const audit = new AuditTrail(`${config.log_dir}/audit.jsonl`);
  const { syslog } = config;
  if (syslog === "off") return audit;
  const sender = new DatagramSender(
    syslog.startsWith("/") ? { path: syslog } : parseEndpoint(syslog),
  );
  const encoder = new TextEncoder();
  const host = Deno.hostname();
  audit.watch((event, line) => {
    // Nobody waits for syslog: what it does not take is in the file all the same.
    sender.send(encoder.encode(syslogMessage(event, line, host, Deno.pid)));
  });
  return audit;
}
