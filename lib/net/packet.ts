/**
 * What a frame says, read without allocation into an object that is used again. Malformed frames are
 * described, not thrown: {@link Packet.malformed} tells what is wrong, and the layers read before it stay
 * valid. Nothing is ever read beyond the captured bytes.
 *
 * @module
 */
import { addWords, finishChecksum, pseudoHeader } from "./checksum.ts";
import { type IpAddress, ipFromBytes } from "./ip.ts";

/** Link types, as in capture files (LINKTYPE_* of tcpdump.org). */
export const LINKTYPE = {
  NULL: 0,
  ETHERNET: 1,
  RAW_BSD: 12,
  RAW_OPENBSD: 14,
  RAW: 101,
  LOOP: 108,
  LINUX_SLL: 113,
  IPV4: 228,
  IPV6: 229,
  LINUX_SLL2: 276,
} as const;

/** EtherTypes that are looked into. */
export const ETHERTYPE = {
  IPV4: 0x0800,
  ARP: 0x0806,
  VLAN: 0x8100,
  IPV6: 0x86dd,
  MPLS: 0x8847,
  MPLS_MULTICAST: 0x8848,
  PPPOE: 0x8864,
  QINQ: 0x88a8,
  QINQ_OLD: 0x9100,
} as const;

/** Protocols above IP. */
export const PROTOCOL = {
  HOP_BY_HOP: 0,
  ICMP: 1,
  TCP: 6,
  UDP: 17,
  ROUTING: 43,
  FRAGMENT: 44,
  ESP: 50,
  AUTHENTICATION: 51,
  ICMPV6: 58,
  NONE: 59,
  DESTINATION: 60,
  MOBILITY: 135,
} as const;

/** Bits of {@link Packet.tcpFlags}. */
export const TCP = {
  FIN: 0x01,
  SYN: 0x02,
  RST: 0x04,
  PSH: 0x08,
  ACK: 0x10,
  URG: 0x20,
  ECE: 0x40,
  CWR: 0x80,
} as const;

/** What is wrong with a frame; `none` when nothing is. */
export type Malformed =
  | "none"
  | "link header is cut off"
  | "too many tags"
  | "network header is cut off"
  | "wrong IP version"
  | "header length is too short"
  | "packet is longer than the frame"
  | "packet is shorter than its header"
  | "too many extension headers"
  | "extension header is cut off"
  | "transport header is cut off"
  | "UDP length is wrong";

/** More nested tags than this are not looked through: no network has them. */
const MAX_TAGS = 8;
/** More extension headers than this are an attack (RFC 8504 5.3 lets a host limit them). */
const MAX_EXTENSIONS = 16;

/**
 * A decoded frame. Offsets count from the start of {@link data}; a field of a layer holds only when the
 * layer is there, as each says.
 */
export class Packet {
  /** The memory that the frame is in. */
  data: Uint8Array = new Uint8Array(0);
  /** First byte of the frame. */
  start = 0;
  /** The byte after the last captured one. */
  end = 0;
  /** What is wrong, if anything. */
  malformed: Malformed = "none";

  /** VLAN tags, outermost first in {@link vlan}. */
  tags = 0;
  /** Tag control information of the outermost tag. Valid when {@link tags} > 0. */
  vlan = 0;
  /** EtherType after all tags, or what the link type tells; 0 when the frame has none. */
  etherType = 0;

