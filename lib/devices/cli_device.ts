/**
 * A simulated device with a command line of Cisco's kind: user, enabled and configuration modes, named ACLs with
 * numbered entries. What a vendor does differently its own file says.
 *
 * @module
 */
import { type AceProblem, type AceStyle, aceText, isProblem, readAce } from "./ace_grammar.ts";
import type { AceMatch, Acl, AclStore, Added } from "./acl_table.ts";
import { lineTime } from "./clock.ts";
import { CommandTable } from "./commands.ts";
import { SimulatedDevice } from "./device.ts";
import { due } from "./faults.ts";
import type { DeviceChannel } from "./ssh_server.ts";
import { Hangup, Terminal } from "./terminal.ts";

/** Where a session is. */
export type ShellMode = "user" | "enabled" | "config" | "acl" | "interface";

/** One client's session. */
export interface Shell {
  readonly terminal: Terminal;
  readonly channel: DeviceChannel;
  readonly id: number;
  mode: ShellMode;
  /** The ACL that is being edited. */
  acl: Acl | undefined;
  /** Changes since configuration was entered, whose time is still to be spent. */
  updates: number;
  /** A candidate, where the vendor has them: its name and its copy of the ACLs. */
  candidate:
    | { readonly name: string; readonly acls: AclStore; readonly lines: string[] }
    | undefined;
  /** Set by `exit`: the session ends. */
  over: boolean;
}

/** A command: what it prints, or nothing. */
export type ShellCommand = (
  shell: Shell,
  args: readonly string[],
) => Promise<void> | void;

/** What a vendor's command line says in a case. */
export interface Phrases {
  readonly more: string;
  readonly invalid: (at: number, promptLength: number) => string;
  readonly incomplete: string;
  readonly ambiguous: (line: string) => string;
  readonly locked: string;
  readonly full: string;
  readonly numberInUse: string;
  readonly numberTooHigh: string;
  readonly notThere: string;
  readonly rejected: string;
}

/** A device of Cisco's kind. */
export abstract class CliDevice extends SimulatedDevice {
  protected readonly modes: Record<ShellMode, CommandTable<ShellCommand>> = {
    user: new CommandTable(),
    enabled: new CommandTable(),
    config: new CommandTable(),
    acl: new CommandTable(),
    interface: new CommandTable(),
  };
  protected abstract readonly phrases: Phrases;
  protected abstract readonly style: AceStyle;
  /** Users may have to enable. */
  protected readonly enables: boolean = true;
  /** What `show` prints can be sent through `| include PATTERN`. */
  protected readonly pipes: boolean = false;
  /** Between numbers that the device gives itself. */
  protected readonly step: number = 10;
  /** Who holds the configuration for himself: a session's id. */
  #lock: number | undefined;
  #sessions = 0;
  #messages = 0;
  #shells = new Map<number, Shell>();

  /** The prompt of a session. */
  protected abstract prompt(shell: Shell): string;

  /** A line that the device prints by itself. */
  protected abstract logLine(n: number): string;

  /** Sessions that are there. */
  protected get shells(): Iterable<Shell> {
    return this.#shells.values();
  }

