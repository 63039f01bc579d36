/**
 * The NI kernel's end of the conversation with one scanner (docs/protocols/scanner.md): everything that comes is
 * checked, and a scanner that breaks the protocol or answers for what it was not asked is ended.
 *
 * @module
 */
import {
  DIRECTION,
  FLAG_LAST,
  FLAG_VERDICT,
  FRAME_HEADER,
  HEADER_SIZE,
  MESSAGE,
  MessageBuffer,
  MessageReader,
  OPENER,
  PROTOCOL_VERSION,
  RIGHT,
  VERDICT,
} from "../../niapp/sdk/protocol.ts";
import type { Direction, FrameRef } from "./frame.ts";
import { OptionFeed } from "./option_feed.ts";
import { type FrameCopy, RecentFrames } from "./recent_frames.ts";
import { type Grant, RightsChecker, type ScannerRights, type StreamAsk } from "./rights.ts";
import { type Clock, LEAST_STREAM_MESSAGE, SessionStreams } from "./session_streams.ts";
import type { Connection } from "./stream/connection.ts";
import type { StreamTable } from "./stream/table.ts";

/** What a scanner says of a finding, as far as it is well-formed. */
export interface ScannerAlert {
  readonly signature: string;
  readonly category: string;
  readonly severity: 1 | 2 | 3;
  readonly action: "allowed" | "blocked";
  readonly detail: Readonly<Record<string, unknown>>;
  /** Copies of frames that go with it. */
  readonly frames: readonly FrameCopy[];
}

/** What a session tells the kernel. */
export interface SessionEvents {
  /** A decision about a frame that was waited for. */
  verdict(frame: number, pass: boolean): void;
  /** A registered frame is to be sent. */
  inject(frame: Uint8Array, direction: Direction, name: string): void;
  alert(alert: ScannerAlert): void;
  /** An alert about a connection, with bytes of it. */
  streamAlert(alert: ScannerAlert, connection: Connection, original: Uint8Array<ArrayBuffer>): void;
  /** The connection of a frame is to be ended. False when the scanner has no right to. */
  reset(frame: FrameCopy, direction: Direction): boolean;
  /** The flow of this frame need not be seen any more. */
  finished(frame: FrameCopy): void;
  /** A request for frames was answered. */
  granted(): void;
  /** The scanner broke a rule: it must be ended. */
  broken(why: string): void;
}

/** The scanner's connections to services. Each call says what is wrong with a request, when something is. */
export interface ServiceRequests {
  connect(connection: number, name: string): string | undefined;
  write(connection: number, bytes: Uint8Array): string | undefined;
  hangup(connection: number, how: number): string | undefined;
}

/** Facts for the greeting. */
export interface SessionSettings {
  /** Bytes of the largest frame that can be sent. */
  readonly longestFrame: number;
  readonly linkType: number;
  readonly hostNetworks: readonly string[];
  /** Bytes of a stream's direction that are held at most. */
  readonly streamLimit: number;
  /** The kernel's time. */
  readonly clock: Clock;
  /** Where connections are, once there are any. */
  readonly table: () => StreamTable | undefined;
}

/** Why a frame was not given to a scanner. */
export type Undelivered = "queue" | "down";

/** Frames and bytes kept for alerts. */
const RECENT_BYTES = 1024 * 1024;
const MAX_ALERT_FRAMES = 1024;
const MAX_ALERT_TEXT = 32 * 1024;
const MAX_SUBSCRIPTIONS = 16;
const MAX_RANGES = 256;
/** Bytes of an Ethernet header. */
const SHORTEST_FRAME = 14;

/** Counts of one scanner, over all its processes. */
export interface ScannerCounters {
  /** Frames given to it. */
  frames: number;
  bytes: number;
  passed: number;
  cut: number;
  injected: number;
  /** Resets that the kernel wrote for it. */
  resets: number;
  alerts: number;
  /** Alerts over the limit. */
  alertsDropped: number;
  /** Frames that it should have read and could not, since it was too slow. */
  lost: number;
  /** Frames about which its `on_failure` decided. */
  failedOpen: number;
  failedClosed: number;
  /** Connections given to it, and bytes of them. */
  streams: number;
  streamBytes: number;
  /** Bytes of streams that it cut, and connections that it killed. */
  cutBytes: number;
  killed: number;
  /** Connections to services: made, and not made. */
  services: { connected: number; refused: number };
}

