/**
 * Reads elements of nftables sets over raw netlink: single ones with their counters, many at a time,
 * and whole sets.
 *
 * @module
 */
import { E, errno, libc, SystemError } from "./libc.ts";
import { NETLINK, NetlinkError, NetlinkOverrun, NetlinkSocket } from "./netlink.ts";
import {
  align4,
  attributeEnd,
  eachAttribute,
  findAttribute,
  MessageWriter,
  NLM_F,
  NLMSG,
  NLMSG_HDRLEN,
} from "./netlink_message.ts";
import {
  NFT_MSG,
  NFTA_COUNTER,
  NFTA_DATA_VALUE,
  NFTA_EXPR,
  NFTA_LIST_ELEM,
  NFTA_SET_ELEM,
  NFTA_SET_ELEM_LIST,
} from "./nftables_protocol.ts";
import { beginElements, type ElementSet } from "./nftables_elements.ts";

/** What one element has let through, and how long it lives yet. */
export interface ElementState {
  packets: number;
  bytes: number;
  /** Milliseconds until the kernel drops it; -1 without a timeout. */
  expires: number;
}

/** Datagrams taken with one recvmmsg call, and room for each (an element needs about 200 bytes). */
const VECTOR = 128;
const SLOT = 1024;
const MMSGHDR = 64;
/** Keys asked for at a time: their answers must fit the receive buffer (about 5 KiB each there). */
const KEYS_AT_A_TIME = 512;
const MSG_DONTWAIT = 0x40;

/** Point reads and dumps of the sets of one table. */
export class ElementReader {
  readonly #socket: NetlinkSocket;
  readonly #writer = new MessageWriter(1 << 17);
  readonly #table: string;
  readonly #slots = new Uint8Array(new ArrayBuffer(VECTOR * SLOT));
  readonly #view = new DataView(this.#slots.buffer);
  readonly #vector = new Uint8Array(new ArrayBuffer(VECTOR * MMSGHDR));
  readonly #vectorView = new DataView(this.#vector.buffer);
  readonly #iovecs = new BigUint64Array(new ArrayBuffer(VECTOR * 16));

