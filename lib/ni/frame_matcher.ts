/**
 * Filters over frames with what libpcap's programs do not look through: an outer tag, and IPv6 extension headers.
 *
 * @module
 */
import type { Packet } from "../net/packet.ts";
import type { FrameRef } from "./frame.ts";
import type { FrameFilter } from "./rights.ts";

const ETHERNET = 1;
const IPV6_HEADER = 40;
/** IPv6 headers behind which a fragment's may be, and its own. */
const EXTENSIONS: ReadonlySet<number> = new Set([0, 43, 44, 51, 60]);

/** Runs filters over frames of one link type, one frame after the other. */
export class FrameMatcher {
  readonly #linkType: number;
  /** The frame without its outer tag, and the number of the frame that it is of. */
  readonly #untagged = new Uint8Array(66 * 1024);
  #untaggedNumber = 0;
  /** The frame as if it had no IPv6 extension headers, which filters do not look through, and its number. */
  readonly #plain = new Uint8Array(66 * 1024);
  #plainNumber = 0;
  #plainLength = 0;

  constructor(linkType: number) {
    this.#linkType = linkType;
  }

  /** Bytes of a frame's outer VLAN tag. */
  tagLength({ data, start, end }: FrameRef): number {
    if (this.#linkType !== ETHERNET || end - start < 18) return 0;
    const type = ((data[start + 12] as number) << 8) | (data[start + 13] as number);
    return type === 0x8100 || type === 0x88a8 || type === 0x9100 ? 4 : 0;
  }

  /** Runs a filter over a frame; `tag` is the length of its outer tag, which most filters do not see. */
  matches(filter: FrameFilter, frame: FrameRef, tag: number): boolean {
    const { data, start, end, wireLength } = frame;
    if (this.#plainNumber === frame.number && !filter.tagged) {
      const length = this.#plainLength;
      if (filter.match(this.#plain, 0, length, length, -1) !== 0) return true;
    }
    if (tag === 0 || filter.tagged) return filter.match(data, start, end, wireLength, -1) !== 0;
    // Made once for all filters that look at the frame.
    const untagged = this.#untagged;
    if (this.#untaggedNumber !== frame.number) {
      untagged.set(data.subarray(start, start + 12), 0);
      untagged.set(data.subarray(start + 12 + tag, end), 12);
      this.#untaggedNumber = frame.number;
    }
    return filter.match(untagged, 0, end - start - tag, wireLength - tag, -1) !== 0;
  }

  /** Filters see a frame from now on as if it had no extension headers too. */
  makePlain(frame: FrameRef, p: Packet): void {
    const plain = this.#plain;
    const link = p.network - frame.start;
    const payload = frame.end - p.transport;
    const type = this.#linkType === ETHERNET ? 12 : link;
    plain.set(frame.data.subarray(frame.start, frame.start + type), 0);
    let at = type;
    if (this.#linkType === ETHERNET) {
      plain.set([0x86, 0xdd], type);
      at += 2;
    }
    plain.set(frame.data.subarray(p.network, p.network + IPV6_HEADER), at);
    plain[at + 4] = payload >> 8;
    plain[at + 5] = payload & 0xff;
    plain[at + 6] = p.protocol;
    plain.set(frame.data.subarray(p.transport, frame.end), at + IPV6_HEADER);
    this.#plainLength = at + IPV6_HEADER + payload;
    this.#plainNumber = frame.number;
  }

  /** A quick look, true for every fragment and little else. */
  mayBeFragment({ data, start, end }: FrameRef, tag: number): boolean {
    if (this.#linkType !== ETHERNET) return true;
    const at = start + 12 + tag;
    if (end - at < 10) return false;
    const type = ((data[at] as number) << 8) | (data[at + 1] as number);
    if (type === 0x0800) return ((data[at + 8] as number) & 0x3f) !== 0 || data[at + 9] !== 0;
    return type !== 0x0806 && (type !== 0x86dd || EXTENSIONS.has(data[at + 8] as number));
  }

  /** True when a packet has extension headers. */
  static isExtended(p: Packet): boolean {
    return p.version === 6 && p.transport - p.network > IPV6_HEADER;
  }
}
