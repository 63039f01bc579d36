/**
 * Connection tracking over raw netlink (ctnetlink): finding and forgetting flows by part of their
 * original direction, without a process and without a dump of the whole table where the kernel can
 * filter itself (dumps from 5.8, deletion from 6.8).
 *
 * @module
 */
import { E } from "./libc.ts";
import { NETLINK, NetlinkError, type NetlinkFailure, NetlinkSocket } from "./netlink.ts";
import { attributeEnd, findAttribute, MessageWriter, NLM_F } from "./netlink_message.ts";

/** Part of a flow's original direction: who began it. Addresses are 4 or 16 bytes, of one family. */
export interface FlowFilter {
  readonly protocol: "tcp" | "udp";
  readonly source: Uint8Array;
  /** 0 for any. */
  readonly sourcePort: number;
  readonly destination: Uint8Array;
  readonly destinationPort: number;
}

/** A flow that conntrack knows, in its original direction. */
export interface Flow extends FlowFilter {
  /** The kernel's number of the entry, in network order as it came. */
  readonly id: number;
  readonly zone: number;
}

const CT_NEW = 0x100;
const CT_GET = 0x101;
const CT_DELETE = 0x102;
const AF_INET = 2;
const AF_INET6 = 10;
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, ID: 12, ZONE: 18, FILTER: 25 } as const;
const CTA_TUPLE = { IP: 1, PROTO: 2 } as const;
const CTA_IP = { V4_SRC: 1, V4_DST: 2, V6_SRC: 3, V6_DST: 4 } as const;
const CTA_PROTO = { NUM: 1, SRC_PORT: 2, DST_PORT: 3 } as const;
const CTA_FILTER = { ORIG_FLAGS: 1, REPLY_FLAGS: 2 } as const;
const FILTER_FLAG = {
  IP_SRC: 1 << 0,
  IP_DST: 1 << 1,
  PROTO_NUM: 1 << 3,
  PROTO_SRC_PORT: 1 << 4,
  PROTO_DST_PORT: 1 << 5,
} as const;
const TCP = 6;
const UDP = 17;
/** More filters than this are looked for in one dump (some 10 ms) instead of a walk each (0.3 ms). */
const WALKS = 32;
const ATTEMPTS = 10;

/** The connection tracking table of the current network namespace. */
export class Conntrack {
  readonly #socket: NetlinkSocket;
  readonly #writer = new MessageWriter(4096);
  /** What the kernel can do; found out by use. */
  #canFilterDelete = true;
  #canFilterDump = true;

  /** @throws {SystemError} in a kernel without netfilter's netlink. */
  constructor() {
    this.#socket = new NetlinkSocket(NETLINK.NETFILTER, { receiveBuffer: 4 << 20 });
  }

