/**
 * A simulated Cisco Nexus with NX-OS, from the Session Manager and IP ACL chapters of its configuration guides and
 * captured listings.
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
export class NxosDevice extends SessionDevice {
  readonly name = "nxos";
  /** The paper did not measure one; taken as fast as its Catalyst. */
  readonly speed: DeviceSpeed = { rate: 1220, batch: 300, start: 25, degradesFrom: 3000 };
  protected override readonly enables: boolean = false;
  protected override readonly pipes: boolean = true;
  protected readonly style: AceStyle = {
    addresses: "prefix",
    names: "nxos",
    options: ["established", "log", "fragments"],
  };
  protected readonly phrases: Phrases = {
    more: "--More--",
    invalid: (at, prompt) => `${" ".repeat(prompt + at)}^\n% Invalid command at '^' marker.\n`,
    incomplete: "% Incomplete command at '^' marker.",
    ambiguous: () => "% Ambiguous command at '^' marker.",
    locked: "ERROR: Configuration session is locked by another user, please retry",
    full: "ERROR: Verification failed: Sufficient free entries are not available in TCAM bank",
    numberInUse: "% Duplicate sequence number",
    numberTooHigh: "% Invalid number at '^' marker.",
    notThere: "ERROR: Cannot find the rule to delete",
    rejected: "% Invalid parameter detected at '^' marker.",
  };

  constructor(options: DeviceOptions = {}) {
    super(options, "n9k", 8000);
    const { enabled, config, acl } = this.modes;
    enabled
      .add("terminal length <n>", (shell, [n]) => void (shell.terminal.length = Number(n)))
      .add("terminal width <n>", (shell, [n]) => void (shell.terminal.width = Number(n)))
      .add("show clock", (shell) => shell.terminal.show("10:11:12.131 UTC Tue Nov 24 2026\n"))
      .add(
        "show version",
        (shell) => shell.terminal.page(["Cisco Nexus Operating System (NX-OS) Software"]),
      )
      .add("show hostname", (shell) => shell.terminal.show(`${this.hostname}\n`))
      .add("configure session <name>", (shell, [name]) => {
        this.beginSession(shell, name as string);
        if (shell.mode === "config") {
          shell.terminal.show(`Config Session started, Session ID is ${shell.id}\n`);
        }
      })
      .add("configure terminal", (shell) => {
        if (!this.enter(shell)) return;
        shell.terminal.show("Enter configuration commands, one per line. End with CNTL/Z.\n");
      })
      .add(
        "show access-lists [name]",
        (shell, [name]) => this.list(shell, [...this.#lines(4, name), ...this.#lines(6, name)]),
      )
      .add("show ip access-lists [name]", (shell, [name]) => this.list(shell, this.#lines(4, name)))
      .add(
        "show ipv6 access-lists [name]",
        (shell, [name]) => this.list(shell, this.#lines(6, name)),
      )
      .add("clear ip access-list counters [name]", () => {
        for (const list of this.acls.all) list.clearCounters();
      })
      .add("copy running-config startup-config", (shell) => {
        this.save();
        shell.terminal.show("[########################################] 100%\nCopy complete.\n");
      })
      .add("exit", (shell) => void (shell.over = true));
    for (const mode of [config, acl]) {
      mode
        .add(
          "verify",
          (shell) => this.say(shell, this.sessionProblem(shell) ?? "Verification Successful"),
        )
        .add("commit", (shell) => this.#commit(shell))
        .add("abort", (shell) => this.abortSession(shell))
        .add("show clock", (shell) => shell.terminal.show("10:11:12.131 UTC Tue Nov 24 2026\n"))
        .add("end", (shell) => this.leave(shell));
    }
    config
      .add("ip access-list <name>", (shell, [name]) => this.#edit(shell, 4, name as string))
      .add("ipv6 access-list <name>", (shell, [name]) => this.#edit(shell, 6, name as string))
      .add("no ip access-list <name>", (shell, [name]) => this.dropAcl(shell, 4, name as string))
      .add("no ipv6 access-list <name>", (shell, [name]) => this.dropAcl(shell, 6, name as string))
      .add(
        "resequence ip access-list <name> <first> <step>",
        (shell, [name, first, step]) =>
          (shell.candidate?.acls ?? this.acls).get(4, name as string)
            ?.resequence(Number(first), Number(step)),
      )
      .add("exit", (shell) => this.leave(shell));
    acl
      .add(
        "statistics per-entry",
        (shell) => void (shell.acl !== undefined && (shell.acl.counting = true)),
      )
      .add("exit", (shell) => {
        shell.mode = "config";
        shell.acl = undefined;
      });
  }

  protected prompt({ mode, acl, candidate }: Shell): string {
    const session = candidate === undefined ? "config" : "config-s";
    const part = mode === "config" ? "" : acl?.family === 6 ? "-ipv6-acl" : "-acl";
    return mode === "enabled" ? `${this.hostname}# ` : `${this.hostname}(${session}${part})# `;
  }

  protected logLine(n: number): string {
    return `2026 Nov 24 10:11:${String(n % 60).padStart(2, "0")} ${this.hostname} ` +
      `%VSHD-5-VSHD_SYSLOG_CONFIG_I: Configured from vty by noc on 192.0.2.9@pts/${n % 5}`;
  }

  #edit(shell: Shell, family: 4 | 6, name: string): void {
    const acls = shell.candidate?.acls ?? this.acls;
    const isNew = acls.get(family, name) === undefined;
    this.edit(shell, family, name);
    // Nothing is counted before `statistics per-entry`.
    if (isNew && shell.acl !== undefined) shell.acl.counting = false;
  }

  #commit(shell: Shell): void {
    const problem = this.sessionProblem(shell);
    if (problem !== undefined) return this.say(shell, problem);
    this.commitSession(shell);
    shell.terminal.show("Commit Successful\n");
  }

  #lines(family: 4 | 6, name: string | undefined): string[] {
    return this.sorted(family).filter((acl) => name === undefined || acl.name === name)
      .flatMap((acl) => this.#list(acl));
  }

  #list(acl: Acl): string[] {
    return [
      `${acl.family === 4 ? "IP" : "IPv6"} access list ${acl.name}`,
      ...(acl.counting ? ["        statistics per-entry "] : []),
      ...acl.entries.map((e) =>
        `        ${e.seq} ${this.text(e)}${acl.counting ? ` [match=${e.packets}]` : ""} `
      ),
    ];
  }
}
