/**
 * Alerts as syslog messages (RFC 5424), with structured data.
 *
 * @module
 */
import { DatagramSender, type DatagramTarget } from "../../sys/datagrams.ts";
import type { StoredAlert } from "../store.ts";
import { type AlertOutput, type OutputStatus, RateLimit } from "./output.ts";

const LOCAL4 = 20;
/** Critical, warning, notice. */
const SEVERITIES: Readonly<Record<number, number>> = { 1: 2, 2: 4, 3: 5 };
/** Octets of a message: what every receiver of RFC 5424 should take. */
const LONGEST = 2048;

/** Sends to one receiver. */
export class SyslogOutput implements AlertOutput {
  readonly #sender: DatagramSender;
  readonly #severity: number;
  readonly #limit: RateLimit;
  readonly #encoder = new TextEncoder();
  readonly #host = Deno.hostname();
  #sent = 0;
  #dropped = 0;
  #failed: string | undefined;

  /** @param severity this grave or graver. @throws {TypeError} for a host that is no address. */
  constructor(target: DatagramTarget, severity: number, perMinute: number) {
    this.#sender = new DatagramSender(target);
    this.#severity = severity;
    this.#limit = new RateLimit(perMinute, 60_000);
  }

  /** As {@link AlertOutput.alerts}. */
  alerts(alerts: readonly StoredAlert[]): void {
    for (const alert of alerts) {
      if (alert.severity > this.#severity) continue;
      const sent = this.#limit.take() &&
        this.#sender.send(cut(this.#encoder.encode(syslogLine(alert, this.#host, Deno.pid))));
      if (sent) this.#sent++;
      else this.#dropped++;
    }
  }

  /** As {@link AlertOutput.status}. */
  status(): OutputStatus {
    return { name: "syslog", sent: this.#sent, dropped: this.#dropped, failed: this.#failed };
  }

  /** As {@link AlertOutput.close}. */
  close(): Promise<void> {
    this.#sender.close();
    return Promise.resolve();
  }
}

/** One message. Whatever the NI has put into the alert, it stays one message with these fields. */
export function syslogLine(alert: StoredAlert, host: string, pid: number): string {
  const word = (text: string, longest: number) =>
    text.replace(/[^\x21-\x7e]/g, "").slice(0, longest) || "-";
  const value = (text: string) =>
    // deno-lint-ignore no-control-regex
    text.slice(0, 255).replace(/[\x00-\x1f\x7f]/g, " ").replace(/["\\\]]/g, "\\$&");
  const fields = {
    id: String(alert.id),
    ni: alert.ni,
    scanner: alert.scanner,
    signature: alert.signature,
    src: alert.src,
    dest: alert.dest,
    destPort: String(alert.destPort),
    proto: alert.proto,
    action: alert.action,
  };
  const data = Object.entries(fields).filter(([, v]) => v !== "" && v !== "0")
    .map(([k, v]) => `${k}="${value(v)}"`).join(" ");
  // deno-lint-ignore no-control-regex
  const text = alert.signature.replace(/[\x00-\x1f\x7f]/g, " ");
  return `<${LOCAL4 * 8 + (SEVERITIES[alert.severity] ?? 5)}>1 ${
    new Date(alert.at).toISOString()
  } ` +
    `${word(host, 255)} diaper-console ${pid} ${word(alert.scanner, 32)} [alert@32473 ${data}] ` +
    `\ufeff${alert.src} > ${alert.dest}: ${text}`;
}

function cut(data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return data.length <= LONGEST ? data : data.slice(0, LONGEST);
}
