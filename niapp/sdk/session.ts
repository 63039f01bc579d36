/**
 * One scanner's side of the protocol, without input and output: bytes in, bytes out.
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
} from "./protocol.ts";
import { OpenStreams } from "./open_streams.ts";
import type { Opener } from "./stream.ts";
import type {
  Alert,
  Direction,
  Frame,
  Ni,
  Scanner,
  ServiceConnection,
  ServiceEvents,
} from "./scanner.ts";
import { ServiceClient } from "./services.ts";

interface Settings {
  readonly options: Readonly<Record<string, unknown>>;
  readonly host_networks: readonly string[];
  readonly link_type: number;
  readonly injections: readonly string[];
  readonly stream_limit?: number;
  readonly services: readonly string[];
  /** Options to which more is added before the scanner begins. */
  readonly tables: readonly string[];
}

const NO_SETTINGS: Settings = {
  options: {},
  host_networks: [],
  link_type: 1,
  injections: [],
  services: [],
  tables: [],
};

/** A scanner that talks to a kernel. */
export class Session implements Ni {
  /** The kernel said that it is over. */
  stopped = false;
  /** As {@link Ni.now}. */
  now = 0;
  #settings: Settings = NO_SETTINGS;
  readonly #scanner: Scanner;
  readonly #reader: MessageReader;
  readonly #out = new MessageBuffer();
  readonly #streams: OpenStreams;
  readonly #services = new ServiceClient(this.#out);
  readonly #frame: { -readonly [K in keyof Frame]: Frame[K] };
  #subscriptions = 0;
  /** A SYNC that is answered when all connections to services are over. */
  #sync: number | undefined;
  #greeted = false;
  /** Tables that did not come to their end. */
  #tables = 0;

