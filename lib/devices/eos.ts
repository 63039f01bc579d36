/**
 * A simulated Arista switch with EOS, from its user manual (configuration sessions, ACLs) and captured listings.
 *
 * @module
 */
import type { AceStyle } from "./ace_grammar.ts";
import type { Acl } from "./acl_table.ts";
import type { Phrases, Shell } from "./cli_device.ts";
import type { DeviceSpeed } from "./clock.ts";
import type { DeviceOptions } from "./device.ts";
import { SessionDevice } from "./session_device.ts";

/** The device. */
export class EosDevice extends SessionDevice {
  readonly name = "eos";
  /** The paper did not measure one; taken as fast as the Catalyst. */
  readonly speed: DeviceSpeed = { rate: 1220, batch: 300, start: 25, degradesFrom: 3000 };
  protected override readonly pipes: boolean = true;
  protected readonly style: AceStyle = {
    addresses: "host",
    names: "eos",
    options: ["established", "log", "fragments", "tracked"],
  };
  protected readonly phrases: Phrases = {
    more: " --More-- ",
    invalid: (at) => `% Invalid input (at token ${at})\n`,
    incomplete: "% Incomplete command",
    ambiguous: () => "% Ambiguous command",
    locked: "% Cannot enter session: configuration is locked by user noc",
    full: "% Cannot commit: hardware resources for ACL are exhausted",
    numberInUse: "% Duplicate sequence number",
    numberTooHigh: "% Invalid input",
    notThere: "",
    rejected: "% Invalid input",
  };

  constructor(options: DeviceOptions = {}) {
    super(options, "leaf1", 8000);
    const { user, enabled, config, acl } = this.modes;
    for (const mode of [user, enabled]) {
      mode
        .add("terminal length <n>", (shell, [n]) => {
          shell.terminal.length = Number(n);
          shell.terminal.show(`Pagination ${n === "0" ? "disabled" : `set to ${n} lines`}.\n`);
        })
        .add("terminal width <n>", (shell, [n]) => {
          shell.terminal.width = Number(n);
          shell.terminal.show(`Width set to ${n} columns.\n`);
        })
        .add("show version", (shell) => shell.terminal.page(["Arista vEOS-lab"]))
        .add(
          "show clock",
          (shell) => shell.terminal.show("Tue Nov 24 10:11:12 2026\nTimezone: UTC\n"),
        )
        .add("exit", (shell) => void (shell.over = true));
    }
    user.add("enable", (shell) => this.enable(shell, "Password: ", "% Authentication failed"));
    enabled
      .add("enable", () => {})
      .add("configure session <name>", (shell, [name]) => this.beginSession(shell, name as string))
      .add("configure terminal", (shell) => void this.enter(shell))
      .add("show ip access-lists [name]", (shell, [name]) => this.list(shell, this.#lines(4, name)))
      .add(
        "show ipv6 access-lists [name]",
        (shell, [name]) => this.list(shell, this.#lines(6, name)),
      )
      .add("clear ip access-lists counters [name]", () => {
        for (const list of this.acls.all) list.clearCounters();
      })
      .add("write memory", (shell) => {
        this.save();
        shell.terminal.show("Copy completed successfully.\n");
      });
    for (const mode of [config, acl]) {
      mode
        .add("commit", (shell) => this.#commit(shell))
        .add("abort", (shell) => this.abortSession(shell))
        .add(
          "show clock",
          (shell) => shell.terminal.show("Tue Nov 24 10:11:12 2026\nTimezone: UTC\n"),
        )
        .add("end", (shell) => this.leave(shell));
    }
    config
      .add("ip access-list <name>", (shell, [name]) => this.#edit(shell, 4, name as string))
      .add("ipv6 access-list <name>", (shell, [name]) => this.#edit(shell, 6, name as string))
      .add("no ip access-list <name>", (shell, [name]) => this.dropAcl(shell, 4, name as string))
      .add("no ipv6 access-list <name>", (shell, [name]) => this.dropAcl(shell, 6, name as string))
      .add("exit", (shell) => this.leave(shell));
    acl
      .add(
        "counters per-entry",
        (shell) => void (shell.acl !== undefined && (shell.acl.counting = true)),
      )
      .add(
        "statistics per-entry",
        (shell) => void (shell.acl !== undefined && (shell.acl.counting = true)),
      )
      .add(
        "resequence <first> <step>",
        (shell, [first, step]) => shell.acl?.resequence(Number(first), Number(step)),
      )
      .add("exit", (shell) => {
        shell.mode = "config";
        shell.acl = undefined;
      });
  }

  protected prompt({ mode, acl, candidate }: Shell): string {
    if (mode === "user") return `${this.hostname}>`;
    if (mode === "enabled") return `${this.hostname}#`;
    // A session's name is cut to its first characters.
    const session = candidate === undefined ? "config" : `config-s-${candidate.name.slice(0, 6)}`;
    return `${this.hostname}(${session}${mode === "acl" ? `-acl-${acl?.name}` : ""})#`;
  }

  protected logLine(n: number): string {
    return `Nov 24 10:11:${String(n % 60).padStart(2, "0")} ${this.hostname} ConfigAgent: ` +
      `%SYS-5-CONFIG_I: Configured from console by noc on vty${n % 5} (192.0.2.9)`;
  }

  #edit(shell: Shell, family: 4 | 6, name: string): void {
    const isNew = (shell.candidate?.acls ?? this.acls).get(family, name) === undefined;
    this.edit(shell, family, name);
    if (isNew && shell.acl !== undefined) shell.acl.counting = false;
  }

  #commit(shell: Shell): void {
    const problem = this.sessionProblem(shell);
    if (problem !== undefined) return this.say(shell, problem);
    this.commitSession(shell);
  }

  #lines(family: 4 | 6, name: string | undefined): string[] {
    return this.sorted(family).filter((acl) => name === undefined || acl.name === name)
      .flatMap((acl) => this.#list(acl));
  }

  #list(acl: Acl): string[] {
    const hits = (n: number) => acl.counting && n > 0 ? ` [match ${n} packets, 0:00:05 ago]` : "";
    return [
      `${acl.family === 4 ? "IP" : "IPv6"} Access List ${acl.name}`,
      ...(acl.counting ? ["        counters per-entry"] : []),
      ...acl.entries.map((e) => `        ${e.seq} ${this.text(e)}${hits(e.packets)}`),
      "",
    ];
  }
}
