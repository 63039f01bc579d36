/**
 * Frames of an interface by libpcap, received and sent: a link for systems and kernels where AF_PACKET with its headers
 * is not to be had. It costs a call for each frame, and knows nothing of offloads: large or unfinished frames that hosts
 * leave to them cannot be sent on (`ethtool -K IF tx off` at the sender avoids them).
 *
 * @module
 */
import { cString, FilterError, libpcap } from "./libpcap.ts";
import { E, errno, SystemError } from "./libc.ts";
import {
  type FrameMemory,
  frameMemory,
  type PacketStatistics,
  type SendFailures,
} from "./packet_socket.ts";

const BATCH = 64;
const SNAPLEN = 65_536 + 32;
const SLOT = 66 * 1024;
/** Room before a frame, where others have a virtio-net header; here it stays 0: nothing is left to do. */
const HEADROOM = 32;
const BUFFER = 32 * 1024 * 1024;
const PCAP_D_IN = 1;
const PCAP_ERROR_BREAK = -2;

/** One interface, in promiscuous mode. */
export class PcapLink {
  /** The descriptor, for epoll. */
  readonly fd: number;
  /** Interface name. */
  readonly name: string;
  /** Where received frames are. */
  readonly memory: FrameMemory = frameMemory(SLOT * BATCH);
  /** First byte of each frame received last. */
  readonly starts = new Int32Array(BATCH);
  /** The byte after its last one. */
  readonly ends = new Int32Array(BATCH);
  /** Frames that were longer than any should be. */
  oversized = 0;
  /** Frames that were not sent, by why. */
  readonly failures: SendFailures = { full: 0, large: 0, down: 0, other: 0 };
  readonly #handle: Deno.PointerValue;
  readonly #pointers = new BigUint64Array(2);

  /** @throws {FilterError} with libpcap's words, without the right to or when there is no such interface. */
  constructor(name: string) {
    const pcap = libpcap();
    const errors = new Uint8Array(256);
    const handle = pcap.pcap_create(new TextEncoder().encode(`${name}\0`), errors);
    if (handle === null) throw failed(name, new TextDecoder().decode(errors));
    this.name = name;
    this.#handle = handle;
    pcap.pcap_set_snaplen(handle, SNAPLEN);
    pcap.pcap_set_promisc(handle, 1);
    // Without it frames wait for a timer of milliseconds.
    pcap.pcap_set_immediate_mode(handle, 1);
    pcap.pcap_set_buffer_size(handle, BUFFER);
    try {
      if (pcap.pcap_activate(handle) < 0) throw failed(name, cString(pcap.pcap_geterr(handle)));
      if (
        pcap.pcap_setnonblock(handle, 1, errors) < 0 ||
        pcap.pcap_setdirection(handle, PCAP_D_IN) < 0
      ) throw failed(name, cString(pcap.pcap_geterr(handle)));
      this.fd = pcap.pcap_get_selectable_fd(handle);
      if (this.fd < 0) throw failed(name, "it cannot be waited for");
    } catch (error) {
      pcap.pcap_close(handle);
      throw error;
    }
  }

  /** As {@link PacketSocket.receive}. @throws {SystemError} ENETDOWN when the interface went down. */
  receive(): number {
    const pcap = libpcap();
    const { data } = this.memory;
    const header = new Uint8Array(this.#pointers.buffer, 0, 8);
    const frame = new Uint8Array(this.#pointers.buffer, 8, 8);
    let frames = 0;
    while (frames < BATCH) {
      const got = pcap.pcap_next_ex(this.#handle, header, frame);
      if (got === 0) break;
      if (got < 0) {
        const text = cString(pcap.pcap_geterr(this.#handle));
        if (got === PCAP_ERROR_BREAK || frames > 0) break;
        throw /down/.test(text) ? new SystemError(this.name, E.NETDOWN) : failed(this.name, text);
      }
      // struct pcap_pkthdr: a time of 16 bytes, bytes captured, bytes on the wire.
      const facts = new Deno.UnsafePointerView(pointer(this.#pointers[0] as bigint));
      const captured = facts.getUint32(16);
      if (captured !== facts.getUint32(20) || captured > SLOT - HEADROOM) {
        this.oversized++;
        continue;
      }
      const start = frames * SLOT + HEADROOM;
      data.fill(0, start - HEADROOM, start);
      new Deno.UnsafePointerView(pointer(this.#pointers[1] as bigint))
        .copyInto(data.subarray(start, start + captured));
      this.starts[frames] = start;
      this.ends[frames++] = start + captured;
    }
    return frames;
  }

  /** Sends a frame at once. As {@link SendQueue.add}. */
  add(memory: FrameMemory, start: number, end: number): void {
    const at = Deno.UnsafePointer.create(BigInt(memory.address + start));
    if (libpcap().pcap_inject(this.#handle, at, BigInt(end - start)) >= 0) return;
    const code = errno();
    if (code === E.AGAIN || code === E.NOBUFS) this.failures.full++;
    else if (code === E.MSGSIZE) this.failures.large++;
    else if (code === E.NETDOWN || code === E.NXIO) this.failures.down++;
    else this.failures.other++;
  }

  /** Nothing waits here. */
  flush(): void {}

  /** Frames received and dropped since it was opened. */
  statistics(): PacketStatistics {
    const counts = new Uint32Array(3);
    libpcap().pcap_stats(this.#handle, new Uint8Array(counts.buffer));
    return { received: counts[0] as number, dropped: counts[1] as number };
  }

  /** Lets go of the interface. */
  close(): void {
    libpcap().pcap_close(this.#handle);
  }
}

function pointer(value: bigint): Deno.PointerObject {
  const result = Deno.UnsafePointer.create(value);
  if (result === null) throw new RangeError("libpcap gave no frame");
  return result;
}

function failed(name: string, text: string): FilterError {
  const words = text.split("\0", 1)[0] ?? "";
  return new FilterError(`${name}: ${words}`, "check the interface's name, and run as root");
}
