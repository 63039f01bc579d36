/**
 * The processes of scanners: started in a cage, fed, read, bounded, ended when they break a rule, and started again.
 *
 * @module
 */
import { Child, type ChildEnd, readInto, writeFrom } from "../sys/child.ts";
import { EPOLL, type Poller } from "../sys/epoll.ts";
import { processSeconds } from "../sys/process_facts.ts";
import type { NiKernel } from "./kernel.ts";
import type { ScannerRights } from "./rights.ts";
import type { ScannerSession } from "./scanner_session.ts";

/** What the host tells of. */
export interface HostEvents {
  /** A scanner's process ended, or was ended; `again` in milliseconds, undefined: it is not started again. */
  ended(scanner: string, why: string, again: number | undefined): void;
  /** A line that a scanner wrote on standard error. */
  message(scanner: string, line: string): void;
}

/** First wait before a scanner is started again, doubled each time. Milliseconds. */
const FIRST_WAIT = 100;
const LONGEST_WAIT = 30_000;
/** So many ends within {@link LOOP_MS} are a crash loop. */
const LOOP_ENDS = 5;
const LOOP_MS = 60_000;
/** Over how long processor time is measured. Milliseconds. */
const CPU_WINDOW = 10_000;
/** Lines of standard error that are passed on in a minute, of each scanner. */
const LINES_A_MINUTE = 60;
const LONGEST_LINE = 1000;
/** Bytes read from one scanner before others have their turn. */
const READS_A_ROUND = 8;

interface Running {
  readonly child: Child;
  readonly session: ScannerSession;
  readonly started: number;
  /** Why it is being ended, when it is. */
  ending: string | undefined;
  blocked: boolean;
  cpuAt: number;
  cpuSeconds: number;
}

interface Entry {
  readonly name: string;
  readonly rights: ScannerRights;
  readonly command: readonly string[];
  running: Running | undefined;
  /** When it is to be started, on the clock of `performance.now`. */
  startAt: number | undefined;
  wait: number;
  ends: number[];
  text: string;
  lines: number;
  linesSince: number;
}

/** All scanners of one NI kernel. */
export class ScannerHost {
  readonly #kernel: NiKernel;
  readonly #poller: Poller;
  readonly #events: HostEvents;
  readonly #entries = new Map<string, Entry>();
  readonly #decoder = new TextDecoder();
  #token = 0;
  #closing = false;