/** New counters. */
export function scannerCounters(): ScannerCounters {
  return {
    frames: 0,
    bytes: 0,
    passed: 0,
    cut: 0,
    injected: 0,
    resets: 0,
    alerts: 0,
    alertsDropped: 0,
    lost: 0,
    failedOpen: 0,
    failedClosed: 0,
    streams: 0,
    streamBytes: 0,
    cutBytes: 0,
    killed: 0,
    services: { connected: 0, refused: 0 },
  };
}

/** One scanner process, from greeting to end. */
export class ScannerSession {
  readonly name: string;
  /** Messages for the scanner. */
  readonly out = new MessageBuffer(1 << 17);
  /** What the scanner asked for, in order, and got. */
  readonly grants: Grant[] = [];
  /** Connections that it reads. */
  readonly streams: SessionStreams;
  /** What each of them matched. */
  readonly matched: { frames: number; bytes: number }[] = [];
  /** The requests, to be decided about again when the rights are others. */
  readonly #asked: ((checker: RightsChecker) => Grant)[] = [];
  /** Frames that it must decide about. */
  readonly awaited = new Set<number>();
  /** The last token that it answered. */
  done = 0;
  /** When it wants to be told of the time: milliseconds since the epoch. */
  wake: number | undefined;
  /** Said what it wants at the start. */
  greeted = false;
  /** Who connects it to services; undefined: nobody. */
  services: ServiceRequests | undefined;
  #ended = false;
  #lost = 0;
  #alertsThisMinute = 0;
  #minute = -1;
  readonly #settings: SessionSettings;
  #rights: ScannerRights;
  #checker: RightsChecker;
  readonly #events: SessionEvents;
  /** Shared by all processes of the scanner. */
  readonly counters: ScannerCounters;
  readonly #reader = new MessageReader(1 << 18);
  readonly #recent = new RecentFrames(RECENT_BYTES);
  readonly #feed: OptionFeed;
  #now = 0;

  /** @param checker shared by all processes of the scanner. */
  constructor(
    name: string,
    rights: ScannerRights,
    checker: RightsChecker,
    settings: SessionSettings,
    counters: ScannerCounters,
    events: SessionEvents,
  ) {
    this.name = name;
    this.#settings = settings;
    this.#rights = rights;
    this.#checker = checker;
    this.#events = events;
    this.counters = counters;
    this.streams = new SessionStreams(this.out, rights, counters, settings.clock, settings.table);
    const tables = rights.optionTables ?? [];
    this.#feed = new OptionFeed(tables);
    this.out.begin(MESSAGE.WELCOME).u16(PROTOCOL_VERSION).u16(0);
    this.out.raw(
      new TextEncoder().encode(JSON.stringify({
        options: rights.options,
        tables: tables.map(({ option }) => option),
        host_networks: settings.hostNetworks,
        link_type: settings.linkType,
        injections: rights.injections.map((i) => i.name),
        stream_limit: settings.streamLimit,
        services: Object.keys(rights.services),
      })),
    ).end();
  }

  /** Where the next bytes of the scanner are to be put. */
  space(): Uint8Array<ArrayBuffer> {
    return this.#reader.space();
  }