  /** 4 or 6 when there is a whole IP header, else 0. */
  version: 0 | 4 | 6 = 0;
  /** First byte of the IP header. Valid when {@link version} is not 0. */
  network = 0;
  /** The byte after the IP packet, by its own length, at most {@link end}. Valid as {@link network}. */
  networkEnd = 0;
  /** Where the source address is; the destination's follows it. Valid as {@link network}. */
  addresses = 0;
  /** Where the address is that checksums know as the destination: not the header's below a routing header. */
  #finalDestination = 0;
  /** Time to live or hop limit. Valid as {@link network}. */
  ttl = 0;
  /** The protocol after all extension headers. Valid as {@link network}. */
  protocol = 0;
  /** This is a fragment, the first one too. Atomic fragments (RFC 6946) are not. Valid as {@link network}. */
  fragment = false;
  /** Where its payload belongs, in bytes. Valid when {@link fragment}. */
  fragmentOffset = 0;
  /** Another one follows it. Valid when {@link fragment}. */
  moreFragments = false;
  /** Identification. Valid when {@link fragment}. */
  fragmentId = 0;
  /** The IPv4 header forbids fragments. */
  dontFragment = false;
  /** First byte after IP headers: of the transport header, or of a fragment's payload. Valid as {@link network}. */
  transport = 0;

  /** There is a whole TCP or UDP header, and ports are valid; never in later fragments. */
  hasPorts = false;
  /** Source port. Valid when {@link hasPorts}. */
  sourcePort = 0;
  /** Destination port. Valid when {@link hasPorts}. */
  destinationPort = 0;
  /** First byte of what TCP, UDP or ICMP carry. Valid when {@link hasPorts}, or for ICMP. */
  payload = 0;
  /** The byte after it. */
  payloadEnd = 0;
  /** A whole TCP header is there, and the fields below are valid. */
  isTcp = false;
  /** A whole UDP header is there. */
  isUdp = false;
  /** Sequence number. */
  sequence = 0;
  /** Acknowledgement number. */
  acknowledgement = 0;
  /** A mask of {@link TCP}. */
  tcpFlags = 0;
  /** Window as sent, not scaled. */
  window = 0;
  /** Urgent pointer. */
  urgent = 0;

  /**
   * Reads a frame.
   *
   * @param data memory that holds it; kept, not copied.
   * @param start its first byte, `end` the one after its last captured one.
   * @returns this.
   */
  decode(data: Uint8Array, start: number, end: number, linkType = 1): this {
    this.data = data;
    this.start = start;
    this.end = end;
    this.malformed = "none";
    this.tags = 0;
    this.etherType = 0;
    this.version = 0;
    this.protocol = 0;
    this.fragment = false;
    this.dontFragment = false;
    this.#finalDestination = 0;
    this.hasPorts = false;
    this.isTcp = false;
    this.isUdp = false;
    this.tcpFlags = 0;
    this.#link(linkType);
    return this;
  }

  /** The source address as a number. Valid when {@link version} is 4. */
  get source4(): number {
    return u32(this.data, this.addresses);
  }

  /** The destination address as a number. Valid when {@link version} is 4. */
  get destination4(): number {
    return u32(this.data, this.addresses + 4);
  }

  /** The source address. Allocates. Valid when {@link version} is not 0. */
  source(): IpAddress {
    return ipFromBytes(this.data.subarray(this.addresses, this.addresses + this.addressLength));
  }

  /** The destination address. Allocates. Valid when {@link version} is not 0. */
  destination(): IpAddress {
    const at = this.addresses + this.addressLength;
    return ipFromBytes(this.data.subarray(at, at + this.addressLength));
  }

  /** Bytes of an address. Valid when {@link version} is not 0. */
  get addressLength(): 4 | 16 {
    return this.version === 4 ? 4 : 16;
  }

  /**
   * Whether the IPv4 header checksum holds; IPv6 has none and is right.
   * Valid when {@link version} is not 0.
   */
  networkChecksumHolds(): boolean {
    if (this.version !== 4) return true;
    const end = this.network + ((this.data[this.network] as number) & 15) * 4;
    return finishChecksum(addWords(0, this.data, this.network, end)) === 0;
  }

