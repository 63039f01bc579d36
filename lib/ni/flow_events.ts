/**
 * Flows as events, as EVE has them: who talked to whom, how much and how long; and frames that are not what they claim to be.
 *
 * @module
 */
import { type Packet, TCP } from "../net/packet.ts";
import { packetFields } from "./event_fields.ts";
import { flowKey } from "./flow_id.ts";
import { type FrameRef, milliseconds, timestamp } from "./frame.ts";

interface Flow {
  /** Of its first packet, which tells who is the client. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly client: string;
  readonly start: { readonly seconds: number; readonly nanoseconds: number };
  readonly tcp: boolean;
  end: { readonly seconds: number; readonly nanoseconds: number };
  toServer: { packets: number; bytes: number };
  toClient: { packets: number; bytes: number };
  /** TCP flags of both sides together. */
  flags: number;
  finsSeen: number;
}

/** Flows that are followed at the same time; the one that was silent longest makes room. */
const MOST = 65_536;
/** A flow that is silent for so long is over. Milliseconds. */
const SILENT = { tcp: 600_000, other: 60_000 } as const;

/** How often silent flows are looked for. Milliseconds. */
const EXPIRY = 1000;

/** Follows flows. */
export class FlowEvents {
  /** The one that was silent longest is first. */
  readonly #flows = new Map<string, Flow>();
  #nextExpiry = 0;
  readonly #event: (event: Readonly<Record<string, unknown>>) => void;

  /** @param event gets each flow that is over as an event. */
  constructor(event: (event: Readonly<Record<string, unknown>>) => void) {
    this.#event = event;
  }

  /** Looks at a decoded frame. */
  frame(p: Packet, frame: FrameRef): void {
    if (p.version === 0) return;
    this.#expire(milliseconds(frame));
    const key = flowKey(p);
    let flow = this.#flows.get(key);
    const begins = p.hasPorts && p.isTcp && (p.tcpFlags & (TCP.SYN | TCP.ACK)) === TCP.SYN;
    if (flow !== undefined && begins && isOver(flow)) {
      this.#tell(key, flow, "shutdown");
      flow = undefined;
    }
    flow ??= this.#begin(p, frame);
    const side = endpoint(p) === flow.client ? flow.toServer : flow.toClient;
    side.packets++;
    side.bytes += frame.wireLength;
    flow.end = { seconds: frame.seconds, nanoseconds: frame.nanoseconds };
    if (p.hasPorts && p.isTcp) {
      flow.flags |= p.tcpFlags;
      if ((p.tcpFlags & TCP.FIN) !== 0) flow.finsSeen |= side === flow.toServer ? 1 : 2;
    }
    this.#flows.delete(key);
    this.#flows.set(key, flow);
    if (this.#flows.size <= MOST) return;
    for (const [oldest, other] of this.#flows) return this.#tell(oldest, other, "forced");
  }

  /** The capture is over, and so are all flows. */
  finish(): void {
    for (const [key, flow] of [...this.#flows]) {
      this.#tell(key, flow, isOver(flow) ? "shutdown" : "timeout");
    }
  }

  #begin(p: Packet, frame: FrameRef): Flow {
    const at = { seconds: frame.seconds, nanoseconds: frame.nanoseconds };
    return {
      fields: packetFields(p),
      client: endpoint(p),
      start: at,
      end: at,
      tcp: p.isTcp,
      toServer: { packets: 0, bytes: 0 },
      toClient: { packets: 0, bytes: 0 },
      flags: 0,
      finsSeen: 0,
    };
  }

  #expire(now: number): void {
    if (now < this.#nextExpiry) return;
    this.#nextExpiry = now + EXPIRY;
    for (const [key, flow] of this.#flows) {
      const age = now - milliseconds(flow.end);
      if (age <= SILENT.other) return; // all that follow were heard of later
      if (flow.tcp && age <= SILENT.tcp && !isOver(flow)) continue;
      this.#tell(key, flow, isOver(flow) ? "shutdown" : "timeout");
    }
  }

  #tell(key: string, flow: Flow, reason: string): void {
    this.#flows.delete(key);
    const { start, end, toServer, toClient } = flow;
    this.#event({
      timestamp: timestamp(end.seconds, end.nanoseconds),
      ...flow.fields,
      event_type: "flow",
      flow: {
        pkts_toserver: toServer.packets,
        pkts_toclient: toClient.packets,
        bytes_toserver: toServer.bytes,
        bytes_toclient: toClient.bytes,
        start: timestamp(start.seconds, start.nanoseconds),
        end: timestamp(end.seconds, end.nanoseconds),
        age: Math.round(Math.max(0, milliseconds(end) - milliseconds(start)) / 1000),
        state: stateOf(flow),
        reason,
      },
    });
  }
}

/** A frame that is not what it claims to be, as an event; nothing for one that is. */
export function anomalyEvent(
  p: Packet,
  frame: FrameRef,
): Readonly<Record<string, unknown>> | undefined {
  if (p.malformed === "none") return undefined;
  return {
    timestamp: timestamp(frame.seconds, frame.nanoseconds),
    ...packetFields(p),
    event_type: "anomaly",
    anomaly: { type: "decode", event: p.malformed },
  };
}

function endpoint(p: Packet): string {
  return `${p.source().text} ${p.hasPorts ? p.sourcePort : 0}`;
}

function isOver(flow: Flow): boolean {
  return (flow.flags & TCP.RST) !== 0 || flow.finsSeen === 3;
}

function stateOf(flow: Flow): string {
  if (isOver(flow)) return "closed";
  const answered = flow.toClient.packets > 0 && flow.toServer.packets > 0;
  return answered ? "established" : "new";
}
