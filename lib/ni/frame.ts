/**
 * A frame on its way through the NI kernel.
 *
 * @module
 */

/** Which way a frame goes. */
export type Direction = "from-host" | "to-host";

/** Where a frame is and what is known of it. One object is used again for all. */
export class FrameRef {
  /** Its number; all frames are counted. */
  number = 0;
  /** Memory that holds it. */
  data: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** First byte. */
  start = 0;
  /** The byte after the last captured one. */
  end = 0;
  /** Bytes that it had on the wire. */
  wireLength = 0;
  /** Where it comes from. */
  direction: Direction = "from-host";
  /** When it came: seconds since the epoch, */
  seconds = 0;
  /** and nanoseconds below one second. */
  nanoseconds = 0;
  /** It went on already: this copy is only for those who read. */
  copy = false;
}

/** A time as milliseconds since the epoch. */
export function milliseconds(time: { seconds: number; nanoseconds: number }): number {
  return time.seconds * 1000 + time.nanoseconds / 1e6;
}

/** A time in RFC 3339 with microseconds, as EVE has it. */
export function timestamp(seconds: number, nanoseconds: number): string {
  const whole = new Date(seconds * 1000).toISOString().slice(0, 19);
  return `${whole}.${String(Math.floor(nanoseconds / 1000)).padStart(6, "0")}Z`;
}