  /**
   * Whether the checksum of TCP, UDP or ICMP holds. A fragment and a packet that was not captured whole
   * cannot be checked and count as right, as do the protocols without one and UDP over IPv4 that sends none.
   */
  transportChecksumHolds(): boolean {
    if (this.version === 0 || this.fragment || this.malformed !== "none") return true;
    const { data, transport, networkEnd, protocol } = this;
    const length = networkEnd - transport;
    if (protocol === PROTOCOL.ICMP && this.version === 4) {
      return finishChecksum(addWords(0, data, transport, networkEnd)) === 0;
    }
    if (protocol === PROTOCOL.UDP && this.isUdp) {
      const checksum = u16(data, transport + 6);
      if (checksum === 0) return this.version === 4;
      const end = this.payloadEnd;
      return this.#holds(addWords(0, data, transport, end), end - transport);
    }
    const summed = protocol === PROTOCOL.TCP ||
      (protocol === PROTOCOL.ICMPV6 && this.version === 6);
    return !summed || this.#holds(addWords(0, data, transport, networkEnd), length);
  }

  #holds(sum: number, length: number): boolean {
    const size = this.addressLength;
    const pseudo = pseudoHeader(this.data, this.addresses, size, this.protocol, length);
    if (this.#finalDestination === 0) return finishChecksum(sum + pseudo) === 0;
    const header = this.addresses + size;
    const removed = addWords(0, this.data, header, header + size);
    const final = this.#finalDestination;
    return finishChecksum(sum + pseudo - removed + addWords(0, this.data, final, final + size)) ===
      0;
  }

