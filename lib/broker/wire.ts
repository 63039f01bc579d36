/**
 * The messages between agent and broker as bytes: docs/protocols/agent-broker.md.
 *
 * @module
 */
import { type IpAddress, ipFromBytes } from "../net/ip.ts";
import type { Verdict } from "../pinhole/request.ts";

/** Longest message of an agent, and so the most that is ever read. */
export const LONGEST_MESSAGE = 256;

/** For whom a port is wanted, as an agent says. */
interface Wanted {
  readonly sequence: number;
  /** The external host; undefined when the agent cannot tell which of several is meant. */
  readonly source: IpAddress | undefined;
  readonly sourcePort: number;
  /** The host that the other way of telling names, when the two disagree. */
  readonly otherSource: IpAddress | undefined;
  /** Local address of the control connection; undefined when the agent does not know it. */
  readonly controlAddress: IpAddress | undefined;
  readonly controlPort: number;
  /** Milliseconds since the epoch, as claimed. */
  readonly boundAt: number;
}

/** OPEN, or CHANNEL: the first OPEN of a new process, which comes with its own channel. */
export interface OpenMessage extends Wanted {
  readonly type: "open" | "channel";
}

/** TRACED: an OPEN for a process that the sender traces. */
export interface TracedMessage extends Wanted {
  readonly type: "traced";
  /** The socket's number in that process. */
  readonly descriptor: number;
}

/** A message of an agent. */
export type AgentMessage =
  | { readonly type: "hello"; readonly sequence: number; readonly delegate: string }
  | OpenMessage
  | TracedMessage
  | {
    readonly type: "wrap";
    readonly sequence: number;
    /** What the wrapper finds wrong with itself; 0: nothing. */
    readonly fault: number;
    /** Descriptor of the program that the wrapper is going to execute. */
    readonly program: number;
  }
  | {
    readonly type: "join";
    readonly sequence: number;
    /** A view into the message. */
    readonly ticket: Uint8Array;
  }
  | { readonly type: "close"; readonly sequence: number; readonly id: number };

const MAGIC = 0x31525044;
const HEADER = 16;
const LENGTHS = {
  hello: 96,
  channel: 88,
  open: 88,
  traced: 88,
  close: 24,
  wrap: 32,
  join: 48,
  verdict: 192,
  ticket: 48,
} as const;
const VERSION = 1;
const DELEGATE = /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/;

/**
 * Reads a message.
 *
 * @returns the message, or in words what is wrong with it.
 */
export function parseAgentMessage(data: Uint8Array<ArrayBuffer>): AgentMessage | string {
  if (data.length < HEADER) return `message of ${data.length} octets is shorter than a header`;
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  if (view.getUint32(0, true) !== MAGIC) return "magic number is wrong";
  const type = view.getUint16(4, true);
  if (view.getUint16(6, true) !== data.length) return "length field differs from the length";
  if (view.getUint32(12, true) !== 0) return "reserved field is not zero";
  const sequence = view.getUint32(8, true);
  const wrong = (what: keyof typeof LENGTHS) =>
    data.length === LENGTHS[what] ? undefined : `${what} of ${data.length} octets`;
  switch (type) {
    case 1:
      return wrong("hello") ?? parseHello(data, view, sequence);
    case 2:
      return wrong("channel") ?? parseOpen("channel", data, view, sequence);
    case 3:
      return wrong("open") ?? parseOpen("open", data, view, sequence);
    case 7:
      return wrong("traced") ?? parseTraced(data, view, sequence);
    case 4:
      return wrong("close") ?? { type: "close", sequence, id: view.getUint32(16, true) };
    case 5:
      return wrong("wrap") ?? parseWrap(view, sequence);
    case 6:
      return wrong("join") ?? { type: "join", sequence, ticket: data.subarray(HEADER) };
    default:
      return `message type ${type} is unknown`;
  }
}

function parseHello(data: Uint8Array, view: DataView, sequence: number): AgentMessage | string {
  const version = view.getUint32(16, true);
  if (version !== VERSION) return `protocol version ${version} is not ${VERSION}`;
  if (view.getUint32(20, true) !== 0) return "hello has unknown flags";
  const field = data.subarray(24, 88);
  const end = field.indexOf(0);
  if (end === -1 || field.subarray(end).some((b) => b !== 0)) return "delegate is not terminated";
  const delegate = String.fromCharCode(...field.subarray(0, end));
  if (delegate !== "" && !DELEGATE.test(delegate)) return "delegate is not a name";
  return { type: "hello", sequence, delegate };
}

function parseWrap(view: DataView, sequence: number): AgentMessage | string {
  const version = view.getUint32(16, true);
  if (version !== VERSION) return `protocol version ${version} is not ${VERSION}`;
  const fault = view.getUint32(20, true);
  return { type: "wrap", sequence, fault, program: view.getUint32(24, true) };
}

