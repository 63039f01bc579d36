/**
 * Tells systemd how far we are (sd_notify(3)): one datagram to the socket that it names.
 *
 * @module
 */
import { errno, errorText, libc } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;

/**
 * Sends a state such as `READY=1`.
 *
 * @returns what went wrong, in words; undefined when it was sent or nobody asked for it.
 */
export function notifySystemd(state: string): string | undefined {
  const path = Deno.env.get("NOTIFY_SOCKET");
  if (path === undefined || !/^[/@]/.test(path)) return undefined;
  const name = new TextEncoder().encode(path);
  if (name.length > 107) return "NOTIFY_SOCKET is too long";
  const address = new Uint8Array(2 + name.length);
  address[0] = AF_UNIX;
  address.set(name, 2);
  if (path.startsWith("@")) address[2] = 0; // the abstract namespace
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return errorText(errno());
  const data = new TextEncoder().encode(state);
  const sent = libc.sendto(fd, data, data.length, 0x4000, address, address.length);
  const failure = sent < 0 ? errorText(errno()) : undefined;
  libc.close(fd);
  return failure;
}
