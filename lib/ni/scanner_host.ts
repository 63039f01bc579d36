/**
 * The processes of scanners: started in a cage, fed, read, bounded, ended when they break a rule, and started again.
 *
 * @module
 */
import { Child, type ChildEnd, readInto, writeFrom } from "../sys/child.ts";
import { EPOLL, type Poller } from "../sys/epoll.ts";
import { processUse } from "../sys/process_facts.ts";
import type { NiKernel } from "./kernel.ts";
import type { KernelPlan } from "./kernel_types.ts";
import type { ScannerRights } from "./rights.ts";
import type { ScannerSession } from "./scanner_session.ts";
import { ServiceConnections } from "./services.ts";
import type { Slot } from "./slot.ts";

/** What the host tells of. */
export interface HostEvents {
  /** A scanner's process ended, or was ended; `again` in milliseconds, undefined: it is not started again. */
  ended(scanner: string, why: string, again: number | undefined): void;
  /** A line that a scanner wrote on standard error. */
  message(scanner: string, line: string): void;
  /** What a scanner said was worked on: frames may have got their verdicts. */
  worked?(): void;
}

/** First wait before a scanner is started again, doubled each time. Milliseconds. */
const FIRST_WAIT = 100;
const LONGEST_WAIT = 30_000;
/** So many ends within {@link LOOP_MS} are a crash loop. */
const LOOP_ENDS = 5;
const LOOP_MS = 60_000;
/** Over how long processor time is measured. Milliseconds. */
const CPU_WINDOW = 10_000;
/** How often that and memory are looked at. Milliseconds. */
const USE_CHECK = 500;
/** The token that a scanner which comes in place of another one is asked to answer first. */
const READY = 0xffffffff;
/** How long one scanner may take to be ready, and the one before it to decide what it holds. Milliseconds. */
const COMING_LIMIT = 10_000;
const LEAVING_LIMIT = 60_000;
/** What a process of a scanner may have in memory beside its own: the runtime's code and libraries. */
const SHARED_MEMORY = 192 * 1024 * 1024;
/** Lines of standard error that are passed on in a minute, of each scanner. */
const LINES_A_MINUTE = 60;
const LONGEST_LINE = 1000;
/** Bytes that are written at once while more is on its way. */
const WORTH_A_WRITE = 128 * 1024;
/** Bytes read from one scanner before others have their turn. */
const READS_A_ROUND = 8;

interface Running {
  readonly child: Child;
  readonly session: ScannerSession;
  readonly services: ServiceConnections;
  readonly started: number;
  /** Why it is being ended, when it is. */
  ending: string | undefined;
  blocked: boolean;
  /** Processor time used until certain times of the last {@link CPU_WINDOW}. */
  use: { readonly at: number; readonly seconds: number }[];
}

/** What a scanner is: its rights, and the command that starts it. */
export interface ScannerSpec {
  readonly rights: ScannerRights;
  readonly command: readonly string[];
}

/** A scanner that comes in place of another one is given frames when it is ready, and the other one no more then. */
type Stage = "coming" | "current" | "leaving";

interface Entry {
  readonly name: string;
  readonly slot: Slot;
  stage: Stage;
  readonly command: readonly string[];
  /** On the clock of `performance.now`: when one that is leaving has to be gone. */
  until: number;
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
  readonly #entries = new Set<Entry>();
  readonly #decoder = new TextDecoder();
  #token = 0;
  #closing = false;

  constructor(
    kernel: NiKernel,
    poller: Poller,
    scanners: ReadonlyMap<string, ScannerSpec>,
    events: HostEvents,
  ) {
    this.#kernel = kernel;
    this.#poller = poller;
    this.#events = events;
    for (const [name, { command }] of scanners) {
      this.#add(kernel.slot(name), command, "current");
    }
  }

