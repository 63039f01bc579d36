/**
 * What a scanner may do: rights that the administrator gave it (CMU-CS-02-144, section 3.2). A scanner can get less than
 * it asks, never more.
 *
 * @module
 */
import { BpfError, type BpfFunction, type BpfInstruction, compileBpf } from "../net/bpf.ts";
import { compileFilter, FilterError } from "../sys/libpcap.ts";
import type { OptionTable } from "./option_files.ts";

/** Registered data, which a scanner can have sent, whole and as it is. */
export interface Injection {
  readonly name: string;
  /** A frame, or bytes of a stream. */
  readonly frame: Uint8Array;
  /** Which of them it is; a frame without it. */
  readonly kind?: "frame" | "stream";
}

/** Rights to reconstructed streams: filters of packets from the client of a connection to its server. */
export interface StreamRights {
  readonly read: readonly string[];
  /** Includes the right to read. */
  readonly contain: readonly string[];
}

/** The rights and bounds of one scanner. */
export interface ScannerRights {
  /** Filters of frames that it may read; empty strings match all. */
  readonly read: readonly string[];
  /** Filters of frames that it may hold, cut and pass. Includes the right to read them. */
  readonly contain: readonly string[];
  /** None without it. */
  readonly streams?: StreamRights;
  readonly injections: readonly Injection[];
  /** Unix stream sockets that the kernel connects it to, by the names that it knows them by. */
  readonly services: Readonly<Record<string, string>>;
  /** Alerts a minute; more are counted and dropped. */
  readonly alertsPerMinute: number;
  /** Bytes of memory. */
  readonly memory: number;
  /** Percent of one processor over ten seconds. */
  readonly cpu: number;
  /** Frames that may wait for its verdict, and bytes that may wait to be read by it. */
  readonly queueFrames: number;
  readonly queueBytes: number;
  /** Milliseconds that a frame may wait for its verdict. */
  readonly holdLimit: number;
  /** What its contain subscription means while it is late, dead or broken. */
  readonly onFailure: "open" | "closed";
  /** Passed on to it. */
  readonly options: Readonly<Record<string, unknown>>;
  /** What stands in these is added to its options when it starts; none without it. */
  readonly optionTables?: readonly OptionTable[];
}

/** A filter as the kernel runs it. */
export interface FrameFilter {
  readonly text: string;
  /**
   * The filter looks at VLAN tags itself. Others see frames without their outer tag, as in the kernel, which has
   * taken it out before filters see a frame.
   */
  readonly tagged: boolean;
  readonly match: BpfFunction;
  /** As the kernel takes it. */
  readonly program: readonly BpfInstruction[];
}

/**
 * Compiles a filter for frames of a link type.
 *
 * @throws {FilterError} when it is not one.
 */
export function frameFilter(text: string, linkType: number): FrameFilter {
  const program = compileFilter(text, linkType);
  try {
    return { text, tagged: /\bvlan\b/.test(text), program, match: compileBpf(program) };
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    // libpcap makes loops for `protochain`, which no kernel runs.
    const what = `filter ${JSON.stringify(text)}: ${error.message}`;
    throw new FilterError(what, "write it without protochain", { cause: error });
  }
}

/** Which connections are asked for. */
export interface StreamAsk {
  /** Ranges of the server's port; none: all. */
  readonly ports: readonly (readonly [first: number, last: number])[];
  readonly opener: "host" | "net" | "either";
}

/** What became of a request for frames. */
export type Grant =
  | {
    readonly right: "read" | "contain";
    readonly asked: FrameFilter;
    readonly within: readonly FrameFilter[];
    readonly why: string;
    /** Streams are asked for; then `asked` is the filter of their frames. */
    readonly streams?: StreamAsk;
  }
  | { readonly right: undefined; readonly why: string };

/** Decides about requests of one scanner for frames. */
export class RightsChecker {
  readonly #read: readonly FrameFilter[];
  readonly #contain: readonly FrameFilter[];
  readonly #linkType: number;
  readonly #readStreams: readonly FrameFilter[];
  readonly #containStreams: readonly FrameFilter[];
  readonly #streamFrames: FrameFilter | undefined;

  /** @throws {FilterError} when a filter in the rights is not one. */
  constructor(rights: ScannerRights, linkType: number) {
    this.#linkType = linkType;
    this.#contain = rights.contain.map((text) => frameFilter(text, linkType));
    // Who may hold a frame may read it.
    this.#read = [
      ...rights.read.map((text) => frameFilter(text, linkType)),
      ...this.#contain,
    ];
    const { read = [], contain = [] } = rights.streams ?? {};
    // They are asked about packets that streams_of_scanners.ts makes up, which are Ethernet's.
    this.#containStreams = contain.map((text) => frameFilter(text, ETHERNET));
    this.#readStreams = [
      ...read.map((text) => frameFilter(text, ETHERNET)),
      ...this.#containStreams,
    ];
    this.#streamFrames = contain.length === 0 ? undefined : frameFilter(
      streamFilter(contain.map((text) => `(${text || "tcp"})`).join(" or ")),
      linkType,
    );
  }

  /** What it may contain of streams at all, by packets from clients. */
  get containStreams(): readonly FrameFilter[] {
    return this.#containStreams;
  }

  /** The frames of these; undefined: none. */
  get containStreamFrames(): FrameFilter | undefined {
    return this.#streamFrames;
  }

  /** Answers a request for streams. */
  decideStreams(streams: StreamAsk, right: "read" | "contain"): Grant {
    const asked = frameFilter(streamFilter(portsFilter(streams)), this.#linkType);
    if (right === "contain" && this.#containStreams.length > 0) {
      return { right, asked, within: this.#containStreams, why: "", streams };
    }
    if (this.#readStreams.length === 0) {
      return { right: undefined, why: "the administrator lets this scanner see no streams" };
    }
    const why = right === "contain" ? "the administrator lets this scanner read only" : "";
    return { right: "read", asked, within: this.#readStreams, why, streams };
  }

  /** What it may contain at all. */
  get contain(): readonly FrameFilter[] {
    return this.#contain;
  }

  /** Answers a request: the frames that it asks for and the rights allow both, or why there are none. */
  decide(text: string, right: "read" | "contain"): Grant {
    let asked: FrameFilter;
    try {
      asked = frameFilter(text, this.#linkType);
    } catch (error) {
      if (!(error instanceof FilterError)) throw error;
      return { right: undefined, why: error.message };
    }
    if (right === "contain" && this.#contain.length > 0) {
      return { right, asked, within: this.#contain, why: "" };
    }
    if (this.#read.length === 0) {
      return { right: undefined, why: "the administrator lets this scanner see no frames" };
    }
    const why = right === "contain" ? "the administrator lets this scanner read only" : "";
    return { right: "read", asked, within: this.#read, why };
  }
}

const ETHERNET = 1;

/** The filter of all frames that may belong to streams of a filter: also those whose ports it cannot see. */
export function streamFilter(text: string): string {
  const hidden =
    "(ip[6:2] & 0x3fff != 0) or (ip6 and not (ip6[6] = 6 or ip6[6] = 17 or ip6[6] = 58))";
  return `(${text}) or ${hidden}`;
}

function portsFilter({ ports }: StreamAsk): string {
  if (ports.length === 0) return "tcp";
  return ports.map(([first, last]) => `tcp portrange ${first}-${last}`).join(" or ");
}
