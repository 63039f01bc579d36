/**
 * An NI before an interface that leads to a virtual machine or container, such as a port of a bridge. Nothing of the
 * interface is changed: programs on what it receives and on what it sends decide about each frame, and what no rule covers goes
 * on the way that it is on. What user space forwards comes back to where it was taken, with a mark by which the programs know
 * it.
 *
 * @module
 */
import { type InterfaceState, readInterface, setInterfaceUp } from "../sys/interfaces.ts";
import { libc } from "../sys/libc.ts";
import { PacketSocket } from "../sys/packet_socket.ts";
import { createVeth, deleteLink, dropAll, stopDropping } from "../sys/rtnetlink.ts";
import { type FastPathPort, injectInto } from "./fast_path.ts";

/** Bytes of the largest frame that a virtual cable takes. */
export const CABLE_MTU = 65_535;

/** Where frames come from: AF_PACKET or libpcap. */
export type FrameSource = Pick<
  PacketSocket,
  "fd" | "memory" | "starts" | "ends" | "oversized" | "receive" | "statistics" | "close"
>;

/** What a port needs: where its frames are taken to user space, and how frames get out of it. */
export interface PortParts {
  readonly state: InterfaceState;
  /** Name of the cable's near end, which the fast path sends to. */
  readonly cable: string;
  receive: FrameSource;
  /** The same of what is only copied to user space; undefined where user space forwards all frames. */
  readonly copyCable: string;
  copies: FrameSource | undefined;
  readonly send: PacketSocket;
  /** Where the fast path is attached. */
  readonly at: Omit<FastPathPort, "fromHost" | "flows">;
}

/** The two ports of an attached interface, and the descriptors that hold the way back. */
export interface TapPorts {
  /** Frames from the host, and what is sent to it. */
  readonly host: PortParts;
  readonly net: PortParts;
  readonly held: readonly number[];
}

/**
 * Names of the ends of an interface's cables, by letter: short, since an interface's name has 15 characters at most. `a` to
 * `d` carry frames of an attached interface (`a` and `b` those of one that is not), `e` to `h` copies.
 */
export function cableEnd(index: number, letter: string): string {
  return `diaper${index}${letter}`;
}

/** Near ends of the cables that an interface may have. */
const NEAR_ENDS = ["a", "c", "e", "g"];

/** Makes the ports of an interface. @throws {SystemError} without the right to. */
export function openTap(state: InterfaceState): TapPorts {
  const end = (letter: string) => cableEnd(state.index, letter);
  const [nearFrom, farFrom, nearTo, farTo] = [end("a"), end("b"), end("c"), end("d")];
  // No other frame has it: it is forgotten with this process.
  const mark = ((crypto.getRandomValues(new Uint32Array(1))[0] as number) | 1) >>> 0;
  const sockets: PacketSocket[] = [];
  const open = (name: string, options?: ConstructorParameters<typeof PacketSocket>[1]) => {
    const socket = new PacketSocket(name, options);
    sockets.push(socket);
    return socket;
  };
  try {
    makeCable(nearFrom, farFrom);
    makeCable(nearTo, farTo);
    makeCable(end("e"), end("f"));
    makeCable(end("g"), end("h"));
    const at = (hook: "ingress" | "egress", cable: string, copies: string) => {
      const index = (name: string) => readInterface(name).index;
      const cables = { cable: index(cable), copies: index(copies) };
      return { index: state.index, peer: "own", ...cables, hook, mark } as const;
    };
    const host = {
      state,
      cable: nearFrom,
      receive: open(farFrom),
      copyCable: end("e"),
      copies: open(end("f")),
      send: open(state.name, { sendOnly: true, mark }),
      at: at("ingress", nearFrom, end("e")),
    };
    const net = {
      state,
      cable: nearTo,
      receive: open(farTo),
      copyCable: end("g"),
      copies: open(end("h")),
      send: open(farFrom, { sendOnly: true }),
      at: at("egress", nearTo, end("g")),
    };
    return { host, net, held: injectInto(readInterface(nearFrom).index, state.index, mark) };
  } catch (error) {
    for (const socket of sockets) socket.close();
    for (const letter of NEAR_ENDS) deleteLink(end(letter));
    throw error;
  }
}

/** Removes what one that was killed has left at an interface. @returns whether there was anything. */
export function cleanTap(name: string): boolean {
  const { index } = readInterface(name);
  const cables = NEAR_ENDS.filter((letter) => deleteLink(cableEnd(index, letter)));
  return stopDropping(index) || cables.length > 0;
}

/** What an attached interface does without an NI. */
export function setTapUnderneath(index: number, onExit: "open" | "closed"): void {
  if (onExit === "closed") dropAll(index);
  else stopDropping(index);
}

/** Lets go of descriptors. */
export function closeHeld(held: readonly number[]): void {
  for (const fd of held) libc.close(fd);
}

/** Makes a virtual cable whose ends are silent and up. One that was left behind is replaced. */
export function makeCable(near: string, far: string): void {
  deleteLink(near);
  createVeth(near, far, CABLE_MTU);
  try {
    for (const name of [near, far]) {
      silence(name);
      setInterfaceUp(name);
    }
  } catch (error) {
    deleteLink(near);
    throw error;
  }
}

/** No neighbour discovery, no router solicitations: this machine is not there for either side. */
export function silence(name: string): void {
  try {
    Deno.writeTextFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, "1");
  } catch (error) {
    // Without IPv6 in the kernel there is nothing to silence.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
