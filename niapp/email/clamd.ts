/**
 * ClamAV's daemon as a check: a session over its Unix socket, each specimen sent with INSTREAM (clamd(8)).
 *
 * @module
 */
import type { Ni, ServiceConnection } from "../sdk/mod.ts";
import type { Check, CheckResult, Finding } from "./checks.ts";
import { ascii } from "./mime/decode.ts";
import type { Specimen } from "./specimens.ts";

/** What of the NI kernel it needs. */
export type ClamdKernel = Pick<Ni, "connect" | "now">;

/** Bytes that are sent as one chunk. */
const CHUNK = 64 * 1024;
/** Sessions at the same time; the kernel allows a scanner few connections. */
const MOST_SESSIONS = 16;
/** Milliseconds that a session is kept for the next message; clamd itself gives one up after half a minute. */
const REST = 10_000;
/** Longest answer that is believed. */
const LONGEST_ANSWER = 4096;

/** The daemon. */
export class Clamd implements Check {
  readonly name = "clamd";
  readonly #ni: ClamdKernel;
  readonly #service: string;
  readonly #limit: number;
  readonly #changed: () => void;
  readonly #sessions = new Set<Session>();
  /** Requests for which there is no session yet, as there are enough. */
  #waiting: Request[] = [];

  /**
   * @param service its name among the scanner's services.
   * @param limit milliseconds in which it has to answer about a message.
   * @param changed called when {@link deadline} may be another one.
   */
  constructor(ni: ClamdKernel, service: string, limit: number, changed: () => void) {
    this.#ni = ni;
    this.#service = service;
    this.#limit = limit;
    this.#changed = changed;
  }

