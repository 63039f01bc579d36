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
  /** Sessions that have not begun, as there are enough. */
  readonly #waiting = new Set<Session>();

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
    for (const session of this.#sessions) deadline = Math.min(deadline, session.deadline);
    return deadline;
  }

  /** Gives up what has taken too long. */
  expire(): void {
    for (const session of [...this.#sessions]) {
      if (session.deadline <= this.#ni.now) {
        session.fail(`clamd did not answer in ${this.#limit} ms`);
      }
    }
  }

  /** As {@link Check.run}. */
  run(specimens: readonly Specimen[], done: (result: CheckResult) => void): void {
    const wanted = distinct(specimens);
    if (wanted.length === 0) return done({ findings: [], failure: undefined });
    const session = new Session(wanted, this.#ni.now + this.#limit, (result) => {
      this.#sessions.delete(session);
      this.#waiting.delete(session);
      this.#openNext();
      this.#changed();
      done(result);
    });
    this.#sessions.add(session);
    this.#waiting.add(session);
    this.#openNext();
    this.#changed();
  }

  #openNext(): void {
    for (const session of this.#waiting) {
      if (this.#sessions.size - this.#waiting.size >= MOST_SESSIONS) return;
      this.#waiting.delete(session);
      session.open(this.#ni, this.#service);
    }
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

class Session {
  readonly deadline: number;
  readonly #specimens: readonly Specimen[];
  #done: ((result: CheckResult) => void) | undefined;
  #connection: ServiceConnection | undefined;
  #answer = "";
  #answers = 0;
  readonly #findings: Finding[] = [];
  #failure: string | undefined;

  constructor(
    specimens: readonly Specimen[],
    deadline: number,
    done: (result: CheckResult) => void,
  ) {
    this.#specimens = specimens;
    this.deadline = deadline;
    this.#done = done;
  }

  open(ni: ClamdKernel, service: string): void {
    this.#connection = ni.connect(service, {
      data: (bytes) => this.#data(bytes),
      ended: (why) => this.fail(why === "" ? "clamd closed the connection" : why),
    });
    // The kernel may have refused at once.
    if (this.#done === undefined) return;
    this.#connection.write(exchange(this.#specimens));
  }

  fail(why: string): void {
    this.#failure ??= why;
    this.#finish();
  }

  #data(bytes: Uint8Array): void {
    if (this.#done === undefined) return;
    this.#answer += ascii(bytes, 0, bytes.length);
    for (let end = this.#answer.indexOf("\0"); end !== -1; end = this.#answer.indexOf("\0")) {
      this.#line(this.#answer.slice(0, end));
      this.#answer = this.#answer.slice(end + 1);
    }
    if (this.#answer.length > LONGEST_ANSWER) return this.fail("clamd's answer is too long");
    if (this.#answers >= this.#specimens.length) this.#finish();
  }

  #line(text: string): void {
    const found = /^(\d+): (?:stream: )?(.*?) ?(OK|FOUND|ERROR)$/s.exec(text);
    const specimen = this.#specimens[Number(found?.[1] ?? 0) - 1];
    this.#answers++;
    if (found?.[3] === "FOUND" && specimen !== undefined) {
      this.#findings.push({ specimen, name: found[2] ?? "", by: "clamd" });
    } else if (found?.[3] !== "OK") {
      this.#failure ??= `clamd said ${JSON.stringify(text.slice(0, 200))}`;
    }
  }

  #finish(): void {
    const done = this.#done;
    if (done === undefined) return;
    this.#done = undefined;
    if (this.#answers >= this.#specimens.length) this.#connection?.write(command("zEND"));
    this.#connection?.close();
    done({ findings: this.#findings, failure: this.#failure });
  }
}

/** All that is said in a session, in one piece: most of it is the specimens. */
function exchange(specimens: readonly Specimen[]): Uint8Array {
  const begin = command("zIDSESSION");
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