  /** Adds more of its options to what is to be written, which is none now; false: it has them all. */
  feed(): boolean {
    if (this.#ended) return false;
    let piece;
    try {
      piece = this.#feed.next();
    } catch (error) {
      this.#broken(`its options: ${error instanceof Error ? error.message : error}`);
      return false;
    }
    if (piece === undefined) return false;
    const name = new TextEncoder().encode(piece.option);
    this.out.begin(MESSAGE.OPTION).u16(piece.last ? FLAG_LAST : 0).u16(name.length).raw(name);
    this.out.raw(new TextEncoder().encode(piece.text)).end();
    return true;
  }

  /** Works on bytes that were put to {@link space}. `now` in milliseconds since the epoch. */
  take(count: number, now: number): void {
    this.#now = now;
    const problem = this.#reader.take(count, (type, start, end) => {
      if (!this.#ended) this.#message(type, start, end);
    });
    if (problem !== undefined) this.#broken(problem);
  }

  /**
   * Gives a frame to the scanner.
   *
   * @param subscriptions bit n: its subscription n matches.
   * @param held a verdict is waited for.
   * @returns why it could not be given, when it could not.
   */
  deliver(frame: FrameRef, subscriptions: number, held: boolean): Undelivered | undefined {
    if (this.#ended) return "down";
    const captured = frame.end - frame.start;
    const full = this.out.length + captured > this.#rights.queueBytes ||
      (held && this.awaited.size >= this.#rights.queueFrames);
    if (full) {
      if (!held) {
        this.#lost++;
        this.counters.lost++;
      }
      return "queue";
    }
    if (this.#lost > 0) this.#tellLost();
    const bytes = frame.data.subarray(frame.start, frame.end);
    this.#frameMessage(frame, bytes, subscriptions, held);
    if (held) this.awaited.add(frame.number);
    this.#recent.add(frame, bytes);
    this.counters.frames++;
    this.counters.bytes += captured;
    for (let i = 0, bits = subscriptions; bits !== 0; i++, bits >>>= 1) {
      const count = this.matched[i];
      if ((bits & 1) === 0 || count === undefined) continue;
      count.frames++;
      count.bytes += captured;
    }
    return undefined;
  }

  /** Written at once, not field by field: there is one for every frame. */
  #frameMessage(frame: FrameRef, bytes: Uint8Array, subscriptions: number, held: boolean): void {
    const { out } = this;
    const at = out.claim(MESSAGE.FRAME, FRAME_HEADER - HEADER_SIZE + bytes.length);
    const { view } = out;
    view.setUint32(at, frame.number >>> 0, true);
    view.setUint32(at + 4, Math.floor(frame.number / 0x100000000), true);
    view.setUint32(at + 8, frame.seconds, true);
    view.setUint32(at + 12, frame.nanoseconds, true);
    view.setUint32(at + 16, frame.wireLength, true);
    view.setUint32(at + 20, bytes.length, true);
    view.setUint8(at + 24, frame.direction === "to-host" ? DIRECTION.TO_HOST : DIRECTION.FROM_HOST);
    view.setUint8(at + 25, held ? FLAG_VERDICT : 0);
    view.setUint16(at + 26, subscriptions, true);
    view.setUint32(at + 28, 0, true);
    out.bytes.set(bytes, at + FRAME_HEADER - HEADER_SIZE);
  }

  /** Frames did not come as far as here; it may have been among those who read them. */
  lost(count: number): void {
    if (!this.grants.some(({ right }) => right === "read")) return;
    this.#lost += count;
    this.counters.lost += count;
  }

  /** Tells the time, which {@link wake} asked for. */
  time(seconds: number, nanoseconds: number): void {
    this.wake = undefined;
    this.out.begin(MESSAGE.TIME).u32(seconds).u32(nanoseconds).end();
  }

  /** Asks for an answer once all that was said before has been worked on. */
  sync(token: number): void {
    this.out.begin(MESSAGE.SYNC).u32(token).end();
  }

  /** Asks the scanner to end. */
  stop(): void {
    this.out.begin(MESSAGE.STOP).end();
  }

  /** Other rights: what was asked for is decided anew, and the answers are told again. */
  setRights(rights: ScannerRights, checker: RightsChecker): void {
    this.#rights = rights;
    this.#checker = checker;
    this.streams.setRights(rights);
    for (const request of this.#asked.keys()) this.#decide(request);
  }

  /** Nothing that still comes counts. */
  end(): void {
    this.#ended = true;
    this.#feed.close();
  }

  #tellLost(): void {
    this.out.begin(MESSAGE.LOST).u32(this.#lost).end();
    this.#lost = 0;
  }

  #broken(why: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#events.broken(why);
  }

  #message(type: number, start: number, end: number): void {
    const least = LEAST[type];
    if (least === undefined) return this.#broken(`message type ${type} is unknown`);
    if (end - start < least) return this.#broken(`message type ${type} is too short`);
    if (!this.greeted && type !== MESSAGE.HELLO) return this.#broken("no HELLO before the rest");
    const { view } = this.#reader;
    switch (type) {
      case MESSAGE.HELLO: {
        if (this.greeted) return this.#broken("second HELLO");
        const version = view.getUint16(start, true);
        if (version !== PROTOCOL_VERSION) return this.#broken(`protocol version ${version}`);
        this.greeted = true;
        return;
      }
      case MESSAGE.SUBSCRIBE:
        return this.#subscribe(
          view.getUint32(start, true),
          view.getUint32(start + 4, true),
          start + 8,
          end,
        );
      case MESSAGE.VERDICT:
        return this.#verdict(this.#reader.u64(start), view.getUint32(start + 8, true));
      case MESSAGE.INJECT:
        return this.#inject(view.getUint32(start, true), view.getUint32(start + 4, true));
      case MESSAGE.ALERT:
        return this.#alert(start, end);
      case MESSAGE.DONE:
        this.done = view.getUint32(start, true);
        return;
      case MESSAGE.FINISHED: {
        const frame = this.#recent.get(this.#reader.u64(start));
        // It may have been overwritten since; the flow is then simply seen on.
        if (frame !== undefined) this.#events.finished(frame);
        return;
      }
      case MESSAGE.SUBSCRIBE_STREAMS:
        return this.#subscribeStreams(start, end);
      case MESSAGE.PASS:
      case MESSAGE.CUT:
      case MESSAGE.STREAM_INJECT:
      case MESSAGE.MORE:
      case MESSAGE.KILL:
      case MESSAGE.RELEASE: {
        const wrong = this.streams.request(type, this.#reader, start);
        if (wrong !== undefined) this.#broken(wrong);
        return;
      }
      case MESSAGE.STREAM_ALERT:
        return this.#streamAlert(start, end);
      case MESSAGE.RESET:
        return this.#reset(this.#reader.u64(start), view.getUint32(start + 8, true));
      case MESSAGE.WAKE:
        this.wake = view.getUint32(start, true) * 1000 + view.getUint32(start + 4, true) / 1e6;
        return;
      case MESSAGE.SERVICE_CONNECT:
      case MESSAGE.SERVICE_WRITE:
      case MESSAGE.SERVICE_HANGUP: {
        const problem = this.#service(type, start, end);
        if (problem !== undefined) this.#broken(problem);
      }
    }
  }

  #service(type: number, start: number, end: number): string | undefined {
    const { view, bytes } = this.#reader;
    if (this.services === undefined) return "it asks for a service, and there are none here";
    const connection = view.getUint32(start, true);
    const value = view.getUint32(start + 4, true);
    if (type === MESSAGE.SERVICE_CONNECT) {
      return this.services.connect(connection, text(bytes, start + 8, end));
    }
    if (type === MESSAGE.SERVICE_HANGUP) return this.services.hangup(connection, value);
    if (value > end - start - 8) return "a SERVICE_WRITE is shorter than it says";
    return this.services.write(connection, bytes.subarray(start + 8, start + 8 + value));
  }