  /**
   * Puts other scanners and rights in force. One that must be started anew for it goes on until the new process is
   * ready, so that no frame is without its scanner; rights alone are changed while it runs.
   */
  reconfigure(plan: KernelPlan, scanners: ReadonlyMap<string, ScannerSpec>, anew: boolean): void {
    for (const entry of [...this.#entries]) {
      if (entry.stage === "coming") this.#end(entry, "another configuration came");
      else if (entry.stage === "current" && !scanners.has(entry.name)) {
        this.#kernel.retire(entry.slot);
        this.#leave(entry);
      }
    }
    for (const [name, { rights, command }] of scanners) {
      const checker = plan.checkers.get(name);
      const old = [...this.#entries].find((e) => e.stage === "current" && e.name === name);
      if (checker === undefined) throw new RangeError(`Cannot find ${name} in the plan`);
      // One that was given up is tried again.
      const idle = old?.running === undefined && old?.startAt === undefined;
      if (old === undefined || idle || anew || !sameStart(old, rights, command)) {
        const slot = this.#kernel.prepare(name, rights, checker);
        this.#start(this.#add(slot, command, "coming"));
      } else this.#kernel.setRights(old.slot, rights, checker);
    }
  }

  #add(slot: Slot, command: readonly string[], stage: Stage): Entry {
    const entry: Entry = {
      name: slot.name,
      slot,
      stage,
      command,
      until: 0,
      running: undefined,
      startAt: undefined,
      wait: FIRST_WAIT,
      ends: [],
      text: "",
      lines: 0,
      linesSince: 0,
    };
    this.#entries.add(entry);
    return entry;
  }

  /** One that was waited for is there, or will not be: from now on frames are its business. */
  #arrive(entry: Entry): void {
    for (const other of this.#entries) {
      if (other.stage === "current" && other.name === entry.name) this.#leave(other);
    }
    entry.stage = "current";
    this.#kernel.adopt(entry.slot);
  }