  #link(linkType: number): void {
    const { data, start, end } = this;
    switch (linkType) {
      case LINKTYPE.ETHERNET:
        if (end - start < 14) return this.#bad("link header is cut off");
        return this.#tagged(start + 14, u16(data, start + 12));
      case LINKTYPE.LINUX_SLL:
        if (end - start < 16) return this.#bad("link header is cut off");
        return this.#tagged(start + 16, u16(data, start + 14));
      case LINKTYPE.LINUX_SLL2:
        if (end - start < 20) return this.#bad("link header is cut off");
        return this.#tagged(start + 20, u16(data, start));
      case LINKTYPE.NULL:
      case LINKTYPE.LOOP:
        // The family's number differs by system; the version nibble does not.
        if (end - start < 4) return this.#bad("link header is cut off");
        return this.#raw(start + 4);
      case LINKTYPE.RAW:
      case LINKTYPE.RAW_BSD:
      case LINKTYPE.RAW_OPENBSD:
      case LINKTYPE.IPV4:
      case LINKTYPE.IPV6:
        return this.#raw(start);
      default:
        // Not looked into: the frame is forwarded and captured all the same.
        return;
    }
  }

  #raw(at: number): void {
    if (at >= this.end) return this.#bad("network header is cut off");
    const version = (this.data[at] as number) >> 4;
    if (version === 4) return this.#ipv4(at);
    if (version === 6) return this.#ipv6(at);
    this.#bad("wrong IP version");
  }

  #tagged(at: number, type: number): void {
    const { data, end } = this;
    while (
      type === ETHERTYPE.VLAN || type === ETHERTYPE.QINQ || type === ETHERTYPE.QINQ_OLD
    ) {
      if (this.tags === MAX_TAGS) return this.#bad("too many tags");
      if (end - at < 4) return this.#bad("link header is cut off");
      if (this.tags++ === 0) this.vlan = u16(data, at);
      type = u16(data, at + 2);
      at += 4;
    }
    this.etherType = type;
    if (type === ETHERTYPE.IPV4) return this.#ipv4(at);
    if (type === ETHERTYPE.IPV6) return this.#ipv6(at);
    if (type === ETHERTYPE.PPPOE) return this.#pppoe(at);
    if (type === ETHERTYPE.MPLS || type === ETHERTYPE.MPLS_MULTICAST) return this.#mpls(at);
  }

  /** RFC 2516: 6 bytes of PPPoE, then PPP's protocol. */
  #pppoe(at: number): void {
    if (this.end - at < 8) return this.#bad("link header is cut off");
    const protocol = u16(this.data, at + 6);
    if (protocol === 0x0021) return this.#ipv4(at + 8);
    if (protocol === 0x0057) return this.#ipv6(at + 8);
  }

  /** RFC 3032: labels up to the bottom of the stack; what follows is told by its version nibble alone. */
  #mpls(at: number): void {
    for (let labels = 0; labels < MAX_TAGS; labels++) {
      if (this.end - at < 4) return this.#bad("link header is cut off");
      const bottom = ((this.data[at + 2] as number) & 1) === 1;
      at += 4;
      if (!bottom) continue;
      const version = at < this.end ? (this.data[at] as number) >> 4 : 0;
      if (version === 4) return this.#ipv4(at);
      if (version === 6) return this.#ipv6(at);
      return;
    }
    this.#bad("too many tags");
  }

  #ipv4(at: number): void {
    const { data, end } = this;
    if (end - at < 20) return this.#bad("network header is cut off");
    const first = data[at] as number;
    if (first >> 4 !== 4) return this.#bad("wrong IP version");
    const headerLength = (first & 15) * 4;
    if (headerLength < 20) return this.#bad("header length is too short");
    if (end - at < headerLength) return this.#bad("network header is cut off");
    let total = u16(data, at + 2);
    // Large frames of segmentation offload, captured before they were cut, tell no length.
    if (total === 0) total = end - at;
    if (total < headerLength) return this.#bad("packet is shorter than its header");
    this.version = 4;
    this.network = at;
    this.addresses = at + 12;
    this.ttl = data[at + 8] as number;
    this.protocol = data[at + 9] as number;
    this.transport = at + headerLength;
    this.networkEnd = at + total;
    const bits = u16(data, at + 6);
    this.dontFragment = (bits & 0x4000) !== 0;
    if ((bits & 0x3fff) !== 0) {
      this.fragment = true;
      this.fragmentOffset = (bits & 0x1fff) * 8;
      this.moreFragments = (bits & 0x2000) !== 0;
      this.fragmentId = u16(data, at + 4);
    }
    if (this.networkEnd > end) {
      this.networkEnd = end;
      this.#bad("packet is longer than the frame");
    }
    this.#transport();
  }

  #ipv6(at: number): void {
    const { data, end } = this;
    if (end - at < 40) return this.#bad("network header is cut off");
    if ((data[at] as number) >> 4 !== 6) return this.#bad("wrong IP version");
    this.version = 6;
    this.network = at;
    this.addresses = at + 8;
    this.ttl = data[at + 7] as number;
    const length = u16(data, at + 4);
    // 0 with a jumbo payload (RFC 2675), or with segmentation offload: the frame's end decides.
    this.networkEnd = length === 0 ? end : at + 40 + length;
    if (this.networkEnd > end) {
      this.networkEnd = end;
      this.malformed = "packet is longer than the frame";
    }
    this.protocol = data[at + 6] as number;
    this.transport = at + 40;
    if (this.#extensions()) this.#transport();
  }

  /** Walks the chain of extension headers. False when there is nothing behind it to read. */
  #extensions(): boolean {
    const { data } = this;
    for (let count = 0;; count++) {
      const at = this.transport;
      const left = this.networkEnd - at;
      let length: number;
      switch (this.protocol) {
        case PROTOCOL.HOP_BY_HOP:
        case PROTOCOL.ROUTING:
        case PROTOCOL.DESTINATION:
        case PROTOCOL.MOBILITY:
          if (left < 8) return this.#cut();
          length = ((data[at + 1] as number) + 1) * 8;
          break;
        case PROTOCOL.AUTHENTICATION:
          if (left < 8) return this.#cut();
          length = ((data[at + 1] as number) + 2) * 4;
          break;
        case PROTOCOL.FRAGMENT: {
          if (left < 8) return this.#cut();
          length = 8;
          const bits = u16(data, at + 2);
          if ((bits & 0xfff9) !== 0) {
            this.fragment = true;
            this.fragmentOffset = bits & 0xfff8;
            this.moreFragments = (bits & 1) !== 0;
            this.fragmentId = u32(data, at + 4);
          }
          break;
        }
        default:
          return true;
      }
      if (count === MAX_EXTENSIONS) {
        this.#bad("too many extension headers");
        return false;
      }
      if (left < length) return this.#cut();
      if (this.protocol === PROTOCOL.ROUTING) this.#routing(at, length);
      this.protocol = data[at] as number;
      this.transport = at + length;
      // What follows in a later fragment is payload, whatever the header says it begins with.
      if (this.fragment && this.fragmentOffset > 0) return true;
    }
  }

  /** Type 0 (RFC 2460 4.4) and 2 (RFC 6275 6.4): the last address is where the packet goes in the end. */
  #routing(at: number, length: number): void {
    const type = this.data[at + 2];
    const segmentsLeft = this.data[at + 3] as number;
    if ((type === 0 || type === 2) && segmentsLeft > 0 && length >= 24) {
      this.#finalDestination = at + length - 16;
    }
  }

  #cut(): false {
    this.#bad("extension header is cut off");
    return false;
  }

  #transport(): void {
    const at = this.transport;
    this.payload = at;
    this.payloadEnd = this.networkEnd;
    if (this.fragment && this.fragmentOffset > 0) return;
    if (this.protocol === PROTOCOL.TCP) this.#tcp(at);
    else if (this.protocol === PROTOCOL.UDP) this.#udp(at);
  }

  #tcp(at: number): void {
    const { data, networkEnd } = this;
    if (networkEnd - at < 20) return this.#bad("transport header is cut off");
    const headerLength = ((data[at + 12] as number) >> 4) * 4;
    if (headerLength < 20) return this.#bad("header length is too short");
    this.#ports(at);
    this.isTcp = true;
    this.sequence = u32(data, at + 4);
    this.acknowledgement = u32(data, at + 8);
    this.tcpFlags = data[at + 13] as number;
    this.window = u16(data, at + 14);
    this.urgent = u16(data, at + 18);
    this.payload = at + headerLength;
    if (this.payload > networkEnd) {
      this.payload = networkEnd;
      this.#bad("transport header is cut off");
    }
  }

  #udp(at: number): void {
    const { data, networkEnd } = this;
    if (networkEnd - at < 8) return this.#bad("transport header is cut off");
    this.#ports(at);
    this.isUdp = true;
    this.payload = at + 8;
    const length = u16(data, at + 4);
    if (length === 0 && this.version === 6) return; // a jumbogram (RFC 2675)
    if (length < 8) return this.#bad("UDP length is wrong");
    if (at + length > networkEnd) {
      // A fragment holds only the beginning of what the header counts.
      if (!this.moreFragments || !this.fragment) this.#bad("UDP length is wrong");
      return;
    }
    this.payloadEnd = at + length;
  }

  #ports(at: number): void {
    this.hasPorts = true;
    this.sourcePort = u16(this.data, at);
    this.destinationPort = u16(this.data, at + 2);
  }

  /** The first thing that is wrong is what is told. */
  #bad(what: Malformed): void {
    if (this.malformed === "none") this.malformed = what;
  }
}

/** 16 bits in network order. The caller has made sure that they are there. */
export function u16(data: Uint8Array, at: number): number {
  return ((data[at] as number) << 8) | (data[at + 1] as number);
}

/** 32 bits in network order, not negative. The caller has made sure that they are there. */
export function u32(data: Uint8Array, at: number): number {
  return (((data[at] as number) << 24) | ((data[at + 1] as number) << 16) |
    ((data[at + 2] as number) << 8) | (data[at + 3] as number)) >>> 0;
}
