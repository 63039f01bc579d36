/**
 * The places of scanners in the NI kernel, and what follows from what they asked for: which frames must come to user space.
 *
 * @module
 */
import type { BpfInstruction } from "../net/bpf.ts";
import { compileFilter } from "../sys/libpcap.ts";
import type { ScanRule } from "./fast_path.ts";
import type { FinishedFlows } from "./finished_flows.ts";
import type { ScanCounters } from "./kernel_types.ts";
import type { FrameFilter, RightsChecker, ScannerRights } from "./rights.ts";
import type { ScannerCounters, ScannerSession } from "./scanner_session.ts";

/** A scanner's place in the kernel. Its process comes and goes. */
export interface Slot {
  readonly name: string;
  /** Different for all scanners that there ever are. */
  readonly number: number;
  rights: ScannerRights;
  checker: RightsChecker;
  readonly counters: ScannerCounters;
  session: ScannerSession | undefined;
  /** Flows that it has seen enough of. */
  readonly finished: FinishedFlows;
  /** What the last process got: while there is none, its frames meet `on_failure`. */
  grants: ScannerSession["grants"];
}

/** A program that matches every frame. */
const MATCHES_ALL: readonly BpfInstruction[] = [{ code: 0x06, jt: 0, jf: 0, k: 0xffffffff }];

/** All frames of a filter. */
export function everyFrame(text: string, linkType: number): ScanRule {
  return { asked: compileFilter(text, linkType), within: [MATCHES_ALL] };
}

/** Which frames must come to user space: what scanners subscribed to, and what one that is not there would contain. */
export function scanRules(
  slots: readonly Slot[],
  reconstructed: readonly FrameFilter[],
): ScanRule[] {
  const reconstruct = reconstructed.map(({ program }) => ({
    asked: program,
    within: [MATCHES_ALL],
  }));
  const scanners = slots.flatMap((slot): ScanRule[] => {
    const grants = slot.session?.grants ?? slot.grants;
    if (grants.length === 0) {
      const streams = slot.checker.containStreamFrames;
      const filters = [...slot.checker.contain, ...streams === undefined ? [] : [streams]];
      return filters.map(({ program }) => ({
        asked: program,
        within: [MATCHES_ALL],
        scanner: slot.number,
      }));
    }
    return grants.flatMap((grant) =>
      grant.right === undefined ? [] : [{
        asked: grant.asked.program,
        // Of streams both directions are needed, whatever filter allows the one.
        within: grant.streams === undefined
          ? grant.within.map(({ program }) => program)
          : [MATCHES_ALL],
        // A stream is rewritten here to its end.
        ...(grant.streams === undefined
          ? { scanner: slot.number, copy: grant.right === "read" }
          : {}),
      }]
    );
  });
  return [...reconstruct, ...scanners];
}

/** What scanners subscribed to, with what came of it since their processes started. */
export function scanCounters(slots: readonly Slot[]): ScanCounters[] {
  return slots.flatMap(({ name, session }) =>
    session === undefined ? [] : session.grants.flatMap((grant, i) => {
      if (grant.right === undefined) return [];
      const { right, asked, streams } = grant;
      const { frames = 0, bytes = 0 } = session.matched[i] ?? {};
      const rule = { scanner: name, right, filter: asked.text };
      return [
        streams === undefined
          ? { kind: "scan" as const, ...rule, frames, bytes }
          : { kind: "reconstruct" as const, ...rule, connections: frames },
      ];
    })
  );
}
