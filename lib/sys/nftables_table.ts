/**
 * What an nftables table consists of, read over raw netlink. (libnftables would read every element of
 * every set first, which takes minutes in a large table.)
 *
 * @module
 */
import { E } from "./libc.ts";
import { NETLINK, NetlinkError, NetlinkSocket } from "./netlink.ts";
import {
  attributeEnd,
  findAttribute,
  MessageWriter,
  NLM_F,
  readString,
} from "./netlink_message.ts";
import {
  NFPROTO_INET,
  NFT_MSG,
  NFTA_CHAIN,
  NFTA_CHAIN_HOOK,
  NFTA_COUNTER,
  NFTA_EXPR,
  NFTA_FLOWTABLE,
  NFTA_OBJ,
  NFTA_SET,
  NFTA_SET_DESC_SIZE,
  NFTA_TABLE,
} from "./nftables_protocol.ts";

/** A set's make. `size` 0: without limit. `keyType` has 6 bits for each field's type. */
export interface SetShape {
  readonly name: string;
  readonly flags: number;
  readonly keyType: number;
  readonly keyLength: number;
  readonly size: number;
  /** Elements in it, expired ones that were not freed yet included; undefined before Linux 6.16. */
  readonly count: number | undefined;
  /** Milliseconds between two walks by which the kernel frees what has expired; 0: its default. */
  readonly gcInterval: number;
  /** Each element counts its packets. */
  readonly counted: boolean;
}

/** A chain. `hook`, `priority` and `policy` (1 accept, 0 drop) are undefined for a regular chain. */
export interface ChainShape {
  readonly name: string;
  readonly type: string | undefined;
  readonly hook: number | undefined;
  readonly priority: number | undefined;
  readonly policy: number | undefined;
}

/** A named object; `packets` and `bytes` are 0 for others than counters. */
export interface ObjectShape {
  readonly name: string;
  readonly type: number;
  readonly packets: number;
  readonly bytes: number;
}

/** A table of family inet. */
export interface TableShape {
  readonly flags: number;
  readonly sets: readonly SetShape[];
  readonly chains: readonly ChainShape[];
  readonly objects: readonly ObjectShape[];
  readonly flowtables: readonly string[];
}

/** Reads tables of family inet. */
export class TableReader {
  readonly #socket: NetlinkSocket;
  readonly #writer = new MessageWriter(4096);

  /** @throws {SystemError} in a kernel without netfilter's netlink. */
  constructor() {
    this.#socket = new NetlinkSocket(NETLINK.NETFILTER, { receiveBuffer: 4 << 20 });
  }

