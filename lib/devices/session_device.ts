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
  readonly #left = new Map<string, { acls: AclStore; updates: number }>();

  /** Begins a session, or goes on with one that was left. */
  protected beginSession(shell: Shell, name: string): void {
    if (!this.enter(shell)) return;
    const left = this.#left.get(name);
    this.#left.delete(name);
    shell.candidate = { name, acls: left?.acls ?? this.acls.copy(), lines: [] };
    shell.updates = left?.updates ?? 0;
  }

  /** Leaves a session without an end: it waits. */
  protected leaveSession(shell: Shell): void {
    const { candidate } = shell;
    if (candidate !== undefined) {
      this.#left.set(candidate.name, { acls: candidate.acls, updates: shell.updates });
    }
    this.#forget(shell);
  }

  /** Removes an ACL, from the session's changes where there is a session. */
  protected dropAcl(shell: Shell, family: 4 | 6, name: string): void {
    (shell.candidate?.acls ?? this.acls).delete(family, name);
    this.changed(shell);
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
    this.#take(candidate.acls);
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

  /** What a session has takes the place of what is in effect, also of what others changed meanwhile. */
  #take(candidate: AclStore): void {
    for (const acl of candidate.all) {
      const living = new Map(
        this.acls.get(acl.family, acl.name)?.entries.map((entry) => [entry.seq, entry]),
      );
      for (const entry of acl.entries) {
        // What is in effect has counted on meanwhile.
        const counted = living.get(entry.seq);
        if (counted !== undefined) [entry.packets, entry.bytes] = [counted.packets, counted.bytes];
      }
    }
    this.acls.take(candidate);
  }

  #forget(shell: Shell): void {
    shell.candidate = undefined;
    shell.acl = undefined;
    shell.mode = "enabled";
    shell.updates = 0;
  }
}
