/**
 * TCP and UDP sockets on a lab's host for a test (see remote.ts), known by names that the test gives.
 *
 * @module
 */
import type { IpAddress } from "../../lib/net/ip.ts";
import { check, libc } from "../../lib/sys/libc.ts";
import { serve } from "./remote.ts";
import { ip } from "./tuples.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW = 3;
const POLLIN = 1;

const listeners = new Map<string, Deno.TcpListener>();
const connections = new Map<string, Deno.TcpConn>();
const datagrams = new Map<string, Deno.DatagramConn>();
const reads = new Map<string, Promise<string>>();

function get<T>(map: Map<string, T>, name: string): T {
  const found = map.get(name);
  if (found === undefined) throw new Error(`no socket is called ${name}`);
  return found;
}

/** What comes next: data, "" at the end of the stream, or the error's name; "nothing" when late. */
async function next(
  name: string,
  timeout: number,
  read: () => Promise<string>,
): Promise<string> {
  const reading = reads.get(name) ?? read().catch((error: Error) => error.name);
  reads.set(name, reading);
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), timeout);
  const text = await Promise.race([reading, late.promise]);
  clearTimeout(timer);
  if (text !== undefined) reads.delete(name);
  return text ?? "nothing";
}

/** Sends an echo request; true when the answer comes. */
function ping(to: IpAddress, timeout: number): boolean {
  const [family, protocol, request, reply] = to.family === 4
    ? [AF_INET, 1, 8, 0] as const
    : [AF_INET6, 58, 128, 129] as const;
  const fd = check("socket", libc.socket(family, SOCK_RAW, protocol));
  try {
    const address = new Uint8Array(28);
    address[0] = family;
    address.set(to.bytes, to.family === 4 ? 4 : 8);
    // Type, code, checksum (over IPv6 the kernel writes it), identifier, sequence number.
    const packet = new Uint8Array([request, 0, 0, 0, 0x12, 0x34, 0, 1]);
    const sum = 0xffff - ((request << 8) + 0x1234 + 1);
    packet.set([sum >> 8, sum & 0xff], 2);
    check("sendto", libc.sendto(fd, packet, packet.length, 0, address, to.family === 4 ? 16 : 28));
    const deadline = performance.now() + timeout;
    const pollfd = new Uint8Array(8);
    new DataView(pollfd.buffer).setInt32(0, fd, true);
    pollfd[4] = POLLIN;
    for (;;) {
      const left = Math.max(0, deadline - performance.now());
      if (check("poll", libc.poll(pollfd, 1n, Math.ceil(left))) === 0) return false;
      const buffer = new Uint8Array(2048);
      check("recv", libc.recv(fd, buffer, buffer.length, 0));
      const at = to.family === 4 ? ((buffer[0] as number) & 15) * 4 : 0;
      if (buffer[at] === reply && buffer[at + 4] === 0x12) return true;
    }
  } finally {
    libc.close(fd);
  }
}

await serve({
  listen: (name: string, hostname: string, port: number) => {
    listeners.set(name, Deno.listen({ hostname, port }));
  },
  accept: async (listener: string, name: string) => {
    const connection = await get(listeners, listener).accept();
    connections.set(name, connection);
    return connection.remoteAddr.port;
  },
  /** The local port, or "refused" or "unanswered". */
  connect: async (name: string, hostname: string, port: number, timeout: number) => {
    const signal = AbortSignal.timeout(timeout);
    try {
      const connection = await Deno.connect({ hostname, port, signal });
      connections.set(name, connection);
      return connection.localAddr.port;
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return "refused";
      if (signal.aborted) return "unanswered";
      throw error;
    }
  },
  send: async (name: string, text: string) => {
    await get(connections, name).write(new TextEncoder().encode(text));
  },
  receive: (name: string, timeout: number) =>
    next(name, timeout, async () => {
      const buffer = new Uint8Array(65_536);
      const n = await get(connections, name).read(buffer);
      return new TextDecoder().decode(buffer.subarray(0, n ?? 0));
    }),
  close: (name: string) => {
    for (const map of [listeners, connections, datagrams]) {
      map.get(name)?.close();
      map.delete(name);
    }
    reads.delete(name);
  },
  bind: (name: string, hostname: string, port: number) => {
    datagrams.set(name, Deno.listenDatagram({ hostname, port, transport: "udp" }));
  },
  sendTo: async (name: string, text: string, hostname: string, port: number, count: number) => {
    const data = new TextEncoder().encode(text);
    for (let i = 0; i < count; i++) {
      await get(datagrams, name).send(data, { hostname, port, transport: "udp" });
    }
  },
  ping: (address: string, timeout: number) => ping(ip(address), timeout),
  receiveFrom: (name: string, timeout: number) =>
    next(name, timeout, async () => {
      const [data] = await get(datagrams, name).receive();
      return new TextDecoder().decode(data);
    }),
});
