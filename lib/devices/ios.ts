/**
 * A simulated Cisco Catalyst 6500 with IOS, from the IOS security command reference (numbered entries: "IP Access
 * List Entry Sequence Numbering") and captured sessions of IOS and IOS-XE.
 *
 * @module
 */
import type { AceStyle } from "./ace_grammar.ts";
import type { Acl } from "./acl_table.ts";
import { CliDevice, type Phrases, type Shell } from "./cli_device.ts";
import type { DeviceSpeed } from "./clock.ts";
import type { DeviceOptions } from "./device.ts";

/** The device. */
export class IosDevice extends CliDevice {
  readonly name = "ios";
  readonly speed: DeviceSpeed = { rate: 1220, batch: 300, start: 25, degradesFrom: 3000 };
  protected override readonly pipes: boolean = true;
  protected readonly style: AceStyle = {
    addresses: "host",
    names: "ios",
    options: ["established", "log", "log-input", "fragments"],
  };
  protected readonly phrases: Phrases = {
    more: " --More-- ",
    invalid: (at, prompt) =>
      `${" ".repeat(prompt + at)}^\n% Invalid input detected at '^' marker.\n\n`,
    incomplete: "% Incomplete command.",
    ambiguous: (line) => `% Ambiguous command:  "${line}"`,
    locked:
      "% Configuration mode locked exclusively by user 'noc' process '88' from terminal '2'. " +
      "Please try later.",
    full: "% ACL entry could not be added: hardware TCAM entry capacity exceeded",
    numberInUse: "% Duplicate sequence number",
    numberTooHigh: "Exceeded maximum sequence number.",
    notThere: "",
    rejected: "% Error in ACE: command rejected",
  };

  constructor(options: DeviceOptions = {}) {
    super(options, "cat6500", 8000);
    const { user, enabled, config, acl } = this.modes;
    for (const mode of [user, enabled]) {
      mode
        .add("terminal length <n>", (shell, [n]) => void (shell.terminal.length = Number(n)))
        .add("terminal width <n>", (shell, [n]) => void (shell.terminal.width = Number(n)))
        .add("show clock", (shell) => shell.terminal.show("*10:11:12.131 UTC Tue Nov 24 2026\n"))
        .add(
          "show privilege",
          (shell) =>
            shell.terminal.show(`Current privilege level is ${shell.mode === "user" ? 1 : 15}\n`),
        )
        .add("show version", (shell) =>
          shell.terminal.page([
            "Cisco IOS Software, s72033_rp Software (s72033_rp-ADVENTERPRISEK9-M), Version 12.2(33)SXJ",
            `${this.hostname} uptime is 2 hours, 17 minutes`,
          ]))
        .add("exit", (shell) => void (shell.over = true))
        .add("logout", (shell) => void (shell.over = true));
    }
    user.add("enable", (shell) => this.enable(shell, "Password: ", "% Bad secrets\n"));
    enabled
      .add("enable", () => {})
      .add("disable", (shell) => void (shell.mode = "user"))
      .add("configure terminal", (shell) => this.#configure(shell, false))
      .add("configure terminal lock", (shell) => this.#configure(shell, true))
      .add(
        "show access-lists [name]",
        (shell, [name]) => this.list(shell, [...this.#lines(4, name), ...this.#lines(6, name)]),
      )
      .add("show ip access-lists [name]", (shell, [name]) => this.list(shell, this.#lines(4, name)))
      .add(
        "show ipv6 access-list [name]",
        (shell, [name]) => this.list(shell, this.#lines(6, name)),
      )
      .add("clear access-list counters [name]", (_shell, [name]) => {
        for (const list of this.acls.all) {
          if (name === undefined || list.name === name) list.clearCounters();
        }
      })
      .add("write memory", (shell) => {
        this.save();
        shell.terminal.show("Building configuration...\n[OK]\n");
      })
      .add("reload", () => this.reboot());
    config
      .add("ip access-list extended <name>", (shell, [name]) => this.edit(shell, 4, name as string))
      .add("ipv6 access-list <name>", (shell, [name]) => this.edit(shell, 6, name as string))
      .add(
        "no ip access-list extended <name>",
        (shell, [name]) => this.#remove(shell, 4, name as string),
      )
      .add("no ipv6 access-list <name>", (shell, [name]) => this.#remove(shell, 6, name as string))
      .add(
        "ip access-list resequence <name> <first> <step>",
        (_shell, [name, first, step]) =>
          this.acls.get(4, name as string)?.resequence(Number(first), Number(step)),
      )
      .add("hostname <name>", () => {})
      .add("interface ...", (shell) => void (shell.mode = "interface"))
      .add("do ...", async (shell, words) => {
        const { mode } = shell;
        shell.mode = "enabled";
        await this.execute(shell, words.join(" "));
        shell.mode = mode;
      })
      .add("end", (shell) => this.leave(shell))
      .add("exit", (shell) => this.leave(shell));
    acl
      .add("end", (shell) => this.leave(shell))
      .add("exit", (shell) => this.#up(shell));
    this.modes.interface
      .add("ip access-group ...", () => {})
      .add("end", (shell) => this.leave(shell))
      .add("exit", (shell) => this.#up(shell));
  }

  protected prompt({ mode, acl }: Shell): string {
    // In configuration the host's name is cut to 20 characters.
    const short = this.hostname.slice(0, 20);
    switch (mode) {
      case "user":
        return `${this.hostname}>`;
      case "enabled":
        return `${this.hostname}#`;
      case "config":
        return `${short}(config)#`;
      case "interface":
        return `${short}(config-if)#`;
      case "acl":
        return `${short}(config-${acl?.family === 6 ? "ipv6-acl" : "ext-nacl"})#`;
    }
  }

  protected logLine(n: number): string {
    return `*Nov 24 10:11:${String(n % 60).padStart(2, "0")}.131: %SYS-5-CONFIG_I: ` +
      `Configured from console by noc on vty${n % 5} (192.0.2.9)`;
  }

  /** Numbers of entries are not in the start-up configuration: they begin anew. */
  protected override rebooted(): void {
    for (const acl of this.acls.all) acl.resequence(10, 10);
  }

  #configure(shell: Shell, lock: boolean): void {
    if (this.enter(shell, lock)) {
      shell.terminal.show("Enter configuration commands, one per line.  End with CNTL/Z.\n");
    }
  }

  #up(shell: Shell): void {
    shell.mode = "config";
    shell.acl = undefined;
  }

  #remove(shell: Shell, family: 4 | 6, name: string): void {
    this.acls.delete(family, name);
    this.changed(shell);
  }

  #lines(family: 4 | 6, name: string | undefined): string[] {
    return this.sorted(family).filter((acl) => name === undefined || acl.name === name)
      .flatMap((acl) => family === 4 ? this.#list4(acl) : this.#list6(acl));
  }

  #list4(acl: Acl): string[] {
    return [
      `Extended IP access list ${acl.name}`,
      ...acl.entries.map((e) => `    ${e.seq} ${this.text(e)}${matches(e.packets)}`),
    ];
  }

  #list6(acl: Acl): string[] {
    return [
      `IPv6 access list ${acl.name}`,
      ...acl.entries.map((e) =>
        `    ${this.text(e)}${matches(e.packets)} sequence ${e.seq}`.replace(
          /[0-9a-f:]*::?[0-9a-f:]*/g,
          (
            address,
          ) => address.toUpperCase(),
        )
      ),
    ];
  }
}

function matches(n: number): string {
  if (n === 0) return "";
  return n === 1 ? " (1 match)" : ` (${n} matches)`;
}
