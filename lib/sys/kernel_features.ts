/**
 * Probes of what this kernel can do. Each tries the thing itself, on sockets and descriptors of its own, and
 * changes nothing: version numbers say little about kernels that distributions patch.
 *
 * @module
 */
import { check, errno, errorText, libc } from "./libc.ts";
import { NETLINK, NetlinkError, NetlinkSocket } from "./netlink.ts";
import { MessageWriter, NLM_F } from "./netlink_message.ts";
import { ownNamespace, socketFacts } from "./socket_facts.ts";
import { unixPair } from "./unix_socket.ts";

/** What a probe found: undefined when the kernel can do it, otherwise why it seems not to. */
export type ProbeResult = string | undefined;

const AF_INET = 2;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const SOCK_DIAG_BY_FAMILY = 20;
const IPPROTO_TCP = 6;
const TCP_BOUND_INACTIVE = 13;
/** Offset of idiag_cookie in struct inet_diag_msg (linux/inet_diag.h). */
const COOKIE_OFFSET = 44;
const NOTICE_MS = 2000;

/** Unix sockets that keep message boundaries (SOCK_SEQPACKET). */
export function probeSeqpacket(): ProbeResult {
  return attempt(() => {
    for (const fd of unixPair("seqpacket")) libc.close(fd);
  });
}

/** Sockets have identities (SO_COOKIE, Linux 4.6). */
export function probeSocketCookie(): ProbeResult {
  return attempt(() => withSocket((fd) => void cookieOf(fd)));
}

/** Network namespaces have identities (SO_NETNS_COOKIE, Linux 5.14). */
export function probeNamespaceCookie(): ProbeResult {
  return ownNamespace() === 0n ? "SO_NETNS_COOKIE is not known" : undefined;
}

/** A bound socket that neither listens nor is connected is in the list of sockets (Linux 6.8). */
export function probeBoundInactive(): ProbeResult {
  return attempt(() =>
    withBoundSocket((cookie, port) => {
      using netlink = disposable(new NetlinkSocket(NETLINK.SOCK_DIAG));
      const sequence = netlink.socket.nextSequence();
      const writer = new MessageWriter(128);
      writer.begin(SOCK_DIAG_BY_FAMILY, NLM_F.REQUEST | NLM_F.DUMP, sequence);
      writer.raw(diagRequest(1 << TCP_BOUND_INACTIVE, port));
      writer.end();
      let seen = false;
      const { view } = netlink.socket;
      const failure = netlink.socket.request(writer, sequence, (type, start, end) => {
        if (type !== SOCK_DIAG_BY_FAMILY || start + COOKIE_OFFSET + 8 > end) return;
        seen ||= view.getBigUint64(start + COOKIE_OFFSET, true) === cookie;
      });
      if (failure !== undefined) throw netlinkError("the list of sockets", failure);
      if (!seen) throw new Error("sockets in the state TCP_BOUND_INACTIVE are not listed");
    })
  );
}

/** The kernel tells when a socket is gone for good (SKNLGRP_INET_TCP_DESTROY, Linux 4.4). */
export function probeDestroyNotices(): ProbeResult {
  return attempt(() => {
    using netlink = disposable(new NetlinkSocket(NETLINK.SOCK_DIAG, { groups: [1, 2, 3, 4] }));
    const { socket } = netlink;
    const cookie = withBoundSocket((found) => found);
    const end = performance.now() + NOTICE_MS;
    for (let left = NOTICE_MS; left > 0; left = end - performance.now()) {
      if (!socket.wait(Math.ceil(left))) break;
      const n = socket.receive();
      if (n < 16 + COOKIE_OFFSET + 8) continue;
      if (socket.view.getBigUint64(16 + COOKIE_OFFSET, true) === cookie) return;
    }
    throw new Error(`a socket was closed and no notice came in ${NOTICE_MS / 1000} s`);
  });
}

