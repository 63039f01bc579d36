/**
 * One mail connection: follows the exchange, holds each message until it is whole and checked, takes out what is
 * infected, and passes everything else as it comes.
 *
 * @module
 */
import type { CloseReason, Direction, Stream, StreamData, StreamHandler } from "../sdk/mod.ts";
import { type Check, type CheckResult, type Finding, runChecks } from "./checks.ts";
import { digest } from "./digest_table.ts";
import { Injections } from "./injections.ts";
import { fieldText } from "./mime/fields.ts";
import { Message } from "./message.ts";
import type { EmailOptions } from "./options.ts";
import { Pieces } from "./pieces.ts";
import type { Exchange, ExchangeEvents, MessageInfo, Side } from "./protocol/exchange.ts";
import { type Change, edited, removal } from "./removal.ts";
import { examine, type Examined, type Place } from "./specimens.ts";

/** What all connections of the scanner share. */
export interface Tools {
  readonly options: EmailOptions;
  readonly checks: readonly Check[];
  readonly injections: Injections;
  /** Bytes that the kernel can hold of one direction. */
  readonly streamLimit: number;
  /** Has {@link MailConnection.stalled} called soon. */
  readonly soon: (connection: MailConnection) => void;
}

/** One side of the connection. */
interface SideState {
  readonly direction: Direction;
  /** Bytes that came and were not taken. */
  waiting: Uint8Array[];
  /** Where the first of them stands, or the next that comes. */
  offset: number;
  /** What lies before it may go on, as soon as no message holds it. */
  passed: number;
  /** What the kernel was told. */
  told: number;
  message: Message | undefined;
  /** Messages that are whole, from the first one on that is being checked. */
  readonly checked: Message[];
  ended: number | undefined;
}

/** A message that is looked at, in this round or for the first time. */
interface Look {
  readonly name: Side;
  readonly message: Message;
  /** As it came. */
  readonly first: Examined;
  /** As it would be after the changes so far. */
  readonly examined: Examined;
  readonly found: readonly Finding[];
  readonly changes: readonly Change[];
  readonly round: number;
}

/** A sender sends so much before it waits for an acknowledgement (RFC 6928), and a little less counts here. */
const FIRST_FLIGHT = 10_000;
/** Messages of one side that are checked at the same time: only with POP3 does a sender go on before the answer. */
const MOST_CHECKED = { smtp: 1, pop3: 4, imap: 1 } as const;
/** Rounds of taking out and looking again; after the last one the connection is killed. */
const MOST_ROUNDS = 3;
/** What the kernel takes for a line of the mail log and not for an alert (lib/ni/mail_events.ts). */
const MAIL_LOG = "mail";
/** Attachments that are told of in one alert. */
const MOST_TOLD = 50;

/** A connection. */
export class MailConnection implements StreamHandler, ExchangeEvents {
  readonly #stream: Stream;
  readonly #tools: Tools;
  readonly #exchange: Exchange;
  readonly #sides: Readonly<Record<Side, SideState>>;
  readonly #pieces: Pieces;
  #side: Side = "client";
  #over = false;
  #pumping = false;
  /** What follows is not understood: all is let go when what came before is decided. */
  #opaque = false;

  /** @param exchange makes the parser of the connection's protocol. */
  constructor(stream: Stream, tools: Tools, exchange: (events: ExchangeEvents) => Exchange) {
    this.#stream = stream;
    this.#tools = tools;
    this.#exchange = exchange(this);
    this.#pieces = new Pieces(this.#limit);
    const other = stream.clientDirection === "from-host" ? "to-host" : "from-host";
    const side = (direction: Direction): SideState => ({
      direction,
      waiting: [],
      offset: 0,
      passed: 0,
      told: 0,
      message: undefined,
      checked: [],
      ended: undefined,
    });
    this.#sides = { client: side(stream.clientDirection), server: side(other) };
    this.#passAhead();
  }

