/**
 * Network interfaces of this namespace: index, MTU, state, and switches of their own (netdevice(7)).
 *
 * @module
 */
import { check, errno, libc, SystemError } from "./libc.ts";

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
/** struct ifreq: 16 bytes of name, then a union of 24. */
const IFREQ_SIZE = 40;
const IFNAMSIZ = 16;

const SIOC = { GIFFLAGS: 0x8913n, SIFFLAGS: 0x8914n, GIFMTU: 0x8921n, GIFHWADDR: 0x8927n } as const;
const IFF = { UP: 0x1, RUNNING: 0x40 } as const;
const ARPHRD_ETHER = 1;

/** An interface as it is now. */
export interface InterfaceState {
  readonly name: string;
  /** Number in this network namespace. */
  readonly index: number;
  /** Bytes of the largest packet, without the link header. */
  readonly mtu: number;
  /** Switched on by the administrator. */
  readonly up: boolean;
  /** Up, and there is a carrier. */
  readonly running: boolean;
  /** Its link layer is Ethernet's. */
  readonly ethernet: boolean;
  /** The hardware address, when it is Ethernet. */
  readonly mac: Uint8Array<ArrayBuffer>;
}

/**
 * Looks at an interface.
 *
 * @throws {SystemError} ENODEV when there is none of that name.
 */
export function readInterface(name: string): InterfaceState {
  const index = libc.if_nametoindex(cString(name));
  if (index === 0) throw new SystemError(`interface ${name}`, errno());
  return withSocket((fd) => {
    const flags = ask(fd, name, SIOC.GIFFLAGS).getUint16(IFNAMSIZ, true);
    const hardware = ask(fd, name, SIOC.GIFHWADDR);
    return {
      name,
      index,
      mtu: ask(fd, name, SIOC.GIFMTU).getInt32(IFNAMSIZ, true),
      up: (flags & IFF.UP) !== 0,
      running: (flags & IFF.RUNNING) !== 0,
      ethernet: hardware.getUint16(IFNAMSIZ, true) === ARPHRD_ETHER,
      mac: new Uint8Array(hardware.buffer.slice(IFNAMSIZ + 2, IFNAMSIZ + 8)),
    };
  });
}

/** Switches an interface on. @throws {SystemError} without the right to. */
export function setInterfaceUp(name: string): void {
  withSocket((fd) => {
    const request = ask(fd, name, SIOC.GIFFLAGS);
    const flags = request.getUint16(IFNAMSIZ, true);
    if ((flags & IFF.UP) !== 0) return;
    request.setUint16(IFNAMSIZ, flags | IFF.UP, true);
    check(`interface ${name}`, libc.ioctl(fd, SIOC.SIFFLAGS, new Uint8Array(request.buffer)));
  });
}

function ask(fd: number, name: string, what: bigint): DataView<ArrayBuffer> {
  const request = new Uint8Array(IFREQ_SIZE);
  request.set(cString(name).subarray(0, IFNAMSIZ - 1));
  check(`interface ${name}`, libc.ioctl(fd, what, request));
  return new DataView(request.buffer);
}

function withSocket<T>(use: (fd: number) => T): T {
  const fd = check("socket", libc.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0));
  try {
    return use(fd);
  } finally {
    libc.close(fd);
  }
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
