/**
 * TCP options as far as a shadow needs them (RFC 9293, 7323, 2018, 8684), read without allocation.
 *
 * @module
 */
import { u16, u32 } from "../../net/packet.ts";

/** Options of one segment. */
export class TcpOptions {
  /** Largest segment that the sender takes; 0 when it is not told. */
  mss = 0;
  /** Shift of the window; -1 when it is not told. */
  scale: number = -1;
  sackPermitted = false;
  hasTimestamps = false;
  /** Valid when {@link hasTimestamps}. */
  timestamp = 0;
  echo = 0;
  /** Edges of SACK blocks as sequence numbers, two a block; {@link sackBlocks} of them. */
  readonly sack: Uint32Array = new Uint32Array(8);
  sackBlocks = 0;
  /** The connection is a part of a multipath one (RFC 8684). */
  multipath = false;
  /** An option's length is wrong: what is behind it was not read. */
  malformed = false;

  /** Reads what is between the fixed header and the payload. */
  read(data: Uint8Array, start: number, end: number): this {
    this.mss = 0;
    this.scale = -1;
    this.sackPermitted = false;
    this.hasTimestamps = false;
    this.sackBlocks = 0;
    this.multipath = false;
    this.malformed = false;
    // By far the most frequent: two fillers and timestamps.
    if (end - start === 12 && u32(data, start) === 0x0101080a) {
      this.hasTimestamps = true;
      this.timestamp = u32(data, start + 4);
      this.echo = u32(data, start + 8);
      return this;
    }
    for (let at = start; at < end;) {
      const kind = data[at] as number;
      if (kind === 0) break;
      if (kind === 1) {
        at++;
        continue;
      }
      const length = at + 1 < end ? data[at + 1] as number : 0;
      if (length < 2 || at + length > end) {
        this.malformed = true;
        break;
      }
      this.#option(data, at, kind, length);
      at += length;
    }
    return this;
  }

  #option(data: Uint8Array, at: number, kind: number, length: number): void {
    if (kind === 2 && length === 4) this.mss = u16(data, at + 2);
    else if (kind === 3 && length === 3) this.scale = Math.min(14, data[at + 2] as number);
    else if (kind === 4 && length === 2) this.sackPermitted = true;
    else if (kind === 5 && (length - 2) % 8 === 0) {
      this.sackBlocks = Math.min(4, (length - 2) >> 3);
      for (let i = 0; i < this.sackBlocks * 2; i++) this.sack[i] = u32(data, at + 2 + i * 4);
    } else if (kind === 8 && length === 10) {
      this.hasTimestamps = true;
      this.timestamp = u32(data, at + 2);
      this.echo = u32(data, at + 6);
    } else if (kind === 30) this.multipath = true;
  }
}