  /** When {@link expire} is to be called; Infinity: never. */
  get deadline(): number {
    let deadline = Infinity;
    for (const one of [...this.#sessions, ...this.#waiting]) {
      deadline = Math.min(deadline, one.deadline);
    }
    return deadline;
  }

  /** Gives up what has taken too long, and sessions that nobody needed. */
  expire(): void {
    const { now } = this.#ni;
    const why = `clamd did not answer in ${this.#limit} ms`;
    const late = this.#waiting.filter(({ deadline }) => deadline <= now);
    this.#waiting = this.#waiting.filter(({ deadline }) => deadline > now);
    for (const { done } of late) done({ findings: [], failure: why });
    for (const session of [...this.#sessions]) if (session.deadline <= now) session.expire(why);
  }

  /** As {@link Check.run}. */
  run(specimens: readonly Specimen[], done: (result: CheckResult) => void): void {
    const wanted = distinct(specimens);
    if (wanted.length === 0) return done({ findings: [], failure: undefined });
    const deadline = this.#ni.now + this.#limit;
    this.#waiting.push({ specimens: wanted, deadline, done, again: false });
    this.#next();
    this.#changed();
  }

  /** Gives requests to sessions. */
  #next(): void {
    for (let request = this.#waiting[0]; request !== undefined; request = this.#waiting[0]) {
      // What a session did not answer, another one that has rested as long might not either.
      const resting = request.again ? undefined : [...this.#sessions].find(({ rests }) => rests);
      if (resting === undefined && this.#sessions.size >= MOST_SESSIONS) return;
      this.#waiting.shift();
      const session = resting ?? this.#open();
      session.ask(request);
    }
  }

  #open(): Session {
    const session: Session = new Session(this.#ni, this.#service, {
      free: () => {
        this.#next();
        this.#changed();
      },
      over: (unanswered) => {
        this.#sessions.delete(session);
        if (unanswered !== undefined) this.#waiting.unshift(unanswered);
        this.#next();
        this.#changed();
      },
    });
    this.#sessions.add(session);
    return session;
  }
}

/** Two views of a part may be the same bytes. */
function distinct(specimens: readonly Specimen[]): Specimen[] {
  return specimens.filter(({ bytes }, place) =>
    bytes.length > 0 &&
    !specimens.slice(0, place).some((other) =>
      other.bytes.buffer === bytes.buffer && other.bytes.byteOffset === bytes.byteOffset &&
      other.bytes.length === bytes.length
    )
  );
}

/** The specimens of one message. */
interface Request {
  readonly specimens: readonly Specimen[];
  readonly deadline: number;
  readonly done: (result: CheckResult) => void;
  /** A session ended before it was answered. */
  readonly again: boolean;
}

interface SessionEvents {
  /** It can be asked again. */
  free(): void;
  /** It is over; a request that came when it had rested was not answered. */
  over(unanswered: Request | undefined): void;
}

/** A session (IDSESSION): one message after the other, in each the specimens all at once. */
class Session {
  readonly #ni: ClamdKernel;
  readonly #service: string;
  readonly #events: SessionEvents;
  #connection: ServiceConnection | undefined;
  #request: Request | undefined;
  /** Specimens of earlier requests. */
  #before = 0;
  #restsUntil = 0;
  #answer = "";
  #answers = 0;
  #findings: Finding[] = [];
  #failure: string | undefined;
  #over = false;

  constructor(ni: ClamdKernel, service: string, events: SessionEvents) {
    this.#ni = ni;
    this.#service = service;
    this.#events = events;
  }

  /** It can be asked. */
  get rests(): boolean {
    return this.#request === undefined && !this.#over;
  }

  /** When {@link expire} is to be called. */
  get deadline(): number {
    return this.#request?.deadline ?? this.#restsUntil;
  }

  /** Has the specimens of a message scanned. */
  ask(request: Request): void {
    this.#request = request;
    const begins = this.#connection === undefined;
    this.#connection ??= this.#ni.connect(this.#service, {
      data: (bytes) => this.#data(bytes),
      ended: (why) => this.#ended(why === "" ? "clamd closed the connection" : why),
    });
    // The kernel may have refused at once.
    if (this.#over) this.#connection.close();
    else this.#connection.write(exchange(request.specimens, begins));
  }

  /** Its time is over. */
  expire(why: string): void {
    if (this.#request === undefined) this.#connection?.write(command("zEND"));
    this.#end(why);
  }

  #data(bytes: Uint8Array): void {
    if (this.#over) return;
    if (this.#request === undefined) return this.#end("clamd says what it was not asked");
    this.#answer += ascii(bytes, 0, bytes.length);
    for (let end = this.#answer.indexOf("\0"); end !== -1; end = this.#answer.indexOf("\0")) {
      this.#line(this.#answer.slice(0, end), this.#request);
      this.#answer = this.#answer.slice(end + 1);
    }
    if (this.#answer.length > LONGEST_ANSWER) return this.#end("clamd's answer is too long");
    if (this.#answers >= this.#request.specimens.length) this.#answered(this.#request);
  }

  #line(text: string, { specimens }: Request): void {
    const found = /^(\d+): (?:stream: )?(.*?) ?(OK|FOUND|ERROR)$/s.exec(text);
    const specimen = specimens[Number(found?.[1] ?? 0) - 1 - this.#before];
    this.#answers++;
    if (specimen !== undefined && found?.[3] === "FOUND") {
      this.#findings.push({ specimen, name: found[2] ?? "", by: "clamd" });
    } else if (specimen === undefined || found?.[3] !== "OK") {
      this.#failure ??= `clamd said ${JSON.stringify(text.slice(0, 200))}`;
    }
  }

  #answered(request: Request): void {
    // After a mistake nobody knows what it will say next.
    if (this.#failure !== undefined) return this.#end(this.#failure);
    const findings = this.#findings;
    this.#request = undefined;
    this.#before += request.specimens.length;
    this.#answers = 0;
    this.#findings = [];
    this.#restsUntil = this.#ni.now + REST;
    this.#connection?.rest();
    request.done({ findings, failure: undefined });
    this.#events.free();
  }

  #ended(why: string): void {
    // It may have given up just when it was asked again.
    const request = this.#request;
    const lost = request !== undefined && this.#before > 0 && this.#answers === 0 && !request.again;
    if (!lost) return this.#end(why);
    this.#over = true;
    this.#events.over({ ...request, again: true });
  }

  #end(why: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#connection?.close();
    const request = this.#request;
    this.#request = undefined;
    request?.done({ findings: this.#findings, failure: this.#failure ?? why });
    this.#events.over(undefined);
  }
}

/** All that is said about one message, in one piece: most of it is the specimens. */
function exchange(specimens: readonly Specimen[], begins: boolean): Uint8Array {
  const begin = begins ? command("zIDSESSION") : new Uint8Array();
  const instream = command("zINSTREAM");
  const lengths = specimens.map(({ bytes }) =>
    instream.length + bytes.length + 4 * (Math.ceil(bytes.length / CHUNK) + 1)
  );
  const out = new Uint8Array(begin.length + lengths.reduce((sum, length) => sum + length, 0));
  const view = new DataView(out.buffer);
  out.set(begin);
  let length = begin.length;
  for (const { bytes } of specimens) {
    out.set(instream, length);
    length += instream.length;
    for (let at = 0; at < bytes.length; at += CHUNK) {
      const chunk = bytes.subarray(at, at + CHUNK);
      view.setUint32(length, chunk.length);
      out.set(chunk, length + 4);
      length += 4 + chunk.length;
    }
    length += 4; // a chunk of no length is the end
  }
  return out;
}

function command(name: string): Uint8Array {
  return new TextEncoder().encode(`${name}\0`);
}
