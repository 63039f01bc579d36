/**
 * A simulated Force10 E600 with FTOS, from the FTOS command reference and configuration guide: no listing of its ACL
 * counters is public, so the manuals' examples are followed.
 *
 * @module
 */
import type { AceStyle } from "./ace_grammar.ts";
import type { Ace, AceMatch, Acl } from "./acl_table.ts";
import { CliDevice, type Phrases, type Shell } from "./cli_device.ts";
import type { DeviceSpeed } from "./clock.ts";
import type { DeviceOptions } from "./device.ts";

/** The device. */
export class FtosDevice extends CliDevice {
  readonly name = "ftos";
  readonly speed: DeviceSpeed = { rate: 445, batch: 1000, start: 120, degradesFrom: 20_000 };
  protected override readonly step: number = 5;
  override readonly highest: number = 65_534;
  protected readonly style: AceStyle = {
    addresses: "host",
    names: "ftos",
    options: ["established", "log", "fragments", "count"],
  };
  protected readonly phrases: Phrases = {
    more: "--More--",
    invalid: (at, prompt) => `${" ".repeat(prompt + at)}^\n% Error: Invalid input at "^" marker.\n`,
    incomplete: "% Error: Incomplete command.",
    ambiguous: () => "% Error: Ambiguous command.",
    locked: '% Error: User "noc" on line vty1 is in exclusive configuration mode',
    full: "% Error: Could not add rule: ACL CAM region is full.",
    numberInUse: "% Error: Sequence number already exists.",
    numberTooHigh: '% Error: Value out of range at "^" marker.',
    notThere: "% Error: Access-list entry does not exist.",
    rejected: "% Error: Rule could not be installed.",
  };

  constructor(options: DeviceOptions = {}) {
    super(options, "Force10", 10_000);
    const { user, enabled, config, acl } = this.modes;
    for (const mode of [user, enabled]) {
      mode
        .add("terminal length <n>", (shell, [n]) => void (shell.terminal.length = Number(n)))
        .add(
          "show version",
          (shell) => shell.terminal.page(["Force10 Networks Real Time Operating System Software"]),
        )
        .add("show clock", (shell) => shell.terminal.show("10:11:12.131 UTC Tue Nov 24 2026\n"))
        .add("exit", (shell) => void (shell.over = true));
    }
    user.add("enable", (shell) => this.enable(shell, "Password: ", "% Error: Access denied."));
    enabled
      .add("enable", () => {})
      .add("configure [terminal]", (shell) => void this.enter(shell))
      .add(
        "show ip accounting access-list <name>",
        (shell, [name]) => this.#show(shell, 4, name as string),
      )
      .add(
        "show ip accounting access-list <name> interface ...",
        (shell, [name, ...iface]) => this.#show(shell, 4, name as string, iface.join(" ")),
      )
      .add(
        "show ipv6 accounting access-list <name>",
        (shell, [name]) => this.#show(shell, 6, name as string),
      )
      .add(
        "show ipv6 accounting access-list <name> interface ...",
        (shell, [name, ...iface]) => this.#show(shell, 6, name as string, iface.join(" ")),
      )
      .add("clear counters ip access-group [name]", () => {
        for (const list of this.acls.all) list.clearCounters();
      })
      .add(
        "resequence access-list ipv4 <name> <first> <step>",
        (_shell, [name, first, step]) =>
          this.acls.get(4, name as string)?.resequence(Number(first), Number(step)),
      )
      .add("write memory", (shell) => {
        this.save();
        shell.terminal.show("!\n");
      });
    config
      .add("ip access-list extended <name>", (shell, [name]) => this.edit(shell, 4, name as string))
      .add("ipv6 access-list <name>", (shell, [name]) => this.edit(shell, 6, name as string))
      .add("no ip access-list extended <name>", (shell, [name]) => {
        this.acls.delete(4, name as string);
        this.changed(shell);
      })
      .add("end", (shell) => this.leave(shell))
      .add("exit", (shell) => this.leave(shell));
    acl
      .add("end", (shell) => this.leave(shell))
      .add("exit", (shell) => {
        shell.mode = "config";
        shell.acl = undefined;
      });
  }

  protected prompt({ mode, acl }: Shell): string {
    const part = { user: ">", enabled: "#", config: "(conf)#", interface: "(conf-if)#" };
    if (mode === "acl") {
      return `${this.hostname}(${acl?.family === 6 ? "config-ipv6-acl" : "config-ext-nacl"})#`;
    }
    return `${this.hostname}${part[mode]}`;
  }

  protected logLine(n: number): string {
    return `Nov 24 10:11:${String(n % 60).padStart(2, "0")}: %RPM0-P:CP %SYS-5-CONFIG_I: ` +
      `Configured from vty${n % 5} ( 192.0.2.9 ) by noc`;
  }

  /** The terminal is as wide as the client says; a banner must be acknowledged. */
  protected override async greet(shell: Shell): Promise<void> {
    shell.terminal.width = 0;
    if (this.options.banner === undefined) return;
    await shell.terminal.line("Have you read and do you acknowledge the above statement? [y/n]: ");
  }

  /** Counters are cleared when a rule is put in front of others, and not when it comes last. */
  protected override addEntry(
    shell: Shell,
    acl: Acl,
    match: AceMatch,
    seq: number | undefined,
  ): void {
    const { length } = acl.entries;
    const last = acl.entries.at(-1);
    super.addEntry(shell, acl, match, seq);
    if (acl.entries.length > length && last !== undefined && acl.entries.at(-1) === last) {
      acl.clearCounters();
    }
  }

  async #show(shell: Shell, family: 4 | 6, name: string, iface?: string): Promise<void> {
    const acl = this.acls.get(family, name);
    if (acl === undefined) return this.say(shell, "% Error: Access-list does not exist.");
    const kind = family === 4 ? "IP" : "IPv6";
    const heading = iface === undefined
      ? `${family === 4 ? "Extended " : ""}${kind} access list ${name}`
      : `${family === 4 ? "Extended " : ""}Ingress ${kind} access list ${name} on ${iface}`;
    const line = (e: Ace) => {
      const counted = iface !== undefined && e.options.includes("count");
      return ` seq ${e.seq} ${this.text(e)}${counted ? ` (${e.packets} packets)` : ""}`;
    };
    await this.list(shell, [heading, ...acl.entries.map(line)]);
  }
}