  constructor(
    kernel: NiKernel,
    poller: Poller,
    scanners: ReadonlyMap<string, { rights: ScannerRights; command: readonly string[] }>,
    events: HostEvents,
  ) {
    this.#kernel = kernel;
    this.#poller = poller;
    this.#events = events;
    for (const [name, { rights, command }] of scanners) {
      this.#entries.set(name, {
        name,
        rights,
        command,
        running: undefined,
        startAt: undefined,
        wait: FIRST_WAIT,
        ends: [],
        text: "",
        lines: 0,
        linesSince: 0,
      });
    }
  }

  /** Starts all scanners. @throws {SystemError} when one cannot be started at all. */
  start(): void {
    for (const entry of this.#entries.values()) this.#start(entry);
  }

  /** Scanners that are not running, by name. */
  get down(): string[] {
    return [...this.#entries.values()].flatMap((e) => e.running === undefined ? [e.name] : []);
  }

  /** Process ids of the running scanners. */
  get pids(): ReadonlyMap<string, number> {
    return new Map(
      [...this.#entries.values()].flatMap(({ name, running }) =>
        running === undefined ? [] : [[name, running.child.pid] as const]
      ),
    );
  }

  /** Writes what is waiting for scanners, as far as they take it. */
  flush(): void {
    for (const entry of this.#entries.values()) {
      if (entry.running !== undefined && !entry.running.blocked) this.#write(entry, entry.running);
    }
  }

  /** A scanner broke a rule: ends it. */
  break(name: string, why: string): void {
    const running = this.#entries.get(name)?.running;
    if (running === undefined) return;
    running.ending ??= why;
    running.child.kill();
  }

  /** Starts again what is due, and looks at processor time. To be called about once a second. */
  tick(): void {
    const now = performance.now();
    for (const entry of this.#entries.values()) {
      if (entry.startAt !== undefined && entry.startAt <= now) this.#start(entry);
      if (entry.running !== undefined) this.#checkCpu(entry, entry.running, now);
    }
  }

  /**
   * Waits until every scanner has worked on all that it was given, or has ended.
   *
   * @param limit milliseconds; who needs longer is ended.
   */
  settle(limit: number): void {
    const token = ++this.#token;
    const until = performance.now() + limit;
    for (const { running } of this.#entries.values()) running?.session.sync(token);
    for (;;) {
      this.flush();
      const late = [...this.#entries.values()].filter(({ running }) =>
        running !== undefined && running.session.done !== token
      );
      if (late.length === 0) return;
      if (this.#poller.wait(Math.max(0, Math.ceil(until - performance.now()))) > 0) continue;
      if (performance.now() < until) continue;
      for (const { name } of late) this.break(name, `no answer in ${limit} ms`);
      // The end of a process that was killed is an event of its own.
      this.#poller.wait(1000);
      return;
    }
  }

  /** Ends all scanners and waits for them. */
  close(): void {
    this.#closing = true;
    for (const entry of this.#entries.values()) {
      entry.startAt = undefined;
      const running = entry.running;
      if (running === undefined) continue;
      running.child.kill();
      while (entry.running === running && running.child.end() === undefined) this.#poller.wait(100);
      this.#forget(entry, running);
    }
  }

  #start(entry: Entry): void {
    entry.startAt = undefined;
    const child = Child.start(entry.command);
    const session = this.#kernel.connect(entry.name);
    const now = performance.now();
    const running: Running = {
      child,
      session,
      started: now,
      ending: undefined,
      blocked: false,
      cpuAt: now,
      cpuSeconds: 0,
    };
    entry.running = running;
    this.#poller.add(child.socket, EPOLL.IN, (events) => this.#ready(entry, running, events));
    this.#poller.add(child.messages, EPOLL.IN, () => this.#readMessages(entry, running));
    this.#poller.add(child.pidfd, EPOLL.IN, () => this.#childEnded(entry, running));
  }

  #ready(entry: Entry, running: Running, events: number): void {
    if ((events & EPOLL.OUT) !== 0) {
      running.blocked = false;
      this.#poller.change(running.child.socket, EPOLL.IN);
      this.#write(entry, running);
    }
    if ((events & ~EPOLL.OUT) === 0) return;
    for (let i = 0; i < READS_A_ROUND && entry.running === running; i++) {
      const n = readInto(running.child.socket, running.session.space());
      if (n === "none") return;
      if (n === "end") {
        // The process's end tells why.
        this.#poller.remove(running.child.socket);
        return;
      }
      running.session.take(n, this.#kernel.now);
    }
  }

  #write(entry: Entry, running: Running): void {
    const { out } = running.session;
    let at = 0;
    while (at < out.length) {
      const rest = at === 0 ? out.bytes : out.bytes.subarray(at);
      const n = writeFrom(running.child.socket, rest, out.length - at);
      if (n === "end") {
        at = out.length;
        break;
      }
      if (n === 0) {
        running.blocked = true;
        this.#poller.change(running.child.socket, EPOLL.IN | EPOLL.OUT);
        break;
      }
      at += n;
    }
    if (at === out.length) out.length = 0;
    else if (at > 0) out.consume(at);
    if (entry.running !== running) out.length = 0;
  }

  #readMessages(entry: Entry, running: Running): void {
    const space = new Uint8Array(16 * 1024);
    const n = readInto(running.child.messages, space);
    if (n === "none") return;
    if (n === "end") return this.#poller.remove(running.child.messages);
    entry.text += this.#decoder.decode(space.subarray(0, n));
    const lines = entry.text.split("\n");
    entry.text = (lines.pop() ?? "").slice(0, LONGEST_LINE);
    for (const line of lines) this.#message(entry, line);
  }

  #message(entry: Entry, line: string): void {
    const now = performance.now();
    if (now - entry.linesSince > 60_000) {
      entry.linesSince = now;
      entry.lines = 0;
    }
    if (line.trim() === "" || ++entry.lines > LINES_A_MINUTE) return;
    this.#events.message(entry.name, line.slice(0, LONGEST_LINE));
  }

  #checkCpu(entry: Entry, running: Running, now: number): void {
    if (now - running.cpuAt < CPU_WINDOW) return;
    const seconds = processSeconds(running.child.pid);
    if (seconds === undefined) return;
    const percent = (seconds - running.cpuSeconds) * 100_000 / (now - running.cpuAt);
    running.cpuAt = now;
    running.cpuSeconds = seconds;
    if (percent <= entry.rights.cpu) return;
    this.break(entry.name, `${Math.round(percent)}% of a processor, ${entry.rights.cpu}% allowed`);
  }

  #childEnded(entry: Entry, running: Running): void {
    const end = running.child.end();
    if (end === undefined) return;
    // What it said before it died still counts.
    this.#readMessages(entry, running);
    this.#ready(entry, running, EPOLL.IN);
    this.#forget(entry, running);
    if (this.#closing) return;
    const now = performance.now();
    entry.ends = [...entry.ends.filter((at) => now - at < LOOP_MS), now];
    entry.wait = now - running.started > LOOP_MS ? FIRST_WAIT : entry.wait;
    const looping = entry.ends.length >= LOOP_ENDS;
    if (!looping) entry.startAt = now + entry.wait;
    const why = `${running.ending ?? endText(end)}${
      looping ? `; ended ${LOOP_ENDS} times within a minute` : ""
    }`;
    this.#events.ended(entry.name, why, looping ? undefined : entry.wait);
    entry.wait = Math.min(LONGEST_WAIT, entry.wait * 2);
  }

  #forget(entry: Entry, running: Running): void {
    if (entry.running !== running) return;
    this.#kernel.disconnect(running.session);
    for (const fd of [running.child.socket, running.child.messages, running.child.pidfd]) {
      this.#poller.remove(fd);
    }
    running.child.close();
    entry.running = undefined;
  }
}

function endText(end: ChildEnd): string {
  if (end.signal !== undefined) return `ended by signal ${end.signal}`;
  return end.code === undefined ? "ended" : `ended with code ${end.code}`;
}
