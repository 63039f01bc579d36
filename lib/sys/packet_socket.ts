/**
 * Frames of an interface over AF_PACKET (packet(7)), received and sent in batches: the kernel writes into
 * memory that JavaScript reads, and sends from the same memory. No call, callback or allocation for one frame.
 *
 * Every frame carries the kernel's virtio-net header (PACKET_VNET_HDR), so that what senders left to an
 * offload (large frames, unfinished checksums) can be handed on as it is. A VLAN tag, which the kernel takes out
 * of received frames, is put back.
 *
 * @module
 */
import type { BpfInstruction } from "../net/bpf.ts";
import { summedMemory } from "../net/word_sums.ts";
import { readInterface } from "./interfaces.ts";
import { check, E, errno, libc, SystemError } from "./libc.ts";

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const ETH_P_ALL = 3;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_ATTACH_FILTER = 26;
const SO_MARK = 36;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_MR_PROMISC = 1;
const PACKET_STATISTICS = 6;
const PACKET_AUXDATA = 8;
const PACKET_VNET_HDR = 15;
const PACKET_IGNORE_OUTGOING = 23;
const TP_STATUS_VLAN_VALID = 0x10;
const TP_STATUS_VLAN_TPID_VALID = 0x40;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;

/** Bytes of struct virtio_net_hdr, in front of every frame. */
export const VNET_HEADER = 10;
const NEEDS_CSUM = 1;
/** Room for a tag, and so that what follows the header is aligned as the kernel likes it. */
const HEADROOM = 22;
/** The largest frame: 64 KiB of packet, link header and tags. */
const LARGEST = 65_536 + 32;
const SLOT = 66 * 1024;

// struct mmsghdr: msghdr (56 bytes) and a length, padded; struct iovec; struct cmsghdr with tpacket_auxdata.
const MMSGHDR = 64;
const IOVEC = 16;
const CONTROL = 40;
const MSG = { IOV: 16, IOVLEN: 24, CONTROL: 32, CONTROLLEN: 40, FLAGS: 48, LEN: 56 } as const;

/** A frame in memory, with its virtio-net header {@link VNET_HEADER} bytes before it. */
export interface FrameMemory {
  /** The memory. */
  readonly data: Uint8Array<ArrayBuffer>;
  /** Its address, for the kernel. */
  readonly address: number;
}

/** Allocates memory for frames that can be sent. */
export function frameMemory(size: number): FrameMemory {
  const data = new Uint8Array(size);
  const pointer = Deno.UnsafePointer.of(data);
  return { data, address: Number(Deno.UnsafePointer.value(pointer)) };
}

/** The same, for memory whose checksums are computed: quicker, and there should be little of it. */
function summedFrameMemory(size: number): FrameMemory {
  const data = summedMemory(size);
  return { data, address: Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(data))) };
}

/** How an interface's frames are wanted. */
export interface PacketSocketOptions {
  /** Frames taken in one call, 64 without it. */
  readonly batch?: number;
  /** Bytes of the kernel's receive buffer. */
  readonly receiveBuffer?: number;
  /** Only frames that this program matches come at all. */
  readonly filter?: readonly BpfInstruction[];
  /** For sending only: nothing is received. */
  readonly sendOnly?: boolean;
  /** Mark of the frames that are sent (SO_MARK). */
  readonly mark?: number;
}

/** What the kernel counts. */
export interface PacketStatistics {
  /** Frames that came to the socket, those dropped too. */
  readonly received: number;
  /** Frames that found the buffer full. */
  readonly dropped: number;
}

/** One interface's frames, in promiscuous mode unless they are marked. */
export class PacketSocket {
  /** The descriptor, for epoll. */
  readonly fd: number;
  /** Interface name. */
  readonly name: string;
  /** Where received frames are. */
  readonly memory: FrameMemory;
  /** First byte of each frame received last. */
  readonly starts: Int32Array<ArrayBuffer>;
  /** The byte after its last one. */
  readonly ends: Int32Array<ArrayBuffer>;
  /** Frames cut off because they were larger than any should be; they are not among those received. */
  oversized = 0;
  readonly #batch: number;
  readonly #messages: DataView<ArrayBuffer>;
  readonly #messageBytes: Uint8Array<ArrayBuffer>;
  readonly #control: DataView<ArrayBuffer>;
  /** Structures that the kernel wrote to in the last call. */
  #used: number;
  #received = 0;
  #dropped = 0;

