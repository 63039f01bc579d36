/**
 * Elements of nftables sets over raw netlink: atomic transactions of adds and deletes, and reads of
 * single elements' counters. A hundred times faster than text through libnftables, and not slower
 * with a million elements present.
 *
 * @module
 */
import { NETLINK, type NetlinkFailure, NetlinkSocket } from "./netlink.ts";
import { align4, MessageWriter, NLM_F, NLMSG, NLMSG_HDRLEN } from "./netlink_message.ts";
import {
  NFNL_MSG_BATCH,
  NFNL_SUBSYS_NFTABLES,
  NFPROTO_INET,
  NFT_MSG,
  NFTA_DATA_VALUE,
  NFTA_LIST_ELEM,
  NFTA_SET_ELEM,
  NFTA_SET_ELEM_LIST,
} from "./nftables_protocol.ts";

/**
 * A set whose keys have `keyBytes` bytes (a concatenation pads each of its fields to 4), or a map from such
 * keys to values of `dataBytes`.
 */
export interface ElementSet {
  readonly name: string;
  readonly keyBytes: number;
  readonly dataBytes?: number;
}

/** What one step of a transaction does with an element. `destroy` needs kernel 6.3 or later. */
export type ElementAction = "add" | "delete" | "destroy";

/** Why a transaction was undone: `element` is the number of the step to blame, or -1. */
export interface TransactionFailure extends NetlinkFailure {
  readonly element: number;
}

const MESSAGE_TYPE: Record<ElementAction, number> = {
  add: NFT_MSG.NEWSETELEM,
  delete: NFT_MSG.DELSETELEM,
  destroy: NFT_MSG.DESTROYSETELEM,
};

const BUFFER = 1 << 20;
/** A list attribute's length is 16 bits wide; the rest is for the largest element. */
const LIST_LIMIT = 0xffff - 128;
/** Bytes of an element besides its key: list element, key and value headers. */
const ELEMENT_OVERHEAD = 12;
/** Bytes of the two 64-bit attributes that carry a lease. */
const LEASE_BYTES = 24;
/** Bytes of a map's value besides the value itself. */
const DATA_OVERHEAD = 8;
/** NFT_DATA_VALUE_MAXLEN; a key and a value together are not longer either. */
const LARGEST_KEY = 64;
/** The longest set name that is used. */
const SET_NAME = 32;
const NLA_NESTED = 0x8000;
const END_RESERVE = 64;
const LARGEST_ELEMENT = ELEMENT_OVERHEAD + LARGEST_KEY + LEASE_BYTES;

/**
 * One transaction at a time over the elements of one table: {@link begin}, {@link step} for each
 * element, {@link commit}. The kernel applies all steps or none.
 */
export class ElementTransaction {
  /** Where {@link step} tells the caller to put the key's words (network byte order in memory). */
  readonly words: Uint32Array<ArrayBuffer>;
  /** Steps in the transaction. */
  count = 0;
  readonly #socket: NetlinkSocket;
  readonly #writer = new MessageWriter(BUFFER);
  readonly #table: string;
  /** The most that the start of a message takes. */
  readonly #messageBytes: number;
  readonly #steps = new Uint32Array(BUFFER / 24);
  #first = 0;
  #sequence = 0;
  #message = -1;
  #list = -1;
  #set: ElementSet | undefined;
  #action: ElementAction = "add";
  /** The last lease and its two words, since most of a batch have the same. */
  #lease = 0;
  #leaseHigh = 0;
  #leaseLow = 0;
  /** For each message of the transaction: its sequence number and where it starts. */
  readonly #messages = new Map<number, number>();

