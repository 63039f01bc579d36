/**
 * The command line of the simulated Junos device, from the CLI user guide and captured sessions.
 *
 * @module
 */
import type { Candidate, JunosDevice } from "./junos.ts";
import type { DeviceChannel } from "./ssh_server.ts";
import { Hangup, Terminal } from "./terminal.ts";

/** Talks with one client until it is gone. */
export async function talkJunosCli(device: JunosDevice, channel: DeviceChannel): Promise<void> {
  let messages = 0;
  const terminal = new Terminal({
    channel,
    clock: device.clock,
    faults: device.faults,
    more: "---(more)---",
    logLine: () =>
      `\nMessage from syslogd@${device.hostname} at Nov 24 10:11:${
        String(++messages % 60).padStart(2, "0")
      } ...\n` +
      `${device.hostname} mgd[4711]: UI_COMMIT: User 'noc' requested 'commit' operation`,
  });
  const cli = new JunosCli(device, channel, terminal);
  try {
    if (device.options.banner !== undefined) terminal.show(device.options.banner);
    terminal.show(`--- JUNOS 17.3R2.10 built 2018-02-08 02:19:07 UTC\n`);
    while (!cli.over) {
      const line = await terminal.line(cli.prompt());
      if (line !== undefined && line.trim() !== "") await cli.execute(line.trim());
    }
    terminal.flush();
    channel.end();
  } catch (error) {
    if (!(error instanceof Hangup)) throw error;
  } finally {
    cli.gone();
  }
}

class JunosCli {
  over = false;
  readonly #device: JunosDevice;
  readonly #channel: DeviceChannel;
  readonly #terminal: Terminal;
  readonly #session: number;
  #candidate: Candidate | undefined;

  constructor(device: JunosDevice, channel: DeviceChannel, terminal: Terminal) {
    this.#device = device;
    this.#channel = channel;
    this.#terminal = terminal;
    this.#session = device.nextSession();
  }

  prompt(): string {
    const who = `${this.#device.user}@${this.#device.hostname}`;
    return this.#candidate === undefined ? `\n${who}> ` : `\n[edit]\n${who}# `;
  }

  gone(): void {
    this.#device.release(this.#session);
  }

  async execute(line: string): Promise<void> {
    const [command = "", ...pipes] = line.split("|").map((part) => part.trim());
    if (this.#candidate === undefined) await this.#operational(command, pipes);
    else await this.#configuration(this.#candidate, command, line, pipes);
  }

  async #operational(command: string, pipes: readonly string[]): Promise<void> {
    const words = command.split(/\s+/);
    if (command.startsWith("set cli ")) {
      if (words[2] === "screen-length") this.#terminal.length = Number(words[3]);
      if (words[2] === "screen-width") this.#terminal.width = Number(words[3]);
      const what = words[2] === "complete-on-space"
        ? "Disabling complete-on-space"
        : `Screen ${words[2]?.replace("screen-", "")} set to ${words[3]}`;
      return this.#terminal.show(` \n${what}\n`);
    }
    switch (command) {
      case "configure":
      case "configure private":
      case "configure exclusive":
        return this.#configure((words[1] ?? "shared") as Candidate["kind"]);
      case "exit":
      case "quit":
        this.over = true;
        return;
      case "show version":
        return await this.#page([" ", "Model: mx960", "Junos: 17.3R2.10"], pipes);
      case "show configuration firewall":
      case "show configuration":
        return await this.#show(command.endsWith("firewall"), pipes);
      case "show firewall":
        return await this.#page(this.#counters(undefined), pipes);
    }
    if (
      words[0] === "show" && words[1] === "firewall" && words[2] === "filter" && words.length === 4
    ) {
      return await this.#page(this.#counters(words[3]), pipes);
    }
    if (words[0] === "show" && words[1] === "ephemeral-configuration" && words[2] === "instance") {
      const config = this.#device.ephemeral.get(words[3] ?? "");
      return await this.#page(config?.lines() ?? [], pipes);
    }
    this.#unknown(command);
  }