  /**
   * Opens an interface. Its own stack still gets the frames: see {@link silenceStack}.
   *
   * @throws {SystemError} without the right to, or when there is no such interface.
   */
  constructor(name: string, options: PacketSocketOptions = {}) {
    const { index } = readInterface(name);
    this.name = name;
    this.#batch = options.batch ?? 64;
    this.#used = this.#batch;
    this.memory = summedFrameMemory(SLOT * this.#batch);
    this.starts = new Int32Array(this.#batch);
    this.ends = new Int32Array(this.#batch);
    // One piece of memory for what only the kernel's structures point to: the view keeps it.
    const aside = frameMemory((CONTROL + IOVEC) * this.#batch);
    const vectors = aside.address + CONTROL * this.#batch;
    this.#control = new DataView(aside.data.buffer);
    this.#messageBytes = new Uint8Array(MMSGHDR * this.#batch);
    this.#messages = new DataView(this.#messageBytes.buffer);
    for (let i = 0; i < this.#batch; i++) {
      const iov = (CONTROL * this.#batch) + i * IOVEC;
      setU64(this.#control, iov, this.memory.address + i * SLOT + HEADROOM);
      setU64(this.#control, iov + 8, LARGEST + VNET_HEADER);
      setU64(this.#messages, i * MMSGHDR + MSG.IOV, vectors + i * IOVEC);
      setU64(this.#messages, i * MMSGHDR + MSG.IOVLEN, 1);
      setU64(this.#messages, i * MMSGHDR + MSG.CONTROL, aside.address + i * CONTROL);
    }
    // Without a protocol nothing is received until it is bound, with everything in place.
    this.fd = check(`socket for ${name}`, libc.socket(AF_PACKET, SOCK_RAW_CLOEXEC, 0));
    try {
      this.#option(SOL_PACKET, PACKET_VNET_HDR, int32(1));
      this.#option(SOL_PACKET, PACKET_AUXDATA, int32(1));
      this.#option(SOL_PACKET, PACKET_IGNORE_OUTGOING, int32(1));
      this.#bufferSize(options.receiveBuffer ?? 32 * 1024 * 1024);
      if (options.mark !== undefined) this.#option(SOL_SOCKET, SO_MARK, int32(options.mark));
      if (options.filter !== undefined) this.setFilter(options.filter);
      const address = new DataView(new ArrayBuffer(20));
      address.setUint16(0, AF_PACKET, true);
      if (options.sendOnly !== true) address.setUint16(2, ETH_P_ALL);
      address.setInt32(4, index, true);
      check(`bind to ${name}`, libc.bind(this.fd, address, 20));
      // Whoever marks frames sees those of an interface in another way, and leaves it as it is.
      if (options.mark !== undefined) return;
      const membership = new DataView(new ArrayBuffer(16));
      membership.setInt32(0, index, true);
      membership.setUint16(4, PACKET_MR_PROMISC, true);
      this.#option(SOL_PACKET, PACKET_ADD_MEMBERSHIP, new Uint8Array(membership.buffer));
    } catch (error) {
      libc.close(this.fd);
      throw error;
    }
  }

  /** Replaces the filter in one step. @throws {SystemError} when the kernel does not take it. */
  setFilter(program: readonly BpfInstruction[]): void {
    const code = new DataView(new ArrayBuffer(program.length * 8));
    program.forEach(({ code: operation, jt, jf, k }, i) => {
      code.setUint16(i * 8, operation, true);
      code.setUint8(i * 8 + 2, jt);
      code.setUint8(i * 8 + 3, jf);
      code.setUint32(i * 8 + 4, k, true);
    });
    const bytes = new Uint8Array(code.buffer);
    const header = new DataView(new ArrayBuffer(16));
    header.setUint16(0, program.length, true);
    header.setBigUint64(8, Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)), true);
    this.#option(SOL_SOCKET, SO_ATTACH_FILTER, new Uint8Array(header.buffer));
  }

  /**
   * Takes what is there, at most a batch, without waiting. The frames of the last call are gone.
   *
   * @returns how many frames {@link starts} and {@link ends} tell of.
   * @throws {SystemError} ENETDOWN when the interface went down.
   */
  receive(): number {
    const messages = this.#messages;
    for (let i = 0; i < this.#used; i++) {
      // Written by the kernel in each call: how much control data there was.
      messages.setUint32(i * MMSGHDR + MSG.CONTROLLEN, CONTROL, true);
    }
    const n = libc.recvmmsg(this.fd, this.#messageBytes, this.#batch, MSG_DONTWAIT, null);
    this.#used = Math.max(0, n);
    if (n < 0) {
      const code = errno();
      if (code === E.AGAIN || code === E.INTR) return 0;
      throw new SystemError(`receive from ${this.name}`, code);
    }
    let frames = 0;
    for (let i = 0; i < n; i++) {
      const at = i * MMSGHDR;
      const length = messages.getUint32(at + MSG.LEN, true) - VNET_HEADER;
      if ((messages.getUint32(at + MSG.FLAGS, true) & MSG_TRUNC) !== 0 || length < 0) {
        this.oversized++;
        continue;
      }
      const start = i * SLOT + HEADROOM + VNET_HEADER;
      const tagged = (this.#control.getUint32(i * CONTROL + 16, true) & TP_STATUS_VLAN_VALID) !== 0;
      this.ends[frames] = start + length;
      this.starts[frames++] = tagged ? this.#restoreTag(i, start) : start;
    }
    return frames;
  }

  /** Frames received and dropped since the socket was opened. */
  statistics(): PacketStatistics {
    const value = new Uint8Array(8);
    const length = int32(8);
    check(
      "getsockopt",
      libc.getsockopt(this.fd, SOL_PACKET, PACKET_STATISTICS, value, length),
    );
    const view = new DataView(value.buffer);
    this.#received += view.getUint32(0, true);
    this.#dropped += view.getUint32(4, true);
    return { received: this.#received, dropped: this.#dropped };
  }

  /** Lets go of the interface. */
  close(): void {
    libc.close(this.fd);
  }

  /** Makes room behind the hardware addresses and writes the tag there. Returns the frame's new start. */
  #restoreTag(i: number, start: number): number {
    const at = i * CONTROL + 16;
    const status = this.#control.getUint32(at, true);
    const tci = this.#control.getUint16(at + 16, true);
    const type = (status & TP_STATUS_VLAN_TPID_VALID) === 0
      ? 0x8100
      : this.#control.getUint16(at + 18, true);
    const { data } = this.memory;
    data.copyWithin(start - VNET_HEADER - 4, start - VNET_HEADER, start + 12);
    data[start + 8] = type >> 8;
    data[start + 9] = type & 0xff;
    data[start + 10] = tci >> 8;
    data[start + 11] = tci & 0xff;
    moveOffsets(data, start - 4 - VNET_HEADER, 4);
    return start - 4;
  }

  #option(level: number, option: number, value: Uint8Array<ArrayBuffer>): void {
    check(
      `setsockopt ${option} for ${this.name}`,
      libc.setsockopt(this.fd, level, option, value, value.length),
    );
  }

  #bufferSize(size: number): void {
    const value = int32(size);
    if (libc.setsockopt(this.fd, SOL_SOCKET, SO_RCVBUFFORCE, value, 4) !== 0) {
      this.#option(SOL_SOCKET, SO_RCVBUF, value);
    }
    // Frames that are on their way count against it; the interface's queue is the limit that matters.
    libc.setsockopt(this.fd, SOL_SOCKET, SO_SNDBUFFORCE, value, 4);
  }
}

/** The kernel's offsets count from the frame's start, which has moved. */
function moveOffsets(data: Uint8Array, header: number, by: number): void {
  const hasSegments = data[header + 1] !== 0;
  if (hasSegments) addU16(data, header + 2, by); // hdr_len
  if (((data[header] as number) & NEEDS_CSUM) !== 0) addU16(data, header + 6, by); // csum_start
}

/** The header's integers are in host order, and all hosts that Deno runs on are little-endian. */
function addU16(data: Uint8Array, at: number, by: number): void {
  const value = ((data[at] as number) | ((data[at + 1] as number) << 8)) + by;
  data[at] = value & 0xff;
  data[at + 1] = value >> 8;
}

/** Why frames were not sent. */
export interface SendFailures {
  /** The interface's queue was full. */
  full: number;
  /** Larger than the interface takes. */
  large: number;
  /** The interface is down. */
  down: number;
  /** Anything else. */
  other: number;
}

/** Frames on their way to one interface. */
export class SendQueue {
  /** Frames sent since the beginning. */
  sent = 0;
  /** Bytes sent, link headers included. */
  bytes = 0;
  /** Frames that were not sent, by why. */
  readonly failures: SendFailures = { full: 0, large: 0, down: 0, other: 0 };
  readonly #fd: number;
  readonly #size: number;
  readonly #messages: Uint8Array<ArrayBuffer>;
  readonly #vectors: DataView<ArrayBuffer>;
  readonly #lengths: Int32Array<ArrayBuffer>;
  #length = 0;

  /** @param size frames that are sent with one call. */
  constructor(socket: PacketSocket, size = 64) {
    this.#fd = socket.fd;
    this.#size = size;
    this.#messages = new Uint8Array(MMSGHDR * size);
    this.#lengths = new Int32Array(size);
    const vectors = frameMemory(IOVEC * size);
    this.#vectors = new DataView(vectors.data.buffer);
    const view = new DataView(this.#messages.buffer);
    for (let i = 0; i < size; i++) {
      setU64(view, i * MMSGHDR + MSG.IOV, vectors.address + i * IOVEC);
      setU64(view, i * MMSGHDR + MSG.IOVLEN, 1);
    }
  }

  /**
   * Adds a frame; its memory must stay as it is until {@link flush}. A full queue is sent at once.
   *
   * @param start first byte of the frame; its virtio-net header is before it.
   */
  add(memory: FrameMemory, start: number, end: number): void {
    const at = this.#length * IOVEC;
    const address = memory.address + start - VNET_HEADER;
    this.#vectors.setUint32(at, address % 0x100000000, true);
    this.#vectors.setUint32(at + 4, Math.floor(address / 0x100000000), true);
    this.#vectors.setUint32(at + 8, end - start + VNET_HEADER, true);
    this.#lengths[this.#length++] = end - start;
    if (this.#length === this.#size) this.flush();
  }

  /** Sends what is queued. What cannot be sent is counted and dropped, as a wire would. */
  flush(): void {
    let at = 0;
    while (at < this.#length) {
      const n = libc.sendmmsg(
        this.#fd,
        at === 0 ? this.#messages : this.#messages.subarray(at * MMSGHDR),
        this.#length - at,
        MSG_DONTWAIT,
      );
      if (n > 0) {
        this.sent += n;
        for (let i = at; i < at + n; i++) this.bytes += this.#lengths[i] as number;
        at += n;
        continue;
      }
      const code = errno();
      if (code === E.INTR) continue;
      if (code === E.AGAIN || code === E.NOBUFS) this.failures.full++;
      else if (code === E.MSGSIZE) this.failures.large++;
      else if (code === E.NETDOWN || code === E.NXIO) this.failures.down++;
      else this.failures.other++;
      at++;
    }
    this.#length = 0;
  }
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x100000000, true);
  view.setUint32(at + 4, Math.floor(value / 0x100000000), true);
}

function int32(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}