  /** @throws {SystemError} without the right to administer the network. */
  constructor(table: string) {
    this.#table = table;
    this.#messageBytes = 64 + table.length + SET_NAME;
    this.words = this.#writer.words;
    this.#socket = new NetlinkSocket(NETLINK.NETFILTER, {
      receiveBuffer: 4 << 20,
      sendBuffer: 4 * BUFFER,
    });
  }

  /** Starts an empty transaction. */
  begin(): void {
    const w = this.#writer;
    w.reset();
    this.count = 0;
    this.#message = -1;
    this.#set = undefined;
    this.#messages.clear();
    this.#first = this.#socket.nextSequence();
    w.begin(NFNL_MSG_BATCH.BEGIN, NLM_F.REQUEST, this.#first);
    w.nfgen(0, NFNL_SUBSYS_NFTABLES);
    w.end();
  }

  /** True when so many steps more fit in this transaction, whatever they are. */
  fits(steps: number): boolean {
    return this.#writer.room - END_RESERVE >= steps * (LARGEST_ELEMENT + this.#messageBytes);
  }

  /**
   * Adds a step. The caller must write the key to {@link words}, from the returned place on, at once.
   *
   * @param lease milliseconds until the kernel drops an added element; 0 for never
   * @returns the place of the key in words, or -1 when the transaction is full: commit first. The value of
   * a map's new element is written {@link dataOffset} words further on.
   */
  step(action: ElementAction, set: ElementSet, lease: number): number {
    const w = this.#writer;
    const padded = align4(set.keyBytes);
    const leased = lease > 0 && action === "add";
    const valued = action === "add" && set.dataBytes !== undefined;
    const data = valued ? DATA_OVERHEAD + align4(set.dataBytes ?? 0) : 0;
    const size = ELEMENT_OVERHEAD + padded + data + (leased ? LEASE_BYTES : 0);
    if (w.room < size + END_RESERVE + this.#messageBytes) return -1;
    if (
      this.#set !== set || this.#action !== action || w.length - this.#list + size > LIST_LIMIT
    ) {
      this.#nextMessage(action, set);
    }
    const at = w.length >> 2;
    const words = w.words;
    this.#steps[this.count++] = w.length;
    words[at] = size | ((NFTA_LIST_ELEM | NLA_NESTED) << 16);
    words[at + 1] = (padded + 8) | ((NFTA_SET_ELEM.KEY | NLA_NESTED) << 16);
    words[at + 2] = (set.keyBytes + 4) | (NFTA_DATA_VALUE << 16);
    if (valued) {
      const value = at + 3 + (padded >> 2);
      words[value] = data | ((NFTA_SET_ELEM.DATA | NLA_NESTED) << 16);
      words[value + 1] = ((set.dataBytes ?? 0) + 4) | (NFTA_DATA_VALUE << 16);
    }
    if (leased) {
      // The expiry is given too: with an unchanged timeout alone the kernel would not renew it.
      const end = at + 3 + ((padded + data) >> 2);
      if (lease !== this.#lease) {
        this.#lease = lease;
        this.#leaseHigh = swap32(Math.floor(lease / 0x1_0000_0000));
        this.#leaseLow = swap32(lease >>> 0);
      }
      const high = this.#leaseHigh;
      const low = this.#leaseLow;
      words[end] = 12 | (NFTA_SET_ELEM.TIMEOUT << 16);
      words[end + 1] = high;
      words[end + 2] = low;
      words[end + 3] = 12 | (NFTA_SET_ELEM.EXPIRATION << 16);
      words[end + 4] = high;
      words[end + 5] = low;
    }
    w.length += size;
    return at + 3;
  }

  /**
   * Has the kernel apply all steps.
   *
   * @returns undefined when it did, or why it applied none of them.
   * @throws {Error} when the outcome cannot be known.
   */
  commit(): TransactionFailure | undefined {
    if (this.count === 0) return undefined;
    const w = this.#writer;
    this.#endMessage(NLM_F.ACK);
    const last = this.#sequence;
    const end = this.#socket.nextSequence();
    w.begin(NFNL_MSG_BATCH.END, NLM_F.REQUEST, end);
    w.nfgen(0, NFNL_SUBSYS_NFTABLES);
    w.end();
    this.#socket.discard();
    this.#socket.send(w);
    return this.#outcome(last);
  }

  /** Lets go of the socket. */
  close(): void {
    this.#socket.close();
  }

  /**
   * Errors come in the order of the messages, and the last message is always acknowledged, except
   * when the whole batch was refused: then the answer bears the first message's number.
   */
  #outcome(last: number): TransactionFailure | undefined {
    const socket = this.#socket;
    let failure: TransactionFailure | undefined;
    for (;;) {
      const n = socket.receive();
      if (n === 0) {
        if (failure !== undefined) return failure;
        throw new Error("The kernel did not acknowledge an nftables transaction");
      }
      for (let at = 0; at + NLMSG_HDRLEN <= n;) {
        const length = socket.view.getUint32(at, true);
        if (length < NLMSG_HDRLEN) break;
        if (socket.view.getUint16(at + 4, true) === NLMSG.ERROR) {
          const sequence = socket.view.getUint32(at + 8, true);
          const found = socket.failure(at);
          if (found !== undefined) failure ??= { ...found, element: this.#blame(sequence, found) };
          if (sequence === last) return failure;
        }
        at += (length + 3) & ~3;
      }
    }
  }

  /** The step that an error's message and offset point at; older kernels give no offset. */
  #blame(sequence: number, failure: NetlinkFailure): number {
    const start = this.#messages.get(sequence);
    if (start === undefined || failure.offset < 0) return -1;
    const at = start + failure.offset;
    let low = 0;
    let high = this.count - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const step = this.#steps[middle] as number;
      if (step === at) return middle;
      if (step < at) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  #nextMessage(action: ElementAction, set: ElementSet): void {
    this.#endMessage(0);
    const w = this.#writer;
    this.#set = set;
    this.#action = action;
    this.#sequence = this.#socket.nextSequence();
    this.#message = w.begin(
      MESSAGE_TYPE[action],
      NLM_F.REQUEST | (action === "add" ? NLM_F.CREATE : 0),
      this.#sequence,
    );
    this.#messages.set(this.#sequence, this.#message);
    this.#list = beginElements(w, this.#table, set.name);
  }

  #endMessage(flags: number): void {
    if (this.#message < 0) return;
    const w = this.#writer;
    w.endNest(this.#list);
    w.end();
    const word = (this.#message >> 2) + 1;
    w.words[word] = (w.words[word] as number) | (flags << 16);
  }
}

/** Words from a new map element's key to its value. */
export function dataOffset(set: ElementSet): number {
  return (align4(set.keyBytes) + DATA_OVERHEAD) >> 2;
}

/** Writes what a message about a set's elements starts with; returns the open list attribute. */
export function beginElements(writer: MessageWriter, table: string, set: string): number {
  writer.nfgen(NFPROTO_INET, 0);
  writer.string(NFTA_SET_ELEM_LIST.TABLE, table);
  writer.string(NFTA_SET_ELEM_LIST.SET, set);
  return writer.beginNest(NFTA_SET_ELEM_LIST.ELEMENTS);
}

/** Turns a 32-bit number between host and network order. */
export function swap32(value: number): number {
  return ((value & 0xff) << 24 | (value & 0xff00) << 8 | (value >>> 8) & 0xff00 | value >>> 24) >>>
    0;
}
