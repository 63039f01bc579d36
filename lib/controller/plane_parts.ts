/**
 * The parts that every data plane has: the control socket, and the audit trail, which comes last.
 *
 * @module
 */
import type { AuditTrail } from "./audit.ts";
import type { ControlServer } from "./control_server.ts";
import type { Part } from "./plane.ts";

/** Goes on with answers to the command line. */
export class ControlPart implements Part {
  readonly #server: ControlServer;

  constructor(server: ControlServer) {
    this.#server = server;
  }

  /** See {@link Part.due}. */
  due(): number {
    return this.#server.busy ? 0 : Infinity;
  }

  /** See {@link Part.round}. */
  round(): Promise<void> | undefined {
    return this.#server.busy ? this.#server.pump() : undefined;
  }
}

/** Milliseconds in which nobody asked for anything: then lines of the audit trail are made. */
const QUIET_MS = 1;

/** Writes the audit trail: answers go first, lines are made when nobody waits or when it is time. */
export class TrailPart implements Part {
  readonly #audit: AuditTrail;
  #nextSecond = 0;

  constructor(audit: AuditTrail) {
    this.#audit = audit;
  }

  /** See {@link Part.due}. */
  due(now: number): number {
    return this.#audit.waiting ? QUIET_MS : this.#nextSecond - now;
  }

  /** See {@link Part.round}. */
  round(now: number, idle: boolean): void {
    if (now >= this.#nextSecond) {
      this.#nextSecond = now + 1000;
      this.#audit.tick();
    }
    if (idle || this.#audit.overdue) this.#audit.flush();
  }
}