  /** A side that never sends a message, and of which nothing is taken out, need not wait for this scanner. */
  #passAhead(): void {
    const { starttls, chunking } = this.#tools.options;
    if (starttls !== "pass" || chunking !== "pass") return;
    const name = { smtp: "server", pop3: "client", imap: undefined } as const;
    const side = name[this.#exchange.protocol];
    if (side === undefined) return;
    this.#sides[side].told = Infinity;
    this.#stream.pass(this.#sides[side].direction);
  }

  get #limit(): number {
    return Math.min(this.#tools.options.maxMessage, this.#tools.streamLimit);
  }

  /** As {@link StreamHandler.data}. */
  data({ fromClient, offset, bytes }: StreamData): void {
    if (this.#over) return;
    const name = fromClient ? "client" : "server";
    const side = this.#sides[name];
    if (side.waiting.length > 0) {
      side.waiting.push(bytes.slice());
      return;
    }
    side.offset = offset;
    const taken = this.#isFull(side) ? 0 : this.#take(name, bytes);
    if (this.#over) return;
    side.offset = offset + taken;
    if (taken < bytes.length) side.waiting.push(bytes.slice(taken));
    if (taken > 0) this.#pump();
    this.#tell(name);
    this.#keepGoing(side);
  }

  /** Nothing came for a while: a sender may wait for an acknowledgement that nobody sends. */
  stalled(): void {
    for (const side of Object.values(this.#sides)) this.#keepGoing(side, true);
  }

  /**
   * The receiver acknowledges nothing before it gets the message, so a long one's sender has to be kept going by the
   * kernel, which from then on writes the packets itself: a short message is better left to come by itself.
   */
  #keepGoing(side: SideState, now = false): void {
    const { message, direction } = side;
    if (this.#over || message === undefined || message.asked || message.ignored) return;
    if (this.#isFull(side)) return;
    if (!now && message.length - message.fixedUntil < FIRST_FLIGHT) return this.#tools.soon(this);
    message.asked = true;
    this.#stream.more(direction);
  }

  /** As {@link StreamHandler.gap}. What was missed may have been anything. */
  gap(direction: Direction, offset: number, length: number): void {
    if (this.#over) return;
    this.#stream.alert({
      signature: "part of a mail connection was not seen",
      category: "Not Suspicious Traffic",
      severity: 2,
      action: "allowed",
      detail: { protocol: this.#exchange.protocol, direction, offset, length },
    });
    this.#release();
  }

  /** As {@link StreamHandler.end}. A message that was cut off is looked at as far as it came. */
  end(direction: Direction, offset: number): void {
    if (this.#over) return;
    const name = direction === this.#sides.client.direction ? "client" : "server";
    this.#sides[name].ended = offset;
    this.#finishEnded(name);
  }

  /** As {@link StreamHandler.closed}. */
  closed(_reason: CloseReason): void {
    this.#over = true;
    for (const side of Object.values(this.#sides)) {
      side.message = undefined;
      side.checked.length = 0;
      side.waiting = [];
    }
  }

  /** As {@link ExchangeEvents.pass}. */
  pass(side: Side, offset: number): void {
    const state = this.#sides[side];
    state.passed = Math.max(state.passed, offset);
  }

  /** As {@link ExchangeEvents.begin}. */
  begin(info: MessageInfo, offset: number): void {
    const state = this.#sides[info.side];
    this.pass(info.side, offset);
    this.#tell(info.side);
    state.message = new Message(info, offset, this.#pieces.before(info));
  }

  /** As {@link ExchangeEvents.content}. */
  content(bytes: Uint8Array, start: number, end: number, offset: number): void {
    const state = this.#sides[this.#side];
    const message = state.message;
    if (message === undefined || message.ignored) return;
    if (message.length + end - start <= this.#limit) return message.add(bytes, start, end, offset);
    const pass = this.#tools.options.oversize === "pass";
    this.#alert(message, "message is too large to be looked at", pass ? "allowed" : "blocked", {
      limit: this.#limit,
    });
    if (!pass) return this.#kill();
    message.forget();
  }

  /** As {@link ExchangeEvents.flush}. */
  flush(offset: number): void {
    const state = this.#sides[this.#side];
    if (state.message !== undefined) state.message.passedUntil = state.message.length;
    this.pass(this.#side, offset);
    this.#tell(this.#side, true);
  }

  /** As {@link ExchangeEvents.finished}. */
  finished(offset: number): boolean {
    return this.#messageEnds(offset);
  }

  /** As {@link ExchangeEvents.abort}. */
  abort(offset: number): void {
    this.#sides[this.#side].message = undefined;
    this.pass(this.#side, offset);
  }

  /** As {@link ExchangeEvents.strip}. */
  strip(side: Side, offset: number, length: number, instead: boolean): void {
    const { direction } = this.#sides[side];
    const index = this.#tools.injections.index("help");
    if (instead && index === undefined) return;
    this.#tell(side);
    this.#stream.cut(direction, offset, length);
    if (instead) this.#stream.inject(direction, offset, index as number);
  }

  /** As {@link ExchangeEvents.opaque}. */
  opaque(why: string): void {
    const kill = this.#tools.options.starttls !== "pass";
    this.#stream.alert({
      signature: "mail connection cannot be looked into",
      category: "Potential Corporate Privacy Violation",
      severity: 3,
      action: kill ? "blocked" : "allowed",
      detail: { protocol: this.#exchange.protocol, why },
    });
    this.#opaque = true;
    if (kill) this.#kill();
    else this.#maybeRelease();
  }

  /** As {@link ExchangeEvents.odd}. */
  odd(what: string, grave: boolean): void {
    this.#stream.alert({
      signature: "mail exchange that can be read in two ways",
      category: "Generic Protocol Command Decode",
      severity: grave ? 1 : 3,
      action: grave ? "blocked" : "allowed",
      detail: { protocol: this.#exchange.protocol, what },
    });
    // Where one server sees a message's end, another does not: nobody can say what was looked at.
    if (grave) this.#kill();
  }

  #isFull({ checked }: SideState): boolean {
    return checked.length >= MOST_CHECKED[this.#exchange.protocol];
  }

  #maybeRelease(): void {
    const { client, server } = this.#sides;
    if (this.#opaque && client.checked.length + server.checked.length === 0) this.#release();
  }

  #take(name: Side, bytes: Uint8Array): number {
    this.#side = name;
    return this.#exchange.take(name, bytes, 0, bytes.length, this.#sides[name].offset);
  }

  /** Takes what waited for the other side or for a check. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let moved = true; moved && !this.#over;) {
      moved = false;
      for (const name of ["client", "server"] as const) {
        const side = this.#sides[name];
        while (side.waiting.length > 0 && !this.#isFull(side) && !this.#over) {
          const bytes = side.waiting[0] as Uint8Array;
          const taken = this.#take(name, bytes);
          side.offset += taken;
          if (taken === 0) break;
          moved = true;
          if (taken === bytes.length) side.waiting.shift();
          else side.waiting[0] = bytes.subarray(taken);
        }
        this.#finishEnded(name);
        this.#tell(name);
      }
    }
    this.#pumping = false;
  }

  /** Tells the kernel what may pass, once for all that came together. */
  #tell(name: Side, flush = false): void {
    const side = this.#sides[name];
    if (this.#over) return;
    const { checked: [first], message } = side;
    if (first === undefined && message?.ignored === true) this.pass(name, side.offset);
    const held = first ?? (message === undefined || message.ignored || flush ? undefined : message);
    const upTo = Math.min(side.passed, held?.offset ?? Infinity);
    if (upTo <= side.told) return;
    side.told = upTo;
    this.#stream.pass(side.direction, upTo);
    // The kernel takes a verdict for a sign that nothing more is needed.
    if (message?.asked === true && !message.ignored) this.#stream.more(side.direction);
  }

  #finishEnded(name: Side): void {
    const side = this.#sides[name];
    if (side.ended === undefined || side.waiting.length > 0 || this.#isFull(side) || this.#over) {
      return;
    }
    const { ended } = side;
    side.ended = undefined;
    this.#side = name;
    if (side.message !== undefined) this.#messageEnds(ended);
    else {
      this.pass(name, ended);
      this.#tell(name);
    }
  }

  #messageEnds(offset: number): boolean {
    const name = this.#side;
    const side = this.#sides[name];
    const message = side.message;
    if (message === undefined) return true;
    this.pass(name, offset);
    message.end = offset;
    if (message.ignored || this.#tools.checks.length === 0) {
      side.message = undefined;
      return true;
    }
    if (this.#pieces.isInfected(message.info)) return this.#refused(name, message);
    if (!this.#pieces.isDue(message)) {
      this.#pieces.keep(message, false);
      side.message = undefined;
      return true;
    }
    message.parser.end();
    const examined = examine(message.bytes, this.#tools.options.limits, message.parser);
    side.message = undefined;
    side.checked.push(message);
    this.#check({ name, message, first: examined, examined, found: [], changes: [], round: 0 });
    return !this.#isFull(side);
  }

  /** A piece of something that was found to be infected. */
  #refused(name: Side, message: Message): boolean {
    const whole = { start: message.fixedUntil, end: message.length, text: undefined };
    if (this.#remove(name, message, [whole])) {
      this.#alert(message, "piece of an infected attachment", "blocked", {});
      this.#sides[name].message = undefined;
    } else this.#kill();
    return true;
  }

  /** Checks; takes out what is infected; looks again at what is left. */
  #check(look: Look): void {
    runChecks(this.#tools.checks, look.examined.specimens, (result) => {
      if (this.#over) return;
      if (result.findings.length === 0) return this.#decided(look, result);
      const { message, round } = look;
      const found = round === 0 ? result.findings : look.found;
      if (round === MOST_ROUNDS - 1) return this.#hopeless(message, found);
      // What is still there after the first removal is in a place that cannot be told: all of the body goes.
      const places = round === 0 ? result.findings.map((f) => f.specimen.place) : [];
      const changes = removal(places, message.length, wholePlace(message));
      const examined = examine(edited(message.bytes, changes), this.#tools.options.limits);
      this.#check({ ...look, examined, found, changes, round: round + 1 });
    });
  }

  #decided(
    { name, message, first, examined, found, changes, round }: Look,
    result: CheckResult,
  ): void {
    const { options } = this.#tools;
    if (result.failure !== undefined) {
      const pass = options.onFailure === "pass" && round === 0;
      this.#alert(message, "message could not be checked", pass ? "allowed" : "blocked", {
        why: result.failure,
      });
      if (!pass) return this.#kill();
    }
    if (examined.sealed.length > 0 && round === 0) {
      const pass = options.sealed === "pass";
      this.#alert(
        message,
        "parts of a message cannot be looked at",
        pass ? "allowed" : "blocked",
        { why: examined.sealed.map(({ why }) => why) },
      );
      if (!pass) return this.#kill();
    }
    if (round > 0 && !this.#remove(name, message, changes)) {
      return this.#hopeless(message, found);
    }
    if (round > 0) this.#tellFound(message, found, "blocked");
    if (options.log) this.#log(message, first, found);
    this.#pieces.keep(message, found.length > 0);
    message.decided = true;
    const { checked } = this.#sides[name];
    while (checked[0]?.decided === true) checked.shift();
    this.#tell(name);
    this.#pump();
    this.#maybeRelease();
  }

  /** Asks the kernel for the changes; false: they cannot be made any more. */
  #remove(name: Side, message: Message, changes: readonly Change[]): boolean {
    const { direction } = this.#sides[name];
    const plan = this.#tools.injections.plan(message, changes);
    if (plan === undefined) return false;
    for (const step of plan) {
      if (step.length > 0) this.#stream.cut(direction, step.offset, step.length);
      for (const index of step.injections) this.#stream.inject(direction, step.offset, index);
    }
    return true;
  }

