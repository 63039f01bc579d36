/**
 * The name of a program that asks. To read it takes longer than all else that the broker does for a new
 * process, so that it is read after the answers when very many ask at once. It is for people: no decision
 * depends on it.
 *
 * @module
 */
import type { Requester } from "../pinhole/pinhole.ts";
import { processProgram } from "../sys/process_facts.ts";

/** Milliseconds, and how many new processes in such a time are no rush yet. */
const WINDOW_MS = 20;
const NO_RUSH = 20;

/** Tells when very many come at once. */
export class Rush {
  #since = 0;
  #count = 0;

  /**
   * Counts one more.
   *
   * @param now milliseconds since the epoch.
   * @returns whether there is a rush.
   */
  add(now: number): boolean {
    if (now - this.#since >= WINDOW_MS || now < this.#since) {
      this.#since = now;
      this.#count = 0;
    }
    return ++this.#count > NO_RUSH;
  }
}

/** The path of a process's executable, read when it is first needed. */
export class LateProgram {
  readonly #pid: number;
  #path: string | undefined;

  /** @param path when it is known already. */
  constructor(pid: number, path?: string) {
    this.#pid = pid;
    this.#path = path;
  }

  /** It was not read yet. */
  get isLate(): boolean {
    return this.#path === undefined;
  }

  /** The path; "" when it cannot be read, or not any more. */
  get path(): string {
    return this.#path ??= processProgram(this.#pid);
  }
}

/** A requester whose program is read when somebody wants to know it. */
export class LateRequester implements Requester {
  readonly delegate: string;
  readonly user: string;
  readonly uid: number;
  readonly pid: number;
  readonly pidStart: bigint;
  readonly #program: LateProgram;

  constructor(who: Omit<Requester, "program" | "programIsLate">, program: LateProgram) {
    this.delegate = who.delegate;
    this.user = who.user;
    this.uid = who.uid;
    this.pid = who.pid;
    this.pidStart = who.pidStart;
    this.#program = program;
  }

  get program(): string {
    return this.#program.path;
  }

  get programIsLate(): boolean {
    return this.#program.isLate;
  }
}
