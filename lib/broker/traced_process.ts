/**
 * Who may speak for whom, when a supervisor asks for a process that it traces (docs/protocols/agent-broker.md).
 *
 * @module
 */
import { pidfdFacts } from "../sys/pidfd.ts";
import { processDescriptor } from "../sys/process_facts.ts";

/** A traced process, as the kernel says. */
export interface TracedProcess {
  readonly pid: number;
  /** Real user id. */
  readonly uid: number;
}

/**
 * Proves that a supervisor may speak for a process, and that the socket is that process's own.
 *
 * The rule is that of ptrace(2): root for all, anybody else for processes that have no user id but his. He
 * could have such a process do whatever he likes anyway, so that he gains nothing by asking in its place.
 *
 * @param supervisor user id of the process that asks.
 * @param pidfd descriptor of the traced thread.
 * @param socket descriptor of the socket, here.
 * @param descriptor its number in the traced thread.
 * @returns the process, or in words why not.
 */
export function tracedProcess(
  supervisor: number,
  pidfd: number,
  socket: number,
  descriptor: number,
): TracedProcess | string {
  const facts = pidfdFacts(pidfd);
  if (facts === undefined) return "the traced process has ended, or is none";
  if (supervisor !== 0 && facts.uids.some((uid) => uid !== supervisor)) {
    return `uid ${supervisor} may not speak for process ${facts.process} of uid ${facts.uids[0]}`;
  }
  const theirs = processDescriptor(facts.thread, descriptor);
  if (!theirs.startsWith("socket:") || theirs !== processDescriptor("self", socket)) {
    return `the socket is not descriptor ${descriptor} of process ${facts.process}`;
  }
  return { pid: facts.process, uid: facts.uids[0] };
}