  async #configuration(
    candidate: Candidate,
    command: string,
    line: string,
    pipes: readonly string[],
  ): Promise<void> {
    const device = this.#device;
    const words = command.split(/\s+/);
    switch (words[0]) {
      case "set":
      case "delete":
      case "insert":
      case "activate":
      case "deactivate": {
        const problem = device.statement(candidate, line, this.#channel);
        if (problem !== undefined) this.#terminal.show(`              ^\n${problem}\n`);
        return;
      }
      case "load":
        if (command === "load set terminal") return await this.#load(candidate);
        break;
      case "commit":
        return await this.#commit(candidate, words);
      case "rollback":
        candidate.config = device.committed.copy();
        candidate.touched.clear();
        return this.#terminal.show("load complete\n");
      case "run":
        return await this.#operational(words.slice(1).join(" "), pipes);
      case "show":
        return await this.#page(candidate.config.lines(), pipes);
      case "exit":
      case "quit":
        return await this.#leave(candidate);
    }
    this.#unknown(command);
  }

  #configure(kind: Candidate["kind"]): void {
    const candidate = this.#device.open(kind, this.#session);
    if (typeof candidate === "string") return this.#terminal.show(`error: ${candidate}\n`);
    this.#candidate = candidate;
    if (kind !== "shared") {
      this.#terminal.show("warning: uncommitted changes will be discarded on exit\n");
    }
    this.#terminal.show("Entering configuration mode\n");
  }

  async #load(candidate: Candidate): Promise<void> {
    this.#terminal.show("[Type ^D at a new line to end input]\n");
    const lines = await this.#terminal.untilEndOfText();
    let errors = 0;
    for (const [i, line] of lines.entries()) {
      const problem = this.#device.statement(candidate, line, this.#channel);
      if (problem === undefined || problem.startsWith("warning:")) continue;
      errors++;
      this.#terminal.show(`terminal:${i + 1}:(0) ${problem}: ${line}\n`);
    }
    this.#terminal.show(errors === 0 ? "load complete\n" : `load complete (${errors} errors)\n`);
  }

  async #commit(candidate: Candidate, words: readonly string[]): Promise<void> {
    const device = this.#device;
    const check = words[1] === "check";
    const confirm = words[1] === "confirmed" ? Number(words[2] ?? 10) : 0;
    const problem = check
      ? device.check(candidate, this.#session)
      : await device.commit(candidate, this.#session, confirm, this.#channel);
    if (problem !== undefined) {
      const text = problem.startsWith("configuration database") ? `error: ${problem}` : problem;
      this.#terminal.show(`${text}\nerror: configuration check-out failed\n`);
    } else if (check) this.#terminal.show("configuration check succeeds\n");
    else {
      if (confirm > 0) {
        this.#terminal.show(
          `commit confirmed will be automatically rolled back in ${confirm} minutes unless confirmed\n`,
        );
      }
      this.#terminal.show("commit complete\n");
      if (words.at(-1) === "and-quit") await this.#leave(candidate);
    }
  }

  async #leave(candidate: Candidate): Promise<void> {
    if (candidate.touched.size > 0) {
      const question = "The configuration has been modified but not committed\n" +
        "Exit with uncommitted changes? [yes,no] (yes) ";
      const answer = await this.#terminal.line(question);
      if (answer !== undefined && /^n/.test(answer)) return;
    }
    this.#candidate = undefined;
    this.#device.release(this.#session);
    this.#terminal.show("Exiting configuration mode\n");
  }

  async #show(firewall: boolean, pipes: readonly string[]): Promise<void> {
    const lines = this.#device.committed.lines()
      .filter((line) => !firewall || line.includes(" firewall "));
    const { faults } = this.#device;
    if (faults.garbage !== undefined) {
      this.#terminal.raw(faults.garbage);
      faults.garbage = undefined;
      return;
    }
    if (faults.truncateList > 0) {
      const text = lines.join("\n").slice(0, faults.truncateList);
      faults.truncateList = 0;
      return this.#terminal.show(`${text}\n`);
    }
    await this.#page(lines, pipes);
  }

  #counters(name: string | undefined): string[] {
    const names = name === undefined
      ? [...this.#device.committed.filters.values()].map((filter) => filter.name)
      : [name];
    return names.flatMap((filter) => [
      "",
      `Filter: ${filter}`.padEnd(63),
      "Counters:",
      `${"Name".padEnd(49)}${"Bytes".padStart(8)}${"Packets".padStart(21)}`,
      ...this.#device.counters(filter).map(({ name: counter, counter: { packets, bytes } }) =>
        `${counter.padEnd(45)}${String(bytes).padStart(14)}${String(packets).padStart(21)}`
      ),
    ]);
  }

  async #page(lines: readonly string[], pipes: readonly string[]): Promise<void> {
    let shown = [...lines];
    for (const pipe of pipes) {
      const match = /^match "?([^"]*)"?$/.exec(pipe)?.[1];
      if (match !== undefined) shown = shown.filter((line) => line.includes(match));
      else if (pipe !== "display set" && pipe !== "no-more") return this.#unknown(pipe);
    }
    await this.#terminal.page(shown);
  }

  #unknown(command: string): void {
    this.#terminal.show(`${" ".repeat(7 + command.indexOf(" ") + 1)}^\nunknown command.\n`);
  }
}