  /**
   * Forgets all flows that match one of the filters.
   *
   * @throws {NetlinkError} when the kernel refuses, e.g. EPERM or a kernel without ctnetlink.
   */
  forget(filters: readonly FlowFilter[]): void {
    if (filters.length <= WALKS) {
      for (const filter of filters) this.#forgetOne(filter);
      return;
    }
    const wanted = new Set(filters.map(filterKey));
    this.#forgetAll(
      undefined,
      (flow) => wanted.has(filterKey(flow)) || wanted.has(filterKey({ ...flow, sourcePort: 0 })),
    );
  }

  /** All flows that match the filter, or all TCP and UDP flows. */
  list(filter?: FlowFilter): Flow[] {
    const matches = (flow: Flow) => filter === undefined || matchesFilter(flow, filter);
    for (let attempt = 1;; attempt++) {
      const flows: Flow[] = [];
      const failure = this.#dump(filter, (flow) => {
        if (matches(flow)) flows.push(flow);
      });
      if (failure === undefined) return flows;
      if (failure.code === E.INTR && attempt < ATTEMPTS) continue;
      const unknown = failure.code === E.INVAL || failure.code === E.OPNOTSUPP;
      if (!this.#canFilterDump || filter === undefined || !unknown) throw refused(failure);
      this.#canFilterDump = false;
    }
  }

  /** Lets go of the socket. */
  close(): void {
    this.#socket.close();
  }

  #forgetOne(filter: FlowFilter): void {
    if (this.#canFilterDelete && filter.source.length === 4) {
      const failure = this.#request(CT_DELETE, NLM_F.ACK, filter, filter);
      if (failure === undefined || failure.code === E.NOENT) return;
      // A kernel that does not know the filter looks for one flow by its whole tuple, and refuses.
      if (failure.code !== E.INVAL && failure.code !== E.OPNOTSUPP) throw refused(failure);
      this.#canFilterDelete = false;
    }
    this.#forgetAll(filter, (flow) => matchesFilter(flow, filter));
  }

  #forgetAll(filter: FlowFilter | undefined, matches: (flow: Flow) => boolean): void {
    for (const flow of this.list(filter)) {
      if (!matches(flow)) continue;
      const failure = this.#request(CT_DELETE, NLM_F.ACK, flow, undefined, flow);
      if (failure !== undefined && failure.code !== E.NOENT) throw refused(failure);
    }
  }

  #dump(filter: FlowFilter | undefined, visit: (flow: Flow) => void): NetlinkFailure | undefined {
    const used = this.#canFilterDump ? filter : undefined;
    return this.#request(CT_GET, NLM_F.DUMP, used, used, undefined, (start, end) => {
      const flow = this.#readFlow(start, end);
      if (flow !== undefined) visit(flow);
    });
  }

  #request(
    type: number,
    flags: number,
    tuple: FlowFilter | undefined,
    filter: FlowFilter | undefined,
    entry?: Flow,
    visit?: (start: number, end: number) => void,
  ): NetlinkFailure | undefined {
    const w = this.#writer;
    const sequence = this.#socket.nextSequence();
    w.reset();
    w.begin(type, NLM_F.REQUEST | flags, sequence);
    const family = tuple === undefined ? 0 : tuple.source.length === 4 ? AF_INET : AF_INET6;
    w.nfgen(family, 0, filter === undefined ? 0 : 1);
    if (tuple !== undefined) this.#writeTuple(tuple);
    if (filter !== undefined) {
      const nest = w.beginNest(CTA.FILTER);
      w.u32(CTA_FILTER.ORIG_FLAGS, filterFlags(filter));
      w.u32(CTA_FILTER.REPLY_FLAGS, 0);
      w.endNest(nest);
    }
    if (entry !== undefined) {
      w.u32Net(CTA.ID, entry.id);
      if (entry.zone !== 0) w.u16Net(CTA.ZONE, entry.zone);
    }
    w.end();
    return this.#socket.request(w, sequence, (kind, start, end) => {
      if (kind === CT_NEW && visit !== undefined) visit(start, end);
    });
  }

  #writeTuple(t: FlowFilter): void {
    const w = this.#writer;
    const tuple = w.beginNest(CTA.TUPLE_ORIG);
    const ip = w.beginNest(CTA_TUPLE.IP);
    const four = t.source.length === 4;
    w.attribute(four ? CTA_IP.V4_SRC : CTA_IP.V6_SRC, t.source);
    w.attribute(four ? CTA_IP.V4_DST : CTA_IP.V6_DST, t.destination);
    w.endNest(ip);
    const proto = w.beginNest(CTA_TUPLE.PROTO);
    w.u8(CTA_PROTO.NUM, t.protocol === "tcp" ? TCP : UDP);
    if (t.sourcePort !== 0) w.u16Net(CTA_PROTO.SRC_PORT, t.sourcePort);
    w.u16Net(CTA_PROTO.DST_PORT, t.destinationPort);
    w.endNest(proto);
    w.endNest(tuple);
  }

  #readFlow(start: number, end: number): Flow | undefined {
    const { view, bytes } = this.#socket;
    const nested = (type: number, from: number, to: number): [number, number] | undefined => {
      const at = findAttribute(view, type, from, to);
      return at < 0 ? undefined : [at + 4, attributeEnd(view, at)];
    };
    const tuple = nested(CTA.TUPLE_ORIG, start + 4, end);
    const ip = tuple && nested(CTA_TUPLE.IP, ...tuple);
    const proto = tuple && nested(CTA_TUPLE.PROTO, ...tuple);
    if (ip === undefined || proto === undefined) return undefined;
    const source = nested(CTA_IP.V4_SRC, ...ip) ?? nested(CTA_IP.V6_SRC, ...ip);
    const destination = nested(CTA_IP.V4_DST, ...ip) ?? nested(CTA_IP.V6_DST, ...ip);
    const number = nested(CTA_PROTO.NUM, ...proto);
    const sourcePort = nested(CTA_PROTO.SRC_PORT, ...proto);
    const destinationPort = nested(CTA_PROTO.DST_PORT, ...proto);
    if (
      source === undefined || destination === undefined || number === undefined ||
      sourcePort === undefined || destinationPort === undefined
    ) return undefined;
    const protocol = view.getUint8(number[0]);
    if (protocol !== TCP && protocol !== UDP) return undefined;
    const id = nested(CTA.ID, start + 4, end);
    const zone = nested(CTA.ZONE, start + 4, end);
    return {
      protocol: protocol === TCP ? "tcp" : "udp",
      source: bytes.slice(...source),
      sourcePort: view.getUint16(sourcePort[0]),
      destination: bytes.slice(...destination),
      destinationPort: view.getUint16(destinationPort[0]),
      id: id === undefined ? 0 : view.getUint32(id[0]),
      zone: zone === undefined ? 0 : view.getUint16(zone[0]),
    };
  }
}

/**
 * What the kernel is to compare. It has IPv6 addresses the wrong way round (seen in 6.18: it takes the
 * flows whose addresses differ), so it must never delete by them; they are compared here.
 */
function filterFlags(filter: FlowFilter): number {
  return FILTER_FLAG.PROTO_NUM | FILTER_FLAG.PROTO_DST_PORT |
    (filter.sourcePort === 0 ? 0 : FILTER_FLAG.PROTO_SRC_PORT) |
    (filter.source.length === 4 ? FILTER_FLAG.IP_SRC | FILTER_FLAG.IP_DST : 0);
}

function filterKey(f: FlowFilter): string {
  return `${f.protocol} ${f.source} ${f.sourcePort} ${f.destination} ${f.destinationPort}`;
}

function matchesFilter(flow: FlowFilter, filter: FlowFilter): boolean {
  return filterKey(filter.sourcePort === 0 ? { ...flow, sourcePort: 0 } : flow) ===
    filterKey(filter);
}

function refused(failure: NetlinkFailure): NetlinkError {
  return new NetlinkError("conntrack", failure.code, failure.text, failure.offset);
}