  #hopeless(message: Message, found: readonly Finding[]): void {
    this.#tellFound(message, found, "blocked", "the connection was ended");
    this.#kill();
  }

  #tellFound(
    message: Message,
    found: readonly Finding[],
    action: "blocked",
    how = "the attachment was taken out",
  ): void {
    this.#alert(message, "infected attachment", action, {
      how,
      found: distinctFindings(found).slice(0, MOST_TOLD).map(({ specimen, name, by }) => ({
        name,
        by,
        file: specimen.name,
        size: specimen.bytes.length,
        md5: digest("md5", specimen.bytes),
        sha256: digest("sha256", specimen.bytes),
      })),
    }, true);
  }

  #alert(
    message: Message,
    signature: string,
    action: "allowed" | "blocked",
    detail: Readonly<Record<string, unknown>>,
    withOriginal = false,
  ): void {
    const side = this.#sides[message.info.side];
    const grave = action === "blocked";
    const alert = {
      signature,
      category: grave ? "A Network Trojan was detected" : "Misc activity",
      severity: grave ? 1 as const : 3 as const,
      action,
      detail: { ...this.#facts(message), ...detail },
    };
    if (!withOriginal) return this.#stream.alert(alert);
    const offset = Math.max(message.offset, side.told);
    this.#stream.alert(alert, {
      direction: side.direction,
      offset,
      length: Math.max(0, (message.end || side.passed) - offset),
    });
  }

  #facts(message: Message): Record<string, unknown> {
    const { fields } = message.parser;
    return {
      protocol: this.#exchange.protocol,
      from: message.info.from ?? fieldText(fields, "from"),
      to: message.info.to ?? [fieldText(fields, "to") ?? ""],
      subject: fieldText(fields, "subject")?.slice(0, 500),
      bytes: message.own.length,
    };
  }

  /** The line for the mail log: what `diaper ni --events mail` shows. */
  #log(message: Message, { specimens, readings }: Examined, found: readonly Finding[]): void {
    const infected = new Set(found.map(({ specimen }) => specimen));
    const attachments = specimens.filter((s) => !s.other || infected.has(s)).slice(0, MOST_TOLD)
      .map((s) => ({
        filename: s.name,
        content_type: s.place.part.type,
        size: s.bytes.length,
        md5: digest("md5", s.bytes),
        sha256: digest("sha256", s.bytes),
        offset: s.place.start < message.fixedUntil ? null : message.streamOffset(s.place.start),
        length: s.place.end - s.place.start,
        verdict: infected.has(s) ? "infected" : "clean",
      }));
    this.#alert(message, MAIL_LOG, "allowed", { readings, attachments });
  }

  #kill(): void {
    if (this.#over) return;
    this.#stream.kill();
    this.closed("killed");
  }

  #release(): void {
    if (this.#over) return;
    this.#stream.release();
    this.closed("closed");
  }
}

function distinctFindings(found: readonly Finding[]): Finding[] {
  const names = new Set<string>();
  return found.filter(({ specimen, name }) => {
    const key = `${specimen.name} ${specimen.bytes.length} ${name}`;
    return names.has(key) ? false : names.add(key);
  });
}

/** The whole body of a message, to be taken out when nothing smaller will do. */
function wholePlace(message: Message): Place {
  const { parser } = message;
  const bodyStart = parser.fields.at(-1)?.end ?? message.fixedUntil;
  const blank = message.bytes[bodyStart] === 0x0d ? 2 : message.bytes[bodyStart] === 0x0a ? 1 : 0;
  const start = Math.min(message.length, bodyStart + blank);
  return {
    kind: "body",
    start,
    end: message.length,
    part: {
      path: "",
      within: "message",
      fields: parser.fields,
      start: 0,
      bodyStart: start,
      bodyEnd: message.length,
      type: "text/plain",
      encodings: [],
      uu: [],
      opaque: undefined,
      partial: false,
      open: false,
    },
  };
}