  /** @param readSize bytes that can be taken at once. */
  constructor(scanner: Scanner, readSize?: number) {
    this.#scanner = scanner;
    this.#reader = new MessageReader(readSize);
    this.#streams = new OpenStreams(scanner, this, this.#reader, this.#out);
    this.#frame = {
      number: 0,
      data: this.#reader.bytes,
      start: 0,
      end: 0,
      wireLength: 0,
      direction: "from-host",
      time: 0,
      held: false,
      subscriptions: 0,
    };
    this.#out.begin(MESSAGE.HELLO).u16(PROTOCOL_VERSION).u16(0);
    this.#out.raw(new TextEncoder().encode(scanner.name)).end();
  }

  /** As {@link Ni.options}. */
  get options(): Readonly<Record<string, unknown>> {
    return this.#settings.options;
  }

  /** As {@link Ni.hostNetworks}. */
  get hostNetworks(): readonly string[] {
    return this.#settings.host_networks;
  }

  /** As {@link Ni.linkType}. */
  get linkType(): number {
    return this.#settings.link_type;
  }

  /** As {@link Ni.streamLimit}. */
  get streamLimit(): number {
    return this.#settings.stream_limit ?? 0;
  }

  /** As {@link Ni.injections}. */
  get injections(): readonly string[] {
    return this.#settings.injections;
  }

  /** As {@link Ni.services}. */
  get services(): readonly string[] {
    return this.#settings.services;
  }

  /** As {@link Ni.connect}. */
  connect(service: string, events: ServiceEvents): ServiceConnection {
    return this.#services.connect(service, events);
  }

  /** Where the next bytes from the kernel are to be put. */
  space(): Uint8Array<ArrayBuffer> {
    return this.#reader.space();
  }

  /**
   * Works on bytes that were put to {@link space}.
   *
   * @throws {Error} when they are not of the protocol.
   */
  take(count: number): void {
    const problem = this.#reader.take(count, (type, start, end) => this.#message(type, start, end));
    if (problem !== undefined) throw new Error(`The NI kernel broke the protocol: ${problem}`);
    this.#answerSync();
  }

  /** What is to be written to the kernel. Valid until the next call of anything here. */
  output(): Uint8Array<ArrayBuffer> {
    const bytes = this.#out.bytes.subarray(0, this.#out.length);
    this.#out.length = 0;
    return bytes;
  }

  /** As {@link Ni.subscribe}. */
  subscribe(filter: string, right: "read" | "contain"): number {
    const number = this.#subscriptions++;
    this.#out.begin(MESSAGE.SUBSCRIBE).u32(number);
    this.#out.u32(right === "contain" ? RIGHT.CONTAIN : RIGHT.READ);
    this.#out.raw(new TextEncoder().encode(filter)).end();
    return number;
  }

  /** As {@link Ni.subscribeStreams}. */
  subscribeStreams(
    ports: readonly (number | readonly [number, number])[],
    right: "read" | "contain",
    opener?: Opener,
  ): number {
    const number = this.#subscriptions++;
    this.#out.begin(MESSAGE.SUBSCRIBE_STREAMS).u32(number);
    this.#out.u32(right === "contain" ? RIGHT.CONTAIN : RIGHT.READ);
    this.#out.u32(opener === "host" ? OPENER.HOST : opener === "net" ? OPENER.NET : OPENER.EITHER);
    this.#out.u32(ports.length);
    for (const range of ports) {
      const [first, last] = typeof range === "number" ? [range, range] : range;
      this.#out.u16(first).u16(last);
    }
    this.#out.end();
    return number;
  }

  /** As {@link Ni.decide}. */
  decide(frame: number, verdict: "pass" | "cut"): void {
    this.#out.begin(MESSAGE.VERDICT).u64(frame);
    this.#out.u32(verdict === "pass" ? VERDICT.PASS : VERDICT.CUT).u32(0).end();
  }

  /** As {@link Ni.inject}. */
  inject(index: number, direction: Direction): void {
    this.#out.begin(MESSAGE.INJECT).u32(index);
    this.#out.u32(direction === "to-host" ? DIRECTION.TO_HOST : DIRECTION.FROM_HOST).end();
  }

  /** As {@link Ni.alert}. */
  alert(alert: Alert, frames: readonly number[] = []): void {
    const text = new TextEncoder().encode(JSON.stringify(alert));
    this.#out.begin(MESSAGE.ALERT).u32(frames.length).u32(text.length);
    for (const frame of frames) this.#out.u64(frame);
    this.#out.raw(text).end();
  }

  /** As {@link Ni.reset}. */
  reset(frame: number, direction: Direction): void {
    this.#out.begin(MESSAGE.RESET).u64(frame);
    this.#out.u32(direction === "to-host" ? DIRECTION.TO_HOST : DIRECTION.FROM_HOST).u32(0).end();
  }

  /** As {@link Ni.finish}. */
  finish(frame: number): void {
    this.#out.begin(MESSAGE.FINISHED).u64(frame).end();
  }

  /** As {@link Ni.wakeAt}. */
  wakeAt(time: number): void {
    const seconds = Math.floor(time / 1000);
    // Rounded up, so that the time has really come when the kernel says so.
    const nanoseconds = Math.min(999_999_999, Math.ceil((time - seconds * 1000) * 1e6));
    this.#out.begin(MESSAGE.WAKE).u32(seconds).u32(nanoseconds).end();
  }

  #message(type: number, start: number, end: number): void {
    if (!this.#greeted && type !== MESSAGE.WELCOME) throw new Error("The NI kernel does not greet");
    const { view } = this.#reader;
    const need = (length: number) => {
      if (end - start < length) throw new Error(`A message of type ${type} is too short`);
    };
    switch (type) {
      case MESSAGE.FRAME:
        need(FRAME_HEADER - HEADER_SIZE);
        return this.#frameCame(start, end);
      case MESSAGE.SYNC:
        need(4);
        this.#answerSync();
        this.#sync = view.getUint32(start, true);
        return this.#answerSync();
      case MESSAGE.TIME:
        need(8);
        this.#clock(start);
        this.#scanner.wake?.(this);
        return;
      case MESSAGE.WELCOME:
        need(4);
        return this.#welcome(start, end);
      case MESSAGE.OPTION:
        need(4);
        return this.#option(start, end);
      case MESSAGE.SUBSCRIBED: {
        need(16);
        const granted = view.getUint32(start + 4, true);
        this.#scanner.subscribed?.(
          view.getUint32(start, true),
          granted === RIGHT.CONTAIN ? "contain" : granted === RIGHT.READ ? "read" : undefined,
          this.#text(start + 16, end),
          this,
        );
        return;
      }
      case MESSAGE.LOST:
        need(4);
        this.#scanner.lost?.(view.getUint32(start, true), this);
        return;
      case MESSAGE.STOP:
        this.stopped = true;
        return;
      case MESSAGE.OPENED:
      case MESSAGE.DATA:
      case MESSAGE.GAP:
      case MESSAGE.END:
      case MESSAGE.CLOSED:
        need(16);
        this.#clock(start + 8);
        return this.#streams.message(type, start, end);
      case MESSAGE.SERVICE_CONNECTED:
      case MESSAGE.SERVICE_ROOM:
        need(8);
        return this.#services.room(view.getUint32(start, true), view.getUint32(start + 4, true));
      case MESSAGE.SERVICE_DATA: {
        need(8);
        const length = view.getUint32(start + 4, true);
        need(8 + length);
        const bytes = this.#reader.bytes.subarray(start + 8, start + 8 + length);
        return this.#services.data(view.getUint32(start, true), bytes);
      }
      case MESSAGE.SERVICE_ENDED:
        need(8);
        return this.#services.ended(view.getUint32(start, true), this.#text(start + 8, end));
      default:
        // A newer kernel may say more; what matters is announced with a new version.
    }
  }

  /** What a service is still to say belongs to what came before. */
  #answerSync(): void {
    if (this.#sync === undefined || this.#services.busy || this.#tables > 0) return;
    this.#out.begin(MESSAGE.DONE).u32(this.#sync).end();
    this.#sync = undefined;
  }

  #welcome(start: number, end: number): void {
    const version = this.#reader.view.getUint16(start, true);
    if (version !== PROTOCOL_VERSION) {
      throw new Error(`The NI kernel speaks version ${version}, not ${PROTOCOL_VERSION}`);
    }
    this.#settings = {
      ...NO_SETTINGS,
      ...JSON.parse(this.#text(start + 4, end)) as Partial<Settings>,
    };
    this.#greeted = true;
    this.#tables = this.#settings.tables.length;
    if (this.#tables === 0) this.#scanner.start(this);
  }

  /** Lines that are added to an option. */
  #option(start: number, end: number): void {
    const { view } = this.#reader;
    const text = start + 4 + view.getUint16(start + 2, true);
    if (text > end) throw new Error("An option's name is cut off");
    const name = this.#text(start + 4, text);
    const lines = this.#text(text, end);
    const list = this.#settings.options[name];
    if (!Array.isArray(list)) throw new Error(`More comes of option ${name}, which is no list`);
    for (const line of lines.split("\n")) if (line !== "") list.push(line);
    if ((view.getUint16(start, true) & FLAG_LAST) === 0 || --this.#tables > 0) return;
    this.#scanner.start(this);
    this.#answerSync();
  }

  #frameCame(start: number, end: number): void {
    const { view } = this.#reader;
    const captured = view.getUint32(start + 20, true);
    const frame = this.#frame;
    if (start + FRAME_HEADER - HEADER_SIZE + captured > end) throw new Error("A frame is cut off");
    this.#clock(start + 8);
    frame.number = this.#reader.u64(start);
    frame.time = this.now;
    frame.wireLength = view.getUint32(start + 16, true);
    frame.direction = view.getUint8(start + 24) === DIRECTION.TO_HOST ? "to-host" : "from-host";
    frame.held = (view.getUint8(start + 25) & FLAG_VERDICT) !== 0;
    frame.subscriptions = view.getUint16(start + 26, true);
    frame.data = this.#reader.bytes;
    frame.start = start + FRAME_HEADER - HEADER_SIZE;
    frame.end = frame.start + captured;
    const verdict = this.#scanner.frame?.(frame, this);
    if (frame.held && verdict !== "later") this.decide(frame.number, verdict ?? "pass");
  }

  #clock(at: number): void {
    const { view } = this.#reader;
    this.now = view.getUint32(at, true) * 1000 + view.getUint32(at + 4, true) / 1e6;
  }

  #text(start: number, end: number): string {
    let stop = end;
    // Padding of messages that end in text.
    while (stop > start && this.#reader.bytes[stop - 1] === 0) stop--;
    return new TextDecoder().decode(this.#reader.bytes.subarray(start, stop));
  }
}