  /** @throws {SystemError} without the right to administer the network. */
  constructor(table: string) {
    this.#table = table;
    this.#socket = new NetlinkSocket(NETLINK.NETFILTER, { receiveBuffer: 8 << 20 });
    const slots = address(this.#slots);
    const iovecs = address(this.#iovecs);
    for (let i = 0; i < VECTOR; i++) {
      this.#iovecs[i * 2] = slots + BigInt(i * SLOT);
      this.#iovecs[i * 2 + 1] = BigInt(SLOT);
      this.#vectorView.setBigUint64(i * MMSGHDR + 16, iovecs + BigInt(i * 16), true);
      this.#vectorView.setBigUint64(i * MMSGHDR + 24, 1n, true);
    }
  }

  /**
   * Reads `count` elements. `key(i, words, at)` writes the i-th key to `words` from `at` on;
   * `found(i, state)` gets what was read, with the same object every time, for elements that exist.
   *
   * @throws {NetlinkError} when the kernel refuses for another reason than a missing element.
   */
  read(
    set: ElementSet,
    count: number,
    key: (i: number, words: Uint32Array, at: number) => void,
    found: (i: number, state: ElementState) => void,
  ): void {
    const state: ElementState = { packets: 0, bytes: 0, expires: -1 };
    for (let from = 0; from < count; from += KEYS_AT_A_TIME) {
      const n = Math.min(KEYS_AT_A_TIME, count - from);
      this.#ask(set, from, n, key, (i, start, end) => {
        readElement(this.#view, start, end, state);
        found(i, state);
      });
    }
  }

  /**
   * Reads a whole set; `visit(view, key, state)` gets each element, `key` being the place of its
   * key's bytes in `view`. A set that changes meanwhile may show elements twice or not at all.
   * Quadratic in the kernel (each 32 KiB starts anew): about a minute for a million elements.
   *
   * @throws {NetlinkError} e.g. ENOENT without the set.
   */
  dump(
    set: ElementSet,
    visit: (view: DataView, key: number, state: ElementState) => void,
  ): void {
    const w = this.#writer;
    const sequence = this.#socket.nextSequence();
    w.reset();
    w.begin(NFT_MSG.GETSETELEM, NLM_F.REQUEST | NLM_F.DUMP, sequence);
    w.endNest(beginElements(w, this.#table, set.name));
    w.end();
    const view = this.#socket.view;
    const state: ElementState = { packets: 0, bytes: 0, expires: -1 };
    const failure = this.#socket.request(w, sequence, (type, start, end) => {
      if (type !== NFT_MSG.NEWSETELEM) return;
      const list = findAttribute(view, NFTA_SET_ELEM_LIST.ELEMENTS, start + 4, end);
      if (list < 0) return;
      eachAttribute(view, list + 4, attributeEnd(view, list), (_, from, to) => {
        const key = readElement(view, from, to, state);
        if (key >= 0) visit(view, key, state);
      });
    });
    if (failure !== undefined && failure.code !== E.INTR) {
      throw new NetlinkError(`read set ${set.name}`, failure.code, failure.text, failure.offset);
    }
  }

  /** Lets go of the socket. */
  close(): void {
    this.#socket.close();
  }

  /** One request a key, all in one datagram: an absent element then spoils no other's answer. */
  #ask(
    set: ElementSet,
    from: number,
    n: number,
    key: (i: number, words: Uint32Array, at: number) => void,
    answer: (i: number, start: number, end: number) => void,
  ): void {
    const w = this.#writer;
    let first = 0;
    w.reset();
    for (let i = 0; i < n; i++) {
      const sequence = this.#socket.nextSequence();
      if (i === 0) first = sequence;
      w.begin(NFT_MSG.GETSETELEM, NLM_F.REQUEST, sequence);
      const list = beginElements(w, this.#table, set.name);
      const element = w.beginNest(NFTA_LIST_ELEM);
      const nest = w.beginNest(NFTA_SET_ELEM.KEY);
      key(from + i, w.words, w.reserve(NFTA_DATA_VALUE, set.keyBytes));
      w.endNest(nest);
      w.endNest(element);
      w.endNest(list);
      w.end();
    }
    this.#socket.discard();
    this.#socket.send(w);
    for (let got = 0; got < n;) {
      const datagrams = this.#receive();
      if (datagrams === 0) throw new Error(`The kernel answered ${got} of ${n} element reads`);
      for (let d = 0; d < datagrams; d++) {
        const at = d * SLOT;
        const type = this.#view.getUint16(at + 4, true);
        const end = at + Math.min(SLOT, this.#view.getUint32(at, true));
        const index = (this.#view.getUint32(at + 8, true) - first) >>> 0;
        if (index >= n) continue;
        got++;
        if (type === NLMSG.ERROR) {
          const code = -this.#view.getInt32(at + NLMSG_HDRLEN, true);
          if (code !== E.NOENT) throw new NetlinkError(`read set ${set.name}`, code, "", -1);
        } else {
          const start = at + NLMSG_HDRLEN + 4;
          const list = findAttribute(this.#view, NFTA_SET_ELEM_LIST.ELEMENTS, start, end);
          if (list >= 0) answer(from + index, list + 8, attributeEnd(this.#view, list));
        }
      }
    }
  }

  #receive(): number {
    for (;;) {
      const n = libc.recvmmsg(this.#socket.fd, this.#vector, VECTOR, MSG_DONTWAIT, null);
      if (n >= 0) return n;
      const code = errno();
      if (code === E.AGAIN) return 0;
      if (code === E.NOBUFS) throw new NetlinkOverrun();
      if (code !== E.INTR) throw new SystemError("recvmmsg", code);
    }
  }
}

/** Reads the element whose attributes are in `start .. end`; returns where its key is, or -1. */
function readElement(view: DataView, start: number, end: number, state: ElementState): number {
  state.packets = 0;
  state.bytes = 0;
  state.expires = -1;
  let key = -1;
  for (let at = start; at + 4 <= end;) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > end) break;
    switch (view.getUint16(at + 2, true) & 0x3fff) {
      case NFTA_SET_ELEM.KEY:
        key = at + 8;
        break;
      case NFTA_SET_ELEM.EXPIRATION:
        state.expires = view.getUint32(at + 4) * 0x1_0000_0000 + view.getUint32(at + 8);
        break;
      case NFTA_SET_ELEM.EXPR:
        readCounter(view, at + 4, at + length, state);
        break;
    }
    at += align4(length);
  }
  return key;
}

function readCounter(view: DataView, start: number, end: number, state: ElementState): void {
  const data = findAttribute(view, NFTA_EXPR.DATA, start, end);
  if (data < 0) return;
  const stop = attributeEnd(view, data);
  for (let at = data + 4; at + 12 <= stop; at += align4(view.getUint16(at, true))) {
    const type = view.getUint16(at + 2, true) & 0x3fff;
    const value = view.getUint32(at + 4) * 0x1_0000_0000 + view.getUint32(at + 8);
    if (type === NFTA_COUNTER.BYTES) state.bytes = value;
    if (type === NFTA_COUNTER.PACKETS) state.packets = value;
    if (view.getUint16(at, true) < 4) return;
  }
}

function address(view: Uint8Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(view)));
}
