/**
 * Talks with Junos over its command line: `load set terminal`, then one commit.
 *
 * @module
 */
import { type DeviceAccess, DeviceLink } from "./device_link.ts";
import type { SessionDialect } from "./dialect.ts";
import { type JunosCount, parseShowFirewall } from "./junos_counters.ts";
import type { JunosAnswer, JunosTalk, JunosTarget } from "./junos_talk.ts";
import type { CliSession } from "./transport/session.ts";

/** The talk. */
export class JunosCli implements JunosTalk {
  readonly #access: DeviceAccess;
  readonly #target: JunosTarget;
  readonly #dialect: SessionDialect;
  readonly #link: DeviceLink;

  constructor(access: DeviceAccess, target: JunosTarget, dialect: SessionDialect) {
    this.#access = access;
    this.#target = target;
    this.#dialect = dialect;
    this.#link = new DeviceLink(access, dialect);
  }

  get alive(): boolean {
    return this.#link.alive;
  }

  get silence(): string | undefined {
    return this.#link.silence;
  }

  async open(): Promise<void> {
    await this.#link.session();
  }

  async change(statements: readonly string[], dry: boolean): Promise<JunosAnswer> {
    const session = await this.#link.session();
    await this.#begin(session);
    const timeout = this.#access.timeout + statements.length * 0.01;
    const complaints = await this.#load(session, statements, timeout);
    if (complaints.size > 0) {
      await this.#leave(session);
      return { statements: complaints, general: undefined };
    }
    const { confirm } = this.#target;
    const command = dry ? "commit check" : confirm > 0 ? `commit confirmed ${confirm}` : "commit";
    const output = await session.run(command, timeout);
    const complaint = output.filter((line) => this.#isError(line));
    await this.#leave(session);
    if (complaint.length === 0) return { statements: complaints, general: undefined };
    const text = output.filter((line) => line.trim() !== "" && !line.startsWith("[edit"));
    return { statements: complaints, general: text.join(" ").replaceAll(/\s+/g, " ").trim() };
  }

  async confirm(): Promise<void> {
    const session = await this.#link.session();
    await this.#begin(session);
    await session.run("commit");
    await session.run("exit");
  }

  async statements(): Promise<string> {
    const session = await this.#link.session();
    return (await session.run("show configuration firewall | display set")).join("\n");
  }

  async counters(filter: string): Promise<JunosCount[]> {
    const session = await this.#link.session();
    return parseShowFirewall((await session.run(`show firewall filter ${filter}`)).join("\n"));
  }

  async close(): Promise<void> {
    await this.#link.close();
  }

  async #begin(session: CliSession): Promise<void> {
    for (let tries = 0;; tries++) {
      const output = await session.run(`configure ${this.#target.candidate}`);
      if (session.mode === "config") return;
      const text = output.join(" ").replaceAll(/\s+/g, " ").trim();
      const locked = this.#dialect.locked.some((pattern) => pattern.test(text));
      if (!locked || !await this.#link.backOff(tries)) {
        throw this.#link.error(
          `The device cannot be configured now: ${text}`,
          "see who else configures it (show system users), and whether a lock was left behind",
        );
      }
    }
  }

  /** Loads statements; complaints name the line. */
  async #load(
    session: CliSession,
    statements: readonly string[],
    timeout: number,
  ): Promise<Map<string, string>> {
    const text = `load set terminal\n${statements.map((line) => `${line}\n`).join("")}\x04`;
    const output = await session.runText(text, "load set terminal", timeout);
    const complaints = new Map<string, string>();
    for (const line of output) {
      const number = /^\S+:(\d+):\(\d+\) (.*)$/.exec(line);
      if (number !== null) {
        complaints.set(statements[Number(number[1]) - 1] ?? "", number[2] as string);
      } else if (/^load complete \(\d+ error/.test(line) && complaints.size === 0) {
        complaints.set("", line.trim());
      }
    }
    return complaints;
  }

  /** Out of configuration; what is not committed is thrown away. */
  async #leave(session: CliSession): Promise<void> {
    await session.run("rollback 0");
    await session.run("exit");
  }

  #isError(line: string): boolean {
    return this.#dialect.errors.some((pattern) => pattern.test(line));
  }
}