  protected async shell(channel: DeviceChannel): Promise<void> {
    const terminal = new Terminal({
      channel,
      clock: this.clock,
      faults: this.faults,
      more: this.phrases.more,
      logLine: () => this.logLine(++this.#messages),
    });
    const shell: Shell = {
      terminal,
      channel,
      id: ++this.#sessions,
      mode: this.options.enablePassword === undefined || !this.enables ? "enabled" : "user",
      acl: undefined,
      updates: 0,
      candidate: undefined,
      over: false,
    };
    this.#shells.set(shell.id, shell);
    try {
      if (this.options.banner !== undefined) terminal.show(this.options.banner);
      await this.greet(shell);
      while (!shell.over) {
        const line = await terminal.line(this.prompt(shell));
        if (line === undefined) continue;
        if (line === "\x1a") this.leave(shell);
        else if (line.trim() !== "") await this.execute(shell, line);
      }
      terminal.flush();
      channel.end();
    } catch (error) {
      if (!(error instanceof Hangup)) throw error;
    } finally {
      this.#shells.delete(shell.id);
      if (this.#lock === shell.id) this.#lock = undefined;
      this.gone(shell);
    }
  }

  /** What is asked before the first prompt. */
  protected greet(_shell: Shell): Promise<void> {
    return Promise.resolve();
  }

  /** A session ended, in whatever way. */
  protected gone(_shell: Shell): void {}

  /** Carries out one line. */
  protected async execute(shell: Shell, line: string): Promise<void> {
    const { terminal } = shell;
    const text = line.trim();
    if (text.startsWith("!")) return;
    if (shell.mode === "acl" && this.isAclLine(text)) return this.aclLine(shell, text);
    const pipe = /^(sho?w? .*?) \| in\w* (.+)$/.exec(text);
    if (this.pipes && pipe !== null) {
      try {
        terminal.filter = new RegExp(pipe[2] as string);
      } catch {
        return terminal.show(`${this.phrases.incomplete}\n`);
      }
      try {
        return await this.execute(shell, pipe[1] as string);
      } finally {
        terminal.filter = undefined;
      }
    }
    let found = this.modes[shell.mode].find(text);
    // In a mode within configuration, other commands are those of configuration.
    if (found.kind === "unknown" && (shell.mode === "acl" || shell.mode === "interface")) {
      const outer = this.modes.config.find(text);
      if (outer.kind === "command") {
        shell.mode = "config";
        shell.acl = undefined;
      }
      found = outer;
    }
    switch (found.kind) {
      case "command":
        await found.run(shell, found.args);
        return;
      case "ambiguous":
        return terminal.show(`${this.phrases.ambiguous(text)}\n`);
      case "incomplete":
        return terminal.show(`${this.phrases.incomplete}\n\n`);
      case "unknown":
        this.invalid(shell, line, found.at);
    }
  }

  /** Complains about the word at which a line is not understood. */
  protected invalid(shell: Shell, line: string, word: number): void {
    const starts = [...line.matchAll(/\S+/g)].map((match) => match.index);
    const at = starts[word] ?? line.length;
    shell.terminal.show(this.phrases.invalid(at, this.prompt(shell).length));
  }

  /** True for a line that is for the ACL which is being edited. */
  protected isAclLine(text: string): boolean {
    return /^(no )?(seq(uence)? )?(\d+ )?(permit|deny)\b|^no (seq )?\d+$|^(no )?remark\b/.test(
      text,
    );
  }

  /** Adds to or removes from the ACL that is being edited. */
  protected aclLine(shell: Shell, text: string): void {
    const acl = shell.acl as Acl;
    if (due(this.faults, "dropAtLine")) {
      shell.channel.drop();
      throw new Hangup("the device dropped the session");
    }
    if (due(this.faults, "rejectLine")) return shell.terminal.show(`${this.phrases.rejected}\n`);
    if (/^(no )?remark\b/.test(text)) return;
    const words = text.split(/\s+/);
    const removing = words[0] === "no";
    if (removing) words.shift();
    const seq = this.takeNumber(words);
    if (removing && words.length === 0 && seq !== undefined) {
      this.update(shell);
      if (!acl.removeNumber(seq)) this.say(shell, this.phrases.notThere);
      return this.changed(shell);
    }
    const match = readAce(words, 0, acl.family, this.style);
    if (isProblem(match)) return this.badEntry(shell, text, words, match);
    this.update(shell);
    if (removing) {
      if (!acl.remove(match)) this.say(shell, this.phrases.notThere);
    } else this.addEntry(shell, acl, match, seq);
    this.changed(shell);
  }

  /** Counts an update, and the time that its line takes. */
  protected update(shell: Shell): void {
    shell.updates++;
    this.clock.spend(lineTime(this.speed));
  }

  /** Adds an entry, if there is room. */
  protected addEntry(shell: Shell, acl: Acl, match: AceMatch, seq: number | undefined): void {
    const store = shell.candidate?.acls ?? this.acls;
    if (shell.candidate === undefined && store.full(acl.family)) {
      return this.say(shell, this.phrases.full);
    }
    this.added(shell, acl.add(match, seq, this.step, this.highest));
  }

  /** Says what became of an addition. */
  protected added(shell: Shell, result: Added): void {
    if (result === "number-in-use") this.say(shell, this.phrases.numberInUse);
    if (result === "too-high") this.say(shell, this.phrases.numberTooHigh);
  }

  /** Takes the number of an entry from its words. */
  protected takeNumber(words: string[]): number | undefined {
    if (words[0] === "seq" || words[0] === "sequence") words.shift();
    if (/^\d{1,10}$/.test(words[0] ?? "")) return Number(words.shift());
    if (words.at(-2) === "sequence" && /^\d{1,10}$/.test(words.at(-1) as string)) {
      return Number(words.splice(-2)[1]);
    }
    return undefined;
  }

  /** An entry that is not understood. */
  protected badEntry(
    shell: Shell,
    text: string,
    words: readonly string[],
    problem: AceProblem,
  ): void {
    if (problem.at === "end") return this.say(shell, this.phrases.incomplete);
    const skipped = text.split(/\s+/).length - words.length;
    this.invalid(shell, text, problem.at + skipped);
  }

  /** Prints a line, or nothing. */
  protected say(shell: Shell, text: string): void {
    if (text !== "") shell.terminal.show(`${text}\n`);
  }

  /** Something in effect changed. */
  protected changed(shell: Shell): void {
    if (shell.candidate === undefined) this.onChange();
  }

  /** Into configuration; false when somebody else holds it. */
  protected enter(shell: Shell, exclusive = false): boolean {
    const held = this.#lock !== undefined && this.#lock !== shell.id;
    if (held || this.faults.lockedTries > 0) {
      if (this.faults.lockedTries > 0) this.faults.lockedTries--;
      this.say(shell, this.phrases.locked);
      return false;
    }
    if (exclusive) this.#lock = shell.id;
    shell.mode = "config";
    shell.updates = 0;
    return true;
  }

  /** Out of configuration: what was changed takes its time. */
  protected leave(shell: Shell): void {
    if (shell.mode === "user" || shell.mode === "enabled") return;
    if (this.#lock === shell.id) this.#lock = undefined;
    shell.mode = "enabled";
    shell.acl = undefined;
    this.work(shell);
  }

  /** The time of the changes since the last time; and what may go wrong then. */
  protected work(shell: Shell): void {
    const { updates } = shell;
    shell.updates = 0;
    if (updates === 0) return;
    const existing = Math.max(0, this.acls.used(4) + this.acls.used(6) - updates);
    this.spendBatch(updates, existing, updates);
    if (this.faults.dropAfterCommit) {
      this.faults.dropAfterCommit = false;
      shell.channel.drop();
      throw new Hangup("the device dropped the session");
    }
  }

  /** Into an ACL. */
  protected edit(shell: Shell, family: 4 | 6, name: string): void {
    shell.acl = (shell.candidate?.acls ?? this.acls).make(family, name);
    shell.mode = "acl";
  }

  /** Prints a listing, with the faults of listings. */
  protected async list(shell: Shell, lines: readonly string[]): Promise<void> {
    const { faults, clock } = this;
    if (faults.garbage !== undefined) {
      await clock.settle();
      shell.terminal.raw(faults.garbage);
      faults.garbage = undefined;
      return;
    }
    if (faults.truncateList > 0) {
      const text = shell.terminal.filtered(lines).join("\n").slice(0, faults.truncateList);
      faults.truncateList = 0;
      return shell.terminal.show(`${text}\n`);
    }
    await shell.terminal.page(lines);
  }

  /** Asks for the enable password. */
  protected async enable(shell: Shell, ask: string, refused: string): Promise<void> {
    const wanted = this.options.enablePassword;
    for (let tries = 0; wanted !== undefined && tries < 3; tries++) {
      if (await shell.terminal.line(ask, true) === wanted) {
        shell.mode = "enabled";
        return;
      }
    }
    if (wanted === undefined) shell.mode = "enabled";
    else this.say(shell, refused);
  }

  /** An entry as the device prints it, without its number. */
  protected text(match: AceMatch): string {
    return aceText(match, this.style);
  }
}
