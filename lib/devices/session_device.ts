/**
 * What NX-OS and EOS have in common: configuration sessions, in which commands are collected and which are
 * committed or thrown away as a whole.
 *
 * @module
 */
import type { AclStore } from "./acl_table.ts";
import { CliDevice, type Shell } from "./cli_device.ts";
import { Hangup } from "./terminal.ts";

/** A device with configuration sessions. */
export abstract class SessionDevice extends CliDevice {
  /** Sessions that were left without commit or abort. */
  readonly #left = new Map<string, { acls: AclStore; updates: number; base: AclStore }>();
  readonly #bases = new Map<number, AclStore>();

  /** Begins a session, or goes on with one that was left. */
  protected beginSession(shell: Shell, name: string): void {
    if (!this.enter(shell)) return;
    const left = this.#left.get(name);
    this.#left.delete(name);
    shell.candidate = { name, acls: left?.acls ?? this.acls.copy(), lines: [] };
    shell.updates = left?.updates ?? 0;
    this.#bases.set(shell.id, left?.base ?? this.acls.copy());
  }

  /** Leaves a session without an end: it waits. */
  protected leaveSession(shell: Shell): void {
    const { candidate } = shell;
    const base = this.#bases.get(shell.id);
    if (candidate !== undefined && base !== undefined) {
      this.#left.set(candidate.name, { acls: candidate.acls, updates: shell.updates, base });
    }
    this.#forget(shell);
  }

  /** Throws a session away. */
  protected abortSession(shell: Shell): void {
    this.#forget(shell);
  }

  /** What is wrong with a session's changes: there is no room for them. */
  protected sessionProblem(shell: Shell): string | undefined {
    const acls = shell.candidate?.acls;
    if (acls === undefined) return undefined;
    const full = ([4, 6] as const).some((family) => acls.used(family) > this.acls.capacity);
    return full ? this.phrases.full : undefined;
  }

  /** Makes a session's changes effective. */
  protected commitSession(shell: Shell): void {
    const { candidate } = shell;
    if (candidate === undefined) return;
    this.takeCandidate(candidate.acls, this.#bases.get(shell.id) as AclStore);
    this.onChange();
    const { updates } = shell;
    this.#forget(shell);
    const existing = Math.max(0, this.acls.used(4) + this.acls.used(6) - updates);
    this.spendBatch(updates, existing, updates);
    if (this.faults.dropAfterCommit) {
      this.faults.dropAfterCommit = false;
      shell.channel.drop();
      throw new Hangup("the device dropped the session");
    }
  }

  /** What a commit does to what is in effect. `base` is what was in effect when the session began. */
  protected takeCandidate(candidate: AclStore, _base: AclStore): void {
    for (const acl of candidate.all) {
      for (const entry of acl.entries) {
        // What is in effect has counted on meanwhile.
        const living = this.acls.get(acl.family, acl.name)?.entries.find((e) =>
          e.seq === entry.seq
        );
        if (living === undefined) continue;
        [entry.packets, entry.bytes] = [living.packets, living.bytes];
      }
    }
    this.acls.take(candidate);
  }

  protected override gone(shell: Shell): void {
    this.leaveSession(shell);
  }

  protected override leave(shell: Shell): void {
    this.leaveSession(shell);
    shell.updates = 0;
    super.leave(shell);
  }

  protected override rebooted(): void {
    this.#left.clear(); // sessions do not outlast a reload
  }

  #forget(shell: Shell): void {
    shell.candidate = undefined;
    shell.acl = undefined;
    shell.mode = "enabled";
    shell.updates = 0;
    this.#bases.delete(shell.id);
  }
}