function parseOpen(
  type: OpenMessage["type"],
  data: Uint8Array,
  view: DataView,
  sequence: number,
): AgentMessage | string {
  if (!isZero(data, 84, data.length)) return "reserved bytes are not zero";
  return parseWanted(type, data, view, sequence);
}

function parseTraced(data: Uint8Array, view: DataView, sequence: number): AgentMessage | string {
  const wanted = parseWanted("open", data, view, sequence);
  if (typeof wanted === "string") return wanted;
  // A process is looked at in one way only.
  if (wanted.otherSource !== undefined) return "traced cannot be disputed";
  return { ...wanted, type: "traced", descriptor: view.getUint32(84, true) };
}

function parseWanted(
  type: OpenMessage["type"],
  data: Uint8Array,
  view: DataView,
  sequence: number,
): OpenMessage | string {
  const flags = view.getUint16(54, true);
  if (flags !== 0 && flags !== DISPUTED && flags !== UNCLEAR) return "open has unknown flags";
  const source = flags === UNCLEAR ? noAddress(data, 16, 20) : parseAddress(data, 16, 20);
  if (typeof source === "string") return `source: ${source}`;
  const control = data[17] === 0 ? undefined : parseAddress(data, 17, 36);
  if (typeof control === "string") return `control address: ${control}`;
  const other = flags === DISPUTED ? parseAddress(data, 80, 64) : noAddress(data, 80, 64);
  if (typeof other === "string") return `other source: ${other}`;
  if (!isZero(data, 81, 84)) return "reserved bytes are not zero";
  return {
    type,
    sequence,
    source,
    sourcePort: view.getUint16(18, true),
    otherSource: other,
    controlAddress: control,
    controlPort: view.getUint16(52, true),
    boundAt: Number(view.getBigUint64(56, true) / 1_000_000n),
  };
}

function noAddress(data: Uint8Array, familyAt: number, at: number): undefined | string {
  if (data[familyAt] !== 0) return "is not to be there";
  return isZero(data, at, at + 16) ? undefined : "padding is not zero";
}

function parseAddress(data: Uint8Array, familyAt: number, at: number): IpAddress | string {
  const family = data[familyAt];
  if (family === 6) return ipFromBytes(data.subarray(at, at + 16));
  if (family !== 4) return `family ${family} is unknown`;
  if (!isZero(data, at + 4, at + 16)) return "padding is not zero";
  return address4(data, at);
}

/** One session's ports are all for the same hosts: their addresses are made once. */
const known = new Map<number, IpAddress>();
const MOST_KNOWN = 4096;

function address4(data: Uint8Array, at: number): IpAddress {
  const word = ((data[at] as number) << 24) | ((data[at + 1] as number) << 16) |
    ((data[at + 2] as number) << 8) | (data[at + 3] as number);
  let address = known.get(word);
  if (address === undefined) {
    if (known.size >= MOST_KNOWN) known.clear();
    address = ipFromBytes(data.subarray(at, at + 4));
    known.set(word, address);
  }
  return address;
}

function isZero(data: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (data[i] !== 0) return false;
  return true;
}

/** Flags of OPEN. */
const DISPUTED = 1;
const UNCLEAR = 2;

/** Verdict numbers on the wire. */
const VERDICTS = { open: 0, refused: 1, unavailable: 2 } as const;
const encoder = new TextEncoder();
const out = new Uint8Array(LENGTHS.verdict);
const outView = new DataView(out.buffer);
const outWhy = out.subarray(32, LENGTHS.verdict - 1);
outView.setUint32(0, MAGIC, true);
outView.setUint16(4, 0x8001, true);
outView.setUint16(6, LENGTHS.verdict, true);

/**
 * Makes a verdict, in memory that the next one is made in too.
 *
 * @param failBind the administrator wants `bind` to fail when the answer is not "open".
 */
export function encodeVerdict(
  sequence: number,
  verdict: Verdict,
  failBind: boolean,
): Uint8Array<ArrayBuffer> {
  outView.setUint32(8, sequence, true);
  outView.setUint32(16, VERDICTS[verdict.kind], true);
  outView.setUint32(20, failBind ? 1 : 0, true);
  outView.setUint32(24, verdict.kind === "open" ? verdict.id : 0, true);
  outWhy.fill(0, encoder.encodeInto(verdict.why, outWhy).written);
  return out;
}

/**
 * Makes the message that carries a ticket to a wrapper.
 *
 * @param ticket of 32 octets.
 */
export function encodeTicket(sequence: number, ticket: Uint8Array): Uint8Array<ArrayBuffer> {
  const ticketOut = new Uint8Array(LENGTHS.ticket);
  const view = new DataView(ticketOut.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, 0x8002, true);
  view.setUint16(6, LENGTHS.ticket, true);
  view.setUint32(8, sequence, true);
  ticketOut.set(ticket, HEADER);
  return ticketOut;
}