/** Connections can be looked up and ended (nf_conntrack_netlink). Needs CAP_NET_ADMIN. */
export function probeConntrack(): ProbeResult {
  return attempt(() => {
    using netlink = disposable(new NetlinkSocket(NETLINK.NETFILTER));
    const { socket } = netlink;
    const NFNL_SUBSYS_CTNETLINK = 1;
    const IPCTNL_MSG_CT_GET_STATS = 5;
    const sequence = socket.nextSequence();
    const writer = new MessageWriter(64);
    writer.begin(
      (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET_STATS,
      NLM_F.REQUEST | NLM_F.ACK,
      sequence,
    );
    writer.nfgen(0, 0);
    writer.end();
    const failure = socket.request(writer, sequence, () => {});
    if (failure !== undefined) throw netlinkError("connection tracking", failure);
  });
}

/** Files in memory that can be executed (memfd_create(2), and sysctl vm.memfd_noexec). */
export function probeMemfd(): ProbeResult {
  return attempt(() => {
    const fd = check("memfd_create", memfd(MFD_CLOEXEC | MFD_EXEC));
    libc.close(fd);
  });
}

/** Descriptors of processes (pidfd_open(2), Linux 5.3). */
export function probePidfd(): ProbeResult {
  const SYS_pidfd_open = 434n;
  const fd = libc.syscall(SYS_pidfd_open, BigInt(Deno.pid), 0n, 0n, 0n, 0n, 0n);
  if (fd < 0n) return `pidfd_open: ${errorText(errno())}`;
  libc.close(Number(fd));
  return undefined;
}

/**
 * A supervisor can answer a program's system calls, and signals do not take an answer away that is on its
 * way (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Linux 5.19). Nothing is installed: there is no filter at NULL,
 * which a kernel that knows the flags finds out, and one that does not never gets to.
 */
export function probeSeccompNotification(): ProbeResult {
  const SECCOMP_SET_MODE_FILTER = 1n;
  const NEW_LISTENER = 1n << 3n;
  const WAIT_KILLABLE_RECV = 1n << 5n;
  const EFAULT = 14;
  const SYS_seccomp = Deno.build.arch === "x86_64" ? 317n : 277n;
  const flags = NEW_LISTENER | WAIT_KILLABLE_RECV;
  libc.syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, 0n, 0n, 0n, 0n);
  const code = errno();
  return code === EFAULT ? undefined : `seccomp: ${errorText(code)}`;
}

const MFD_CLOEXEC = 1;
const MFD_EXEC = 0x10;

function memfd(flags: number): number {
  const library = Deno.dlopen("libc.so.6", {
    memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
  });
  try {
    const name = new TextEncoder().encode("diaper-probe\0");
    const fd = library.symbols.memfd_create(name, flags);
    // Kernels before 6.3 do not know the flag, and make all such files executable.
    return fd >= 0 || errno() !== EINVAL
      ? fd
      : library.symbols.memfd_create(name, flags & ~MFD_EXEC);
  } finally {
    library.close();
  }
}

const EINVAL = 22;

function attempt(work: () => void): ProbeResult {
  try {
    work();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function withSocket<T>(work: (fd: number) => T): T {
  const fd = check("socket", libc.socket(AF_INET, SOCK_STREAM_CLOEXEC, 0));
  try {
    return work(fd);
  } finally {
    libc.close(fd);
  }
}

/** Calls `work` with cookie and port of a socket that is bound to a free port of the loopback address. */
function withBoundSocket<T>(work: (cookie: bigint, port: number) => T): T {
  return withSocket((fd) => {
    const address = new Uint8Array(16);
    address.set([AF_INET, 0, 0, 0, 127, 0, 0, 1]);
    check("bind", libc.bind(fd, address, 16));
    const facts = socketFacts(fd);
    if (facts === undefined) throw new Error("getsockopt SO_COOKIE failed");
    return work(facts.cookie, facts.port);
  });
}

function cookieOf(fd: number): bigint {
  const cookie = socketFacts(fd)?.cookie;
  if (cookie === undefined) throw new Error("getsockopt SO_COOKIE failed");
  return cookie;
}

/** struct inet_diag_req_v2 for TCP over IPv4: these states, this local port. */
function diagRequest(states: number, port: number): Uint8Array {
  const request = new DataView(new ArrayBuffer(56));
  request.setUint8(0, AF_INET);
  request.setUint8(1, IPPROTO_TCP);
  request.setUint32(4, states, true);
  request.setUint16(8, port);
  return new Uint8Array(request.buffer);
}

function netlinkError(
  what: string,
  failure: { readonly code: number; readonly text: string; readonly offset: number },
): NetlinkError {
  return new NetlinkError(what, failure.code, failure.text, failure.offset);
}

function disposable(socket: NetlinkSocket): Disposable & { readonly socket: NetlinkSocket } {
  return { socket, [Symbol.dispose]: () => socket.close() };
}