  #subscribe(request: number, right: number, start: number, end: number): void {
    const filter = text(this.#reader.bytes, start, end);
    this.#grant(
      request,
      right,
      (checker, asked) => checker.decide(filter, asked),
    );
  }

  #subscribeStreams(start: number, end: number): void {
    const { view } = this.#reader;
    const opener = OPENERS[view.getUint32(start + 8, true)];
    const count = view.getUint32(start + 12, true);
    if (opener === undefined || count > MAX_RANGES || start + 16 + count * 4 > end) {
      return this.#broken("a subscription of streams is not possible");
    }
    const ports = Array.from({ length: count }, (_, i) =>
      [
        view.getUint16(start + 16 + i * 4, true),
        view.getUint16(start + 18 + i * 4, true),
      ] as const);
    if (ports.some(([first, last]) => first > last)) {
      return this.#broken("a range of ports ends before it begins");
    }
    this.#grant(
      view.getUint32(start, true),
      view.getUint32(start + 4, true),
      (checker, right) => checker.decideStreams({ ports, opener }, right),
    );
  }

  #grant(
    request: number,
    right: number,
    decide: (checker: RightsChecker, right: "read" | "contain") => Grant,
  ): void {
    if (right !== RIGHT.READ && right !== RIGHT.CONTAIN) {
      return this.#broken(`subscription with right ${right}`);
    }
    if (request !== this.grants.length || request >= MAX_SUBSCRIPTIONS) {
      return this.#broken(
        `subscription ${request} is not the next of at most ${MAX_SUBSCRIPTIONS}`,
      );
    }
    const asked = right === RIGHT.CONTAIN ? "contain" : "read";
    this.#asked.push((checker) => decide(checker, asked));
    this.matched.push({ frames: 0, bytes: 0 });
    this.#decide(request);
    this.#events.granted();
  }

  /** Decides about a request, and tells the answer. */
  #decide(request: number): void {
    const ask = this.#asked[request];
    if (ask === undefined) return;
    const grant = ask(this.#checker);
    this.grants[request] = grant;
    this.out.begin(MESSAGE.SUBSCRIBED).u32(request);
    this.out.u32(
      grant.right === "contain" ? RIGHT.CONTAIN : grant.right === "read" ? RIGHT.READ : 0,
    );
    this.out.u32(0).u32(0).raw(new TextEncoder().encode(grant.why)).end();
  }

  #verdict(frame: number, verdict: number): void {
    if (verdict !== VERDICT.PASS && verdict !== VERDICT.CUT) {
      return this.#broken(`verdict ${verdict} is unknown`);
    }
    if (!this.awaited.delete(frame)) {
      return this.#broken(`verdict for frame ${frame}, which it was not asked for`);
    }
    const pass = verdict === VERDICT.PASS;
    if (pass) this.counters.passed++;
    else this.counters.cut++;
    this.#events.verdict(frame, pass);
  }

  #inject(index: number, direction: number): void {
    const injection = this.#rights.injections[index];
    if (injection === undefined) {
      return this.#broken(`injection ${index} is not registered for this scanner`);
    }
    if (direction !== DIRECTION.FROM_HOST && direction !== DIRECTION.TO_HOST) {
      return this.#broken(`direction ${direction} is unknown`);
    }
    if (injection.kind === "stream") {
      return this.#broken(`injection ${index} is registered for streams, and no frame`);
    }
    const { length } = injection.frame;
    if (length < SHORTEST_FRAME || length > this.#settings.longestFrame) {
      return this.#broken(`injection ${index} has ${length} bytes: no frame of this link`);
    }
    this.counters.injected++;
    this.#events.inject(
      injection.frame,
      direction === DIRECTION.TO_HOST ? "to-host" : "from-host",
      injection.name,
    );
  }

  #reset(number: number, direction: number): void {
    if (direction !== DIRECTION.FROM_HOST && direction !== DIRECTION.TO_HOST) {
      return this.#broken(`direction ${direction} is unknown`);
    }
    const frame = this.#recent.get(number);
    // It may have been overwritten since: nothing is known of its connection then.
    if (frame === undefined) return;
    if (!this.#events.reset(frame, direction === DIRECTION.TO_HOST ? "to-host" : "from-host")) {
      this.#broken(`reset for frame ${number}, which it may not contain`);
    }
  }

  #alert(start: number, end: number): void {
    const { view } = this.#reader;
    const count = view.getUint32(start, true);
    const length = view.getUint32(start + 4, true);
    const textStart = start + 8 + count * 8;
    if (count > MAX_ALERT_FRAMES || length > MAX_ALERT_TEXT || textStart + length > end) {
      return this.#broken("an alert is larger than it may be");
    }
    if (!this.#mayAlert()) return;
    const alert = readAlert(text(this.#reader.bytes, textStart, textStart + length));
    if (typeof alert === "string") return this.#broken(alert);
    const frames = Array.from(
      { length: count },
      (_, i) => this.#recent.get(this.#reader.u64(start + 8 + i * 8)),
    );
    this.counters.alerts++;
    this.#events.alert({ ...alert, frames: frames.filter((frame) => frame !== undefined) });
  }

  #streamAlert(start: number, end: number): void {
    const length = this.#reader.view.getUint32(start + 20, true);
    if (length > MAX_ALERT_TEXT || start + 24 + length > end) {
      return this.#broken("an alert is larger than it may be");
    }
    const about = this.streams.alerted(this.#reader, start);
    if (about === undefined || !this.#mayAlert()) return;
    const alert = readAlert(text(this.#reader.bytes, start + 24, start + 24 + length));
    if (typeof alert === "string") return this.#broken(alert);
    this.counters.alerts++;
    this.#events.streamAlert({ ...alert, frames: [] }, about.connection, about.original);
  }

  #mayAlert(): boolean {
    const minute = Math.floor(this.#now / 60_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#alertsThisMinute = 0;
    }
    if (++this.#alertsThisMinute <= this.#rights.alertsPerMinute) return true;
    this.counters.alertsDropped++;
    return false;
  }
}

/** Bytes that each message's body has at least; what is not here is unknown. */
const LEAST: Readonly<Record<number, number>> = {
  [MESSAGE.HELLO]: 12 - HEADER_SIZE,
  [MESSAGE.SUBSCRIBE]: 8,
  [MESSAGE.VERDICT]: 16,
  [MESSAGE.INJECT]: 8,
  [MESSAGE.ALERT]: 8,
  [MESSAGE.DONE]: 4,
  [MESSAGE.FINISHED]: 8,
  [MESSAGE.WAKE]: 8,
  ...LEAST_STREAM_MESSAGE,
  [MESSAGE.RESET]: 16,
  [MESSAGE.SERVICE_CONNECT]: 8,
  [MESSAGE.SERVICE_WRITE]: 8,
  [MESSAGE.SERVICE_HANGUP]: 8,
};

const OPENERS: readonly (StreamAsk["opener"] | undefined)[] = (() => {
  const openers: (StreamAsk["opener"] | undefined)[] = [];
  openers[OPENER.HOST] = "host";
  openers[OPENER.NET] = "net";
  openers[OPENER.EITHER] = "either";
  return openers;
})();

function text(bytes: Uint8Array, start: number, end: number): string {
  let stop = end;
  while (stop > start && bytes[stop - 1] === 0) stop--;
  return new TextDecoder().decode(bytes.subarray(start, stop));
}

/** A scanner's words go to people and pipelines: only the known fields, of the right kind and size. */
function readAlert(json: string): Omit<ScannerAlert, "frames"> | string {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(json) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof SyntaxError) return "an alert is not JSON";
    throw error;
  }
  if (typeof value !== "object" || value === null) return "an alert is not an object";
  const { signature, category = "", severity = 3, action = "allowed", detail = {} } = value;
  if (typeof signature !== "string" || signature === "" || signature.length > 200) {
    return "an alert has no signature, or one of more than 200 characters";
  }
  if (typeof category !== "string" || category.length > 200) {
    return "an alert's category is no text";
  }
  if (severity !== 1 && severity !== 2 && severity !== 3) {
    return "an alert's severity is not 1 to 3";
  }
  if (action !== "allowed" && action !== "blocked") return "an alert's action is unknown";
  if (typeof detail !== "object" || detail === null || Array.isArray(detail)) {
    return "an alert's detail is not an object";
  }
  return { signature, category, severity, action, detail: detail as Record<string, unknown> };
}