  /**
   * Reads a table.
   *
   * @returns undefined when there is no table of this name.
   * @throws {NetlinkError} e.g. EPERM without the right to administer the network.
   */
  read(name: string): TableShape | undefined {
    const flags = this.#flags(name);
    if (flags === undefined) return undefined;
    return {
      flags,
      sets: this.sets(name),
      chains: this.#dump(
        NFT_MSG.GETCHAIN,
        NFTA_CHAIN.TABLE,
        name,
        (at, end) => this.#chain(at, end),
      ),
      objects: this.objects(name),
      flowtables: this.#dump(
        NFT_MSG.GETFLOWTABLE,
        NFTA_FLOWTABLE.TABLE,
        name,
        (at, end) => this.#string(NFTA_FLOWTABLE.NAME, at, end) ?? "",
      ),
    };
  }

  /** The sets of a table; none when there is no such table. */
  sets(table: string): SetShape[] {
    return this.#dump(NFT_MSG.GETSET, NFTA_SET.TABLE, table, (at, end) => this.#set(at, end));
  }

  /** The named objects (counters and others) of a table; none when there is no such table. */
  objects(table: string): ObjectShape[] {
    return this.#dump(NFT_MSG.GETOBJ, NFTA_OBJ.TABLE, table, (at, end) => this.#object(at, end));
  }

  /**
   * The rules of a table as the kernel tells them, as text that is equal for equal rules only, with
   * their handles: a rule that was taken away and put back is another one.
   */
  rules(table: string): string {
    const texts = this.#dump(NFT_MSG.GETRULE, NFTA_RULE_TABLE, table, (at, end) => {
      let text = "";
      for (const byte of this.#socket.bytes.subarray(at, end)) text += String.fromCharCode(byte);
      return text;
    });
    return texts.join("");
  }

  /** The number of the ruleset's generation: another one after every change that anybody makes. */
  generation(): number {
    const w = this.#writer;
    const sequence = this.#begin(NFT_MSG.GETGEN, NLM_F.REQUEST | NLM_F.ACK, 0);
    w.end();
    let id = 0;
    const failure = this.#socket.request(w, sequence, (_, start, end) => {
      const at = findAttribute(this.#socket.view, NFTA_GEN_ID, start + 4, end);
      if (at >= 0) id = this.#socket.view.getUint32(at + 4);
    });
    if (failure !== undefined) {
      throw new NetlinkError("read generation", failure.code, failure.text, failure.offset);
    }
    return id;
  }

  /** Lets go of the socket. */
  close(): void {
    this.#socket.close();
  }

  #flags(name: string): number | undefined {
    const w = this.#writer;
    const sequence = this.#begin(NFT_MSG.GETTABLE, NLM_F.REQUEST | NLM_F.ACK, NFPROTO_INET);
    w.string(NFTA_TABLE.NAME, name);
    w.end();
    let flags = 0;
    const failure = this.#socket.request(w, sequence, (_, start, end) => {
      flags = this.#u32(NFTA_TABLE.FLAGS, start + 4, end) ?? 0;
    });
    if (failure === undefined) return flags;
    if (failure.code === E.NOENT) return undefined;
    throw new NetlinkError(`read table ${name}`, failure.code, failure.text, failure.offset);
  }

  /** Dumps all objects of one kind and keeps those of the table. */
  #dump<T>(
    type: number,
    tableAttribute: number,
    table: string,
    read: (start: number, end: number) => T,
  ): T[] {
    // A change by somebody else breaks a dump off; it is read again, a few times.
    for (let attempt = 1;; attempt++) {
      const w = this.#writer;
      const sequence = this.#begin(type, NLM_F.REQUEST | NLM_F.DUMP, NFPROTO_INET);
      w.string(tableAttribute, table);
      w.end();
      const found: T[] = [];
      const failure = this.#socket.request(w, sequence, (_, start, end) => {
        if (this.#string(tableAttribute, start + 4, end) === table) {
          found.push(read(start + 4, end));
        }
      });
      if (failure === undefined) return found;
      if (failure.code === E.NOENT) return [];
      if (failure.code !== E.INTR || attempt === 10) {
        throw new NetlinkError(`read table ${table}`, failure.code, failure.text, failure.offset);
      }
    }
  }

  #set(start: number, end: number): SetShape {
    const view = this.#socket.view;
    const description = findAttribute(view, NFTA_SET.DESC, start, end);
    const size = description < 0
      ? 0
      : this.#u32(NFTA_SET_DESC_SIZE, description + 4, attributeEnd(view, description)) ?? 0;
    const expression = findAttribute(view, NFTA_SET.EXPR, start, end);
    return {
      name: this.#string(NFTA_SET.NAME, start, end) ?? "",
      flags: this.#u32(NFTA_SET.FLAGS, start, end) ?? 0,
      keyType: this.#u32(NFTA_SET.KEY_TYPE, start, end) ?? 0,
      keyLength: this.#u32(NFTA_SET.KEY_LEN, start, end) ?? 0,
      size,
      count: this.#u32(NFTA_SET.COUNT, start, end),
      gcInterval: this.#u32(NFTA_SET.GC_INTERVAL, start, end) ?? 0,
      counted: expression >= 0 &&
        this.#string(NFTA_EXPR.NAME, expression + 4, attributeEnd(view, expression)) === "counter",
    };
  }

  #chain(start: number, end: number): ChainShape {
    const view = this.#socket.view;
    const hook = findAttribute(view, NFTA_CHAIN.HOOK, start, end);
    const inHook = (type: number) =>
      hook < 0 ? undefined : this.#u32(type, hook + 4, attributeEnd(view, hook));
    const priority = inHook(NFTA_CHAIN_HOOK.PRIORITY);
    return {
      name: this.#string(NFTA_CHAIN.NAME, start, end) ?? "",
      type: this.#string(NFTA_CHAIN.TYPE, start, end),
      hook: inHook(NFTA_CHAIN_HOOK.HOOKNUM),
      priority: priority === undefined ? undefined : priority | 0,
      policy: this.#u32(NFTA_CHAIN.POLICY, start, end),
    };
  }

  #object(start: number, end: number): ObjectShape {
    const view = this.#socket.view;
    const data = findAttribute(view, NFTA_OBJ.DATA, start, end);
    const number = (type: number): number => {
      if (data < 0) return 0;
      const at = findAttribute(view, type, data + 4, attributeEnd(view, data));
      return at < 0 || view.getUint16(at, true) < 12
        ? 0
        : view.getUint32(at + 4) * 0x1_0000_0000 + view.getUint32(at + 8);
    };
    const type = this.#u32(NFTA_OBJ.TYPE, start, end) ?? 0;
    const counter = type === NFT_OBJECT_COUNTER;
    return {
      name: this.#string(NFTA_OBJ.NAME, start, end) ?? "",
      type,
      packets: counter ? number(NFTA_COUNTER.PACKETS) : 0,
      bytes: counter ? number(NFTA_COUNTER.BYTES) : 0,
    };
  }

  #begin(type: number, flags: number, family: number): number {
    const sequence = this.#socket.nextSequence();
    this.#writer.reset();
    this.#writer.begin(type, flags, sequence);
    this.#writer.nfgen(family, 0);
    return sequence;
  }

  #u32(type: number, start: number, end: number): number | undefined {
    const at = findAttribute(this.#socket.view, type, start, end);
    return at < 0 || this.#socket.view.getUint16(at, true) < 8
      ? undefined
      : this.#socket.view.getUint32(at + 4);
  }

  #string(type: number, start: number, end: number): string | undefined {
    const at = findAttribute(this.#socket.view, type, start, end);
    if (at < 0) return undefined;
    return readString(this.#socket.bytes, at + 4, attributeEnd(this.#socket.view, at));
  }
}

const NFTA_RULE_TABLE = 1;
const NFTA_GEN_ID = 1;
const NFT_OBJECT_COUNTER = 1;
