/**
 * What scanners found, as lines for the log of events.
 *
 * @module
 */
import { timestamp } from "./frame.ts";
import type { ScannerAlert } from "./scanner_session.ts";
import type { Connection } from "./stream/connection.ts";

type Event = Record<string, unknown>;
type Time = { readonly seconds: number; readonly nanoseconds: number };

/** An alert about frames; `flow` tells of the first one's. */
export function frameAlert(scanner: string, alert: ScannerAlert, flow: Event, now: Time): Event {
  const { seconds, nanoseconds } = alert.frames[0] ?? now;
  return {
    timestamp: timestamp(seconds, nanoseconds),
    ...flow,
    ...alertFields(scanner, alert),
    ...(alert.frames.length === 0 ? {} : {
      frames: alert.frames.map((frame) => ({
        number: frame.number,
        timestamp: timestamp(frame.seconds, frame.nanoseconds),
        direction: frame.direction,
        wire_length: frame.wireLength,
        bytes: frame.bytes.toBase64(),
      })),
    }),
  };
}

/** An alert about a connection, with bytes of it. */
export function streamAlert(
  scanner: string,
  alert: ScannerAlert,
  connection: Connection,
  original: Uint8Array<ArrayBuffer>,
  now: Time,
): Event {
  return {
    timestamp: timestamp(now.seconds, now.nanoseconds),
    ...connection.ends.fields(),
    ...alertFields(scanner, alert),
    ...(original.length > 0 ? { payload: original.toBase64() } : {}),
  };
}

function alertFields(scanner: string, alert: ScannerAlert): Event {
  const { signature, category, severity, action, detail } = alert;
  return {
    event_type: "alert",
    alert: { signature, category, severity, action },
    scanner,
    detail,
  };
}
