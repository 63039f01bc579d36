/**
 * Proof of wrappers and of the clients that they start (paper, section 4.1), by what the kernel says of a
 * process.
 *
 * @module
 */
import { createHash, randomBytes } from "node:crypto";
import { processProgram, processStart } from "../sys/process_facts.ts";
import type { Credentials } from "../sys/unix_socket.ts";
import { readWrapperRecords, WRAPPER_DIRECTORY, type WrapperRecord } from "./wrapper_record.ts";

/** The file that a process executes: a number that no other file has as long as one executes it. */
export interface ProgramIdentity {
  readonly device: number;
  readonly inode: number;
}

/** A client that has proven itself with both channels. */
export interface WrappedClient {
  readonly record: WrapperRecord;
  /** The user who started it. */
  readonly uid: number;
  /** Its copy of the program in memory, which it shares only with those that it forked. */
  readonly program: ProgramIdentity;
}

/** What a wrapper says of itself: believed once its file is known to be the installed one. */
export interface WrapperClaim {
  /** What it finds wrong, 0 for nothing. */
  readonly fault: number;
  /** Its descriptor of the program that it is going to execute. */
  readonly program: number;
}

/** A wrapper that is about to become its program. */
interface Ticket {
  readonly record: WrapperRecord;
  readonly program: ProgramIdentity;
  readonly pid: number;
  readonly start: bigint;
  readonly uid: number;
}

/** What a wrapper found wrong with itself, by number. */
const FAULTS: readonly string[] = [
  "",
  "without its delegate's rights: a copy, a debugger, a user namespace, or root",
  "moved or changed since its installation",
  "the agent is not the one that was installed",
  "the program is not the one that was authorized",
  "a library that others than root can change was to be loaded into a wrapped program",
];

const LARGEST_WRAPPER = 1 << 20;

/** The broker's book of wrappers and of tickets that were not presented yet. */
export class WrapperProof {
  readonly #directory: string;
  readonly #tickets = new Map<string, Ticket>();

  /** @param directory the list of installed wrappers. */
  constructor(directory: string = WRAPPER_DIRECTORY) {
    this.#directory = directory;
  }

  /** Tickets that were given and not presented. */
  get waiting(): number {
    return this.#tickets.size;
  }

  /**
   * Examines the process behind a wrapper's channel.
   *
   * @param peer the channel's maker: its effective user is the delegate.
   * @param sender of the message: its real user is the one who started the wrapper.
   * @param claim what the wrapper says of itself.
   * @returns a ticket of 32 octets for the program that it becomes, or why there is none.
   */
  admit(
    peer: Credentials,
    sender: Credentials,
    claim: WrapperClaim,
  ): Uint8Array<ArrayBuffer> | string {
    const { fault } = claim;
    if (fault !== 0) return `wrapper: ${FAULTS[fault] ?? `fault ${fault}`}`;
    if (sender.uid === peer.uid) return "wrapper: not run with a delegate's rights";
    const start = processStart(peer.pid);
    const executed = examine(peer.pid);
    if (start === undefined || executed === undefined) return "wrapper: its process is gone";
    const program = identify(`/proc/${peer.pid}/fd/${claim.program}`);
    const problems: string[] = [];
    const record = readWrapperRecords(this.#directory, (why) => problems.push(why))
      .find((r) => r.sha256 === executed.sha256 && r.path === executed.path);
    if (record === undefined) {
      return [`wrapper: ${executed.path} is not installed`, ...problems].join("; ");
    }
    if (record.uid !== peer.uid || executed.owner !== peer.uid) {
      return `wrapper: ${record.path} does not run as ${record.delegate}`;
    }
    if (program === undefined) return "wrapper: its program is gone";
    const ticket = new Uint8Array(randomBytes(32));
    this.#tickets.set(ticket.toHex(), { record, program, pid: peer.pid, start, uid: sender.uid });
    return ticket;
  }

  /**
   * Takes a ticket. It is void afterwards, whoever presented it.
   *
   * @param peer the maker of the channel over which it was presented.
   * @returns the client that presented it, or why it is none.
   */
  join(ticket: Uint8Array, peer: Credentials): WrappedClient | string {
    const key = ticket.toHex();
    const given = this.#tickets.get(key);
    this.#tickets.delete(key);
    if (given === undefined) return "ticket: not given, or presented before";
    if (given.uid !== peer.uid) return `ticket: of uid ${given.uid}, presented by uid ${peer.uid}`;
    if (given.pid !== peer.pid || given.start !== processStart(peer.pid)) {
      return `ticket: of process ${given.pid}, presented by process ${peer.pid}`;
    }
    const client = { record: given.record, uid: given.uid, program: given.program };
    if (!isStillClient(peer.pid, client)) {
      return `ticket: for ${given.record.target}, presented by ${processProgram(peer.pid)}`;
    }
    return client;
  }

  /** Makes a ticket void: its wrapper's channel is closed. */
  forget(ticket: Uint8Array): void {
    this.#tickets.delete(ticket.toHex());
  }
}

/** True while a process still executes the program of a wrapped client (itself, or forked from it). */
export function isStillClient(pid: number, client: WrappedClient): boolean {
  const executed = identify(`/proc/${pid}/exe`);
  return executed?.device === client.program.device && executed.inode === client.program.inode;
}

/** The file that a link of /proc leads to; `undefined` when there is none. */
function identify(link: string): ProgramIdentity | undefined {
  try {
    const { dev, ino } = Deno.statSync(link);
    return ino === null ? undefined : { device: dev, inode: ino };
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** The wrapper that a process executes; `undefined` when it is gone, or too large for a wrapper. */
function examine(
  pid: number,
): { path: string; sha256: string; owner: number | null } | undefined {
  try {
    const path = Deno.readLinkSync(`/proc/${pid}/exe`);
    using file = Deno.openSync(`/proc/${pid}/exe`);
    const info = file.statSync();
    if (info.size > LARGEST_WRAPPER) return undefined;
    const bytes = new Uint8Array(info.size);
    for (let done = 0; done < bytes.length;) {
      const n = file.readSync(bytes.subarray(done));
      if (n === null) return undefined;
      done += n;
    }
    return {
      path,
      sha256: createHash("sha256").update(bytes).digest("hex"),
      owner: info.uid,
    };
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied ||
    (error instanceof Error && "code" in error && error.code === "ESRCH");
}
