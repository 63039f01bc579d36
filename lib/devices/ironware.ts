/**
 * A simulated Foundry MLX-4 with NetIron IronWare, or a FastIron, from the security guides (ACL editing and sequence
 * numbers, ip rebind-acl, ACL accounting). No listing of their counters is public, so the manuals' examples are
 * followed.
 *
 * @module
 */
import type { AceStyle } from "./ace_grammar.ts";
import type { Ace, Acl, Packet } from "./acl_table.ts";
import { AclStore } from "./acl_table.ts";
import { CliDevice, type Phrases, type Shell } from "./cli_device.ts";
import type { DeviceSpeed } from "./clock.ts";
import type { DeviceOptions } from "./device.ts";

/** How an IronWare device is made. */
export interface IronwareOptions extends DeviceOptions {
  /** Default `netiron`. */
  readonly variant?: "netiron" | "fastiron";
  /** Enabling asks for the user's name first. */
  readonly enableAsksUser?: boolean;
}

/** The device. */
export class IronwareDevice extends CliDevice {
  readonly name = "ironware";
  readonly speed: DeviceSpeed = { rate: 1070, batch: 5000, start: 200, degradesFrom: 100_000 };
  readonly variant: "netiron" | "fastiron";
  /** What the hardware does: the ACLs as they were at the last rebind. */
  readonly hardware: AclStore;
  readonly #asksUser: boolean;
  /** Counters as they are shown: collected once a minute. */
  #shown = new Map<string, number>();
  /** IPv6 ACLs that were edited since the hardware was looked at. */
  readonly #edited = new Set<string>();
  protected readonly style: AceStyle = {
    addresses: "host",
    names: "foundry",
    options: ["established", "log", "fragment"],
  };
  protected readonly phrases: Phrases = {
    more: "--More--, next page: Space, next line: Return key, quit: Control-c",
    invalid: () => "",
    incomplete: "Incomplete command.",
    ambiguous: () => "Ambiguous input -> type ? for a list",
    locked: "Flash access in progress. Please try later",
    full: "Error - insufficient ACL CAM entries: maximum number of entries exceeded",
    numberInUse: "Error: Entry with same sequence number already exists",
    numberTooHigh: "Error - sequence number out of range",
    notThere: "Error: Entry to be deleted not found",
    rejected: "Error - entry could not be programmed",
  };

