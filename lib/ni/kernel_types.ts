/**
 * What the NI kernel is made with, tells and counts.
 *
 * @module
 */
import type { BpfInstruction } from "../net/bpf.ts";
import type { Packet } from "../net/packet.ts";
import type { FrameMemory } from "../sys/packet_socket.ts";
import type { Direction } from "./frame.ts";
import type { FrameFilter, RightsChecker, ScannerRights } from "./rights.ts";
import type { ScannerSession } from "./scanner_session.ts";
import type { ConnectionFacts, StreamReader } from "./stream/subscriber.ts";
import type { TableSettings } from "./stream/table.ts";

/** A rule whose frames are dropped by the kernel itself. */
export interface PreventRule {
  readonly name: string;
  /** Of pcap-filter(7). */
  readonly filter: string;
}

/** How frames leave. `copy` frames are not in the receive memory and must be sent before this returns. */
export interface KernelOutput {
  /** Sends a frame on its way. Its memory is not changed before `NiKernel.settle`. */
  forward(
    memory: FrameMemory,
    start: number,
    end: number,
    direction: Direction,
    at: { seconds: number; nanoseconds: number; wireLength: number },
  ): void;
  /** A line for the log of events. */
  event(event: Readonly<Record<string, unknown>>): void;
  /** The process of a scanner must be ended. */
  broken(session: ScannerSession, why: string): void;
  /** A scanner has asked for its first frames, and watches from now on. */
  watching?(scanner: string): void;
  /** A scanner, by its number, has seen enough of a packet's flow: its frames need not come here for it. */
  finished?(packet: Packet, direction: Direction, scanner: number): void;
  /** A packet begins another connection with addresses and ports of a finished flow. */
  begun?(packet: Packet, direction: Direction): void;
}

/** What the kernel is made with. */
export interface KernelOptions {
  readonly linkType: number;
  readonly prevent: readonly PreventRule[];
  readonly scanners: ReadonlyMap<string, ScannerRights>;
  readonly hostNetworks: readonly string[];
  /** Bytes of the largest frame that can be sent; without it as many as there can be. */
  readonly longestFrame?: number;
  /** Frames that wait for verdicts at most. */
  readonly heldFrames?: number;
  /** Filters of connections that are put together though no scanner asks for them. */
  readonly reconstruct?: readonly string[];
  /** Makes a reader for every connection. */
  readonly files?: (facts: ConnectionFacts) => StreamReader;
  /** Bounds of streams; usual ones without it. */
  readonly streams?: Partial<TableSettings>;
}

/** Counts of one rule. */
export interface RuleCounters {
  readonly name: string;
  readonly filter: string;
  frames: number;
  bytes: number;
}

/** Counts of one scanner's subscription. */
export type ScanCounters =
  & { readonly scanner: string; readonly right: "read" | "contain"; readonly filter: string }
  & (
    | { readonly kind: "scan"; readonly frames: number; readonly bytes: number }
    | { readonly kind: "reconstruct"; readonly connections: number }
  );

/** What became of all frames. */
export interface KernelCounters {
  /** Those that came here, copies too. */
  received: number;
  /** Copies of frames that went on by themselves. */
  copies: number;
  forwarded: number;
  /** By a prevent rule. */
  prevented: number;
  /** By an order about their host. */
  contained: number;
  /** By a scanner's verdict. */
  cut: number;
  /** Because a scanner failed that is `on_failure: closed`. */
  failedClosed: number;
  /** Waiting now. */
  held: number;
  injected: number;
  /** Later fragments that were dropped, since the first of their datagram did not come. */
  incomplete: number;
}

/** What became of a frame when it came. */
export type Outcome = "forwarded" | "dropped" | "held";

/** Rules and rights that were checked, and can be put in force. */
export interface KernelPlan {
  readonly prevent: readonly FrameFilter[];
  /** The prevent rules as the kernel takes them. */
  readonly programs: readonly (readonly BpfInstruction[])[];
  readonly rules: readonly RuleCounters[];
  readonly checkers: ReadonlyMap<string, RightsChecker>;
}

/** New counters. */
export function kernelCounters(): KernelCounters {
  return {
    received: 0,
    copies: 0,
    forwarded: 0,
    prevented: 0,
    contained: 0,
    cut: 0,
    failedClosed: 0,
    held: 0,
    injected: 0,
    incomplete: 0,
  };
}