  #leave(entry: Entry): void {
    entry.stage = "leaving";
    entry.until = performance.now() + LEAVING_LIMIT;
    entry.startAt = undefined;
    if (entry.running === undefined) this.#entries.delete(entry);
  }

  /** Ends a process for good. */
  #end(entry: Entry, why: string): void {
    entry.stage = "leaving";
    entry.startAt = undefined;
    if (entry.running === undefined) {
      this.#entries.delete(entry);
      return;
    }
    entry.running.ending ??= why;
    entry.running.child.kill();
  }

  /** Starts all scanners. @throws {SystemError} when one cannot be started at all. */
  start(): void {
    for (const entry of this.#entries) this.#start(entry);
  }

  /** Process ids of the running scanners. */
  get pids(): ReadonlyMap<string, number> {
    return new Map(
      [...this.#entries].flatMap(({ name, running, stage }) =>
        running === undefined || stage !== "current" ? [] : [[name, running.child.pid] as const]
      ),
    );
  }

  /**
   * Writes what is waiting for scanners, as far as they take it.
   *
   * @param all also a little that nothing waits for: each write may wake a process.
   */
  flush(all = true): void {
    for (const entry of this.#entries) {
      const { running, stage } = entry;
      if (running === undefined) continue;
      if (stage === "coming" && running.session.done === READY) this.#arrive(entry);
      const { session } = running;
      const due = all || session.awaited.size > 0 || session.out.length >= WORTH_A_WRITE;
      if (due && !running.blocked) this.#write(entry, running);
    }
  }

  /** A scanner broke a rule: ends its process. */
  break(session: ScannerSession, why: string): void {
    for (const { running } of this.#entries) {
      if (running?.session !== session) continue;
      running.ending ??= why;
      running.child.kill();
    }
  }

  /** Starts again what is due, and looks at what processes use. To be called some times a second. */
  tick(): void {
    const now = performance.now();
    for (const entry of [...this.#entries]) {
      if (entry.startAt !== undefined && entry.startAt <= now) this.#start(entry);
      const { running, stage } = entry;
      if (running === undefined) continue;
      this.#checkUse(entry, running, now);
      // Who does not even say that it is there has had its time: its on_failure counts from now on.
      if (stage === "coming" && now - running.started > COMING_LIMIT) this.#arrive(entry);
      if (stage !== "leaving") continue;
      if (running.session.awaited.size + running.session.streams.size === 0) {
        this.#end(entry, "it is not needed any more");
      } else if (now >= entry.until) this.#end(entry, `not ready to leave in ${LEAVING_LIMIT} ms`);
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
    for (const { running } of this.#entries) running?.session.sync(token);
    for (;;) {
      this.flush();
      const late = [...this.#entries].flatMap(({ running }) =>
        running !== undefined && running.session.done !== token ? [running.session] : []
      );
      if (late.length === 0) return;
      if (this.#poller.wait(Math.max(0, Math.ceil(until - performance.now()))) > 0) continue;
      if (performance.now() < until) continue;
      for (const session of late) this.break(session, `no answer in ${limit} ms`);
      // The end of a process that was killed is an event of its own.
      this.#poller.wait(1000);
      return;
    }
  }

  /** Ends all scanners and waits for them. */
  close(): void {
    this.#closing = true;
    for (const entry of this.#entries) {
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
    const session = this.#kernel.connect(entry.slot);
    const services = new ServiceConnections(
      this.#poller,
      () => entry.slot.rights.services,
      session.out,
      session.counters.services,
    );
    session.services = services;
    const now = performance.now();
    const running: Running = {
      child,
      session,
      services,
      started: now,
      ending: undefined,
      blocked: false,
      use: [],
    };
    entry.running = running;
    // Its answer tells that it has said what it wants.
    if (entry.stage === "coming") session.sync(READY);
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
      const space = running.session.space();
      const n = readInto(running.child.socket, space);
      if (n === "none") return;
      if (n === "end") {
        // The process's end tells why.
        this.#poller.remove(running.child.socket);
        return;
      }
      running.session.take(n, this.#kernel.now);
      this.#events.worked?.();
      // That was all; when more has come since, the poll set tells.
      if (n < space.length) return;
    }
  }

  #write(entry: Entry, running: Running): void {
    const { session } = running;
    while (this.#writeOut(running) && entry.running === running && session.feed());
    if (entry.running !== running) session.out.length = 0;
    else running.services.resume();
  }

  /** Writes what the process takes. False: it takes no more now. */
  #writeOut(running: Running): boolean {
    const { out } = running.session;
    let at = 0;
    while (at < out.length) {
      const rest = at === 0 ? out.bytes : out.bytes.subarray(at);
      const n = writeFrom(running.child.socket, rest, out.length - at);
      if (n === "end") {
        out.length = 0;
        return false;
      }
      if (n === 0) {
        running.blocked = true;
        this.#poller.change(running.child.socket, EPOLL.IN | EPOLL.OUT);
        break;
      }
      at += n;
    }
    if (at < out.length) {
      out.consume(at);
      return false;
    }
    out.length = 0;
    return true;
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

  /** More than its share of a processor over the window is too much as soon as it has been used. */
  #checkUse(entry: Entry, running: Running, now: number): void {
    if (now < (running.use.at(-1)?.at ?? 0) + USE_CHECK) return;
    const use = processUse(running.child.pid);
    if (use === undefined) return;
    const { cpu, memory } = entry.slot.rights;
    running.use = [...running.use.filter(({ at }) => at >= now - CPU_WINDOW), {
      at: now,
      seconds: use.seconds,
    }];
    const seconds = use.seconds - (running.use[0]?.seconds ?? 0);
    const allowed = cpu * CPU_WINDOW / 100_000;
    if (seconds > allowed) {
      const window = `${CPU_WINDOW / 1000} s`;
      this.break(
        running.session,
        `${seconds.toFixed(1)} s of processor time in ${window}, ${allowed.toFixed(1)} s allowed`,
      );
    } else if (use.memory > memory + SHARED_MEMORY) {
      const size = (bytes: number) => `${Math.round(bytes / 1024 / 1024)} MiB`;
      this.break(running.session, `${size(use.memory)} of memory, ${size(memory)} allowed`);
    }
  }

  #childEnded(entry: Entry, running: Running): void {
    const end = running.child.end();
    if (end === undefined) return;
    // What it said before it died still counts.
    this.#readMessages(entry, running);
    this.#ready(entry, running, EPOLL.IN);
    this.#forget(entry, running);
    if (this.#closing) return;
    if (entry.stage === "leaving") {
      this.#entries.delete(entry);
      return;
    }
    // It does not get ready: its on_failure counts from now on.
    if (entry.stage === "coming") this.#arrive(entry);
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
    running.services.close();
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

/** A process of the one would be told the same at its start as one of the other. */
function sameStart(entry: Entry, rights: ScannerRights, command: readonly string[]): boolean {
  const told = (r: ScannerRights) =>
    JSON.stringify([
      r.options,
      r.optionTables ?? [],
      r.injections.map(({ name, frame }) => [name, frame.toBase64()]),
      Object.keys(r.services),
    ]);
  return told(entry.slot.rights) === told(rights) &&
    JSON.stringify(entry.command) === JSON.stringify(command);
}