  constructor(options: IronwareOptions = {}) {
    super(options, "mlx4", 8000);
    this.variant = options.variant ?? "netiron";
    this.#asksUser = options.enableAsksUser ?? false;
    this.hardware = new AclStore(this.acls.capacity);
    const { user, enabled, config, acl } = this.modes;
    user
      .add("enable", (shell) => this.#enable(shell))
      .add("exit", (shell) => void (shell.over = true));
    enabled
      .add("skip-page-display", (shell) => void (shell.terminal.length = 0))
      .add("page-display", (shell) => void (shell.terminal.length = 24))
      .add("show clock", (shell) => shell.terminal.show("10:11:12.131 GMT+00 Tue Nov 24 2026\n"))
      .add(
        "show version",
        (shell) => shell.terminal.page(["System: NetIron MLX-4", "IronWare : Version 5.6.0"]),
      )
      .add("configure terminal", (shell) => void this.enter(shell))
      .add("show access-list name <name>", (shell, [name]) => this.#show(shell, name as string))
      .add("show ip access-lists [name]", (shell, [name]) => this.#show(shell, name as string))
      .add("show access-list accounting ...", (shell, words) => this.#accounting(shell, 4, words))
      .add("show ipv6 access-list <name>", (shell, [name]) => this.#show6(shell, name as string))
      .add(
        "show ipv6 access-list accounting ...",
        (shell, words) => this.#accounting(shell, 6, words),
      )
      .add("clear access-list all", () => this.#clear())
      .add("write memory", (shell) => {
        this.save();
        shell.terminal.show("Write startup-config done.\n");
      })
      .add("exit", (shell) => void (shell.over = true));
    config
      .add("ip access-list extended <name>", (shell, [name]) => this.edit(shell, 4, name as string))
      .add("no ip access-list extended <name>", (shell, [name]) => {
        this.acls.delete(4, name as string);
        this.changed(shell);
      })
      .add("ipv6 access-list <name>", (shell, [name]) => this.edit(shell, 6, name as string))
      .add("no ipv6 access-list <name>", (shell, [name]) => {
        this.acls.delete(6, name as string);
        this.hardware.delete(6, name as string);
        this.changed(shell);
      })
      .add("ip rebind-acl <name>", (_shell, [name]) => this.bind(name as string))
      .add("enable-acl-counter", () => {})
      .add("end", (shell) => this.leave(shell))
      .add("exit", (shell) => this.leave(shell));
    acl
      .add(
        "enable-accounting",
        (shell) => void (shell.acl !== undefined && (shell.acl.counting = true)),
      )
      .add("end", (shell) => this.leave(shell))
      .add("exit", (shell) => {
        shell.mode = "config";
        shell.acl = undefined;
      });
  }

  /** A minute went by: the counters are collected. */
  collect(): void {
    this.#takeEdited();
    for (const acl of this.hardware.all) {
      for (const entry of acl.entries) {
        this.#shown.set(`${acl.name} ${this.text(entry)}`, entry.packets);
      }
    }
  }

  /** The hardware decides, and it knows what was rebound and nothing newer. */
  override packet(acl: string, packet: Packet, packets = 1, bytes = 60): boolean {
    this.#takeEdited();
    const list = this.hardware.get(packet.source.family, acl);
    if (list === undefined || list.entries.length === 0) return true;
    return list.match(packet, packets, bytes * packets)?.action === "permit";
  }

  protected prompt({ mode, acl }: Shell): string {
    const host = `SSH@${this.hostname}`;
    switch (mode) {
      case "user":
        return `${host}>`;
      case "enabled":
        return `${host}#`;
      case "config":
        return `${host}(config)#`;
      case "interface":
        return `${host}(config-if)#`;
      case "acl":
        if (acl?.family === 6) return `${host}(config-ipv6-access-list ${acl.name})#`;
        return `${host}(config-ext-nacl${this.variant === "netiron" ? `-${acl?.name}` : ""})#`;
    }
  }

  protected logLine(n: number): string {
    return `SYSLOG: <13>Nov 24 10:11:${String(n % 60).padStart(2, "0")} ${this.hostname} ` +
      `Security: running-config was changed by noc from ssh client 192.0.2.9`;
  }

  protected override greet(shell: Shell): Promise<void> {
    shell.terminal.width = 0;
    return Promise.resolve();
  }

  protected override invalid(shell: Shell, line: string, word: number): void {
    const rest = line.trim().split(/\s+/).slice(word).join(" ");
    shell.terminal.show(`Invalid input -> ${rest}\nType ? for a list\n`);
  }

  protected override rebooted(): void {
    this.#shown.clear();
    this.#edited.clear();
    this.hardware.take(this.acls);
    this.#clear();
  }

  async #enable(shell: Shell): Promise<void> {
    const wanted = this.options.enablePassword;
    if (wanted === undefined) return void (shell.mode = "enabled");
    if (this.#asksUser) await shell.terminal.line("User Name:");
    if (await shell.terminal.line("Password:", true) === wanted) shell.mode = "enabled";
    else this.say(shell, "Error - Incorrect username or password.");
  }

  protected override changed(shell: Shell): void {
    if (shell.acl?.family === 6) this.#edited.add(shell.acl.name);
    super.changed(shell);
  }

  /** An IPv6 ACL is in effect as it is edited, and counts on: the guides have no rebind for it. */
  #takeEdited(): void {
    for (const name of this.#edited) {
      const acl = this.acls.get(6, name);
      if (acl === undefined) continue;
      const bound = this.hardware.make(6, name);
      const counted = new Map(bound.entries.map((entry) => [this.text(entry), entry]));
      bound.entries = acl.copy().entries;
      for (const entry of bound.entries) {
        const before = counted.get(this.text(entry));
        [entry.packets, entry.bytes] = [before?.packets ?? 0, before?.bytes ?? 0];
      }
    }
    this.#edited.clear();
  }

  /** Binds an ACL anew: the hardware does what it says now. */
  bind(name: string): void {
    const acl = this.acls.get(4, name);
    if (acl === undefined) this.hardware.delete(4, name);
    else this.#program(acl);
    this.onChange();
  }

  #program(acl: Acl): void {
    const { name } = acl;
    const bound = this.hardware.make(4, name);
    bound.entries = acl.copy().entries;
    // Unbinding and binding clears the counters.
    bound.clearCounters();
    this.#shown.clear();
  }

  #clear(): void {
    for (const acl of this.hardware.all) acl.clearCounters();
    this.#shown.clear();
  }

  async #show(shell: Shell, name: string): Promise<void> {
    const acl = this.acls.get(4, name);
    if (acl === undefined) return this.say(shell, `Error - ACL ${name} not found`);
    const colon = this.variant === "netiron" ? " :" : ":";
    await this.list(shell, [
      `Extended IP access list ${name}${colon} ${acl.entries.length} entries`,
      ...acl.entries.map((e) => this.#line(e.seq, this.text(e))),
    ]);
  }

  async #show6(shell: Shell, name: string): Promise<void> {
    const acl = this.acls.get(6, name);
    if (acl === undefined) return this.say(shell, `Error - ACL ${name} not found`);
    // A number that was given is shown as the place and as it was given.
    const text = (e: Ace) =>
      this.variant === "netiron" ? `sequence ${e.seq} ${this.text(e)}` : this.text(e);
    await this.list(shell, [
      `ipv6 access-list ${name}: ${acl.entries.length} entries`,
      ...acl.entries.map((e) => this.#line(e.seq, text(e))),
    ]);
  }

  async #accounting(shell: Shell, family: 4 | 6, words: readonly string[]): Promise<void> {
    this.#takeEdited();
    const iface = words.filter((word) => word !== "in").join(" ");
    const lines = [
      `Collecting IPv${family} ACL accounting for ${iface} ... Completed successfully.`,
    ];
    for (const acl of this.hardware.all.filter((bound) => bound.family === family)) {
      lines.push("ACL Accounting information:", `Inbound: ACL ${acl.name}`);
      for (const entry of acl.entries) {
        const text = this.text(entry);
        const hits = String(this.#shown.get(`${acl.name} ${text}`) ?? 0).padStart(20);
        lines.push(
          ` ${this.#line(entry.seq, text)}`,
          `    Hit count: (1 sec) ${"0".padStart(20)}    (1 min) ${"0".padStart(20)}`,
          `               (5 min) ${"0".padStart(20)}    (accum) ${hits}`,
        );
      }
    }
    await shell.terminal.page(lines);
  }

  #line(seq: number, text: string): string {
    // A FastIron's entries have a place and no number.
    return this.variant === "netiron" ? `  ${seq}: ${text}` : `  ${text}`;
  }
}
