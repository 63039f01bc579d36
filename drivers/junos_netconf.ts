/**
 * Talks with Junos over NETCONF: its own operations for private, exclusive and ephemeral configurations.
 *
 * @module
 */
import type { DeviceAccess, DeviceConnection } from "./device_link.ts";
import { EnforcerError } from "./enforcer.ts";
import type { JunosCount } from "./junos_counters.ts";
import type { JunosAnswer, JunosTalk, JunosTarget } from "./junos_talk.ts";
import { NetconfSession, RpcError } from "./transport/netconf.ts";
import { SessionError } from "./transport/session.ts";
import { Transcript } from "./transport/transcript.ts";
import { elements, escapeXml, textOf } from "./transport/xml.ts";

/** The talk. */
export class JunosNetconf implements JunosTalk {
  readonly #access: DeviceAccess;
  readonly #target: JunosTarget;
  readonly #isLocked: (message: string) => boolean;
  #connection: DeviceConnection | undefined;
  #session: NetconfSession | undefined;
  #transcript: Transcript | undefined;

  constructor(
    access: DeviceAccess,
    target: JunosTarget,
    isLocked: (message: string) => boolean,
  ) {
    this.#access = access;
    this.#target = target;
    this.#isLocked = isLocked;
  }

  get alive(): boolean {
    return this.#session !== undefined && this.#session.failure === undefined;
  }

  async open(): Promise<void> {
    await this.#ready();
  }

  async change(statements: readonly string[], dry: boolean): Promise<JunosAnswer> {
    const session = await this.#ready();
    await this.#begin(session);
    let broken = false;
    try {
      const timeout = this.#access.timeout + statements.length * 0.01;
      const complaints = await this.#load(session, statements, timeout);
      if (complaints.size > 0) {
        await this.#discard(session);
        return { statements: complaints, general: undefined };
      }
      const general = await this.#commit(session, dry, timeout);
      if (dry || general !== undefined) await this.#discard(session);
      return { statements: complaints, general };
    } catch (error) {
      broken = error instanceof SessionError;
      throw error;
    } finally {
      // A lock must not be left behind, whatever went wrong.
      if (!broken) await this.#end(session);
    }
  }

  async confirm(): Promise<void> {
    const session = await this.#ready();
    await session.rpc("<commit-configuration/>");
  }

  async statements(): Promise<string> {
    const session = await this.#ready();
    const { ephemeral } = this.#target;
    const request = `<get-configuration format="set"${
      ephemeral === undefined ? ' database="committed"' : ""
    }><configuration><firewall/></configuration></get-configuration>`;
    if (ephemeral === undefined) {
      return textOf(await session.rpc(request), "configuration-set") ?? "";
    }
    await this.#begin(session);
    try {
      return textOf(await session.rpc(request), "configuration-set") ?? "";
    } finally {
      if (session.failure === undefined) await this.#end(session);
    }
  }

  async counters(filter: string): Promise<JunosCount[]> {
    const session = await this.#ready();
    const reply = await session.rpc(
      `<get-firewall-filter-information><filtername>${escapeXml(filter)}</filtername>` +
        `</get-firewall-filter-information>`,
    );
    return elements(reply, "filter-information").flatMap((information) =>
      elements(information, "counter").flatMap((counter) => {
        const name = textOf(counter, "counter-name");
        const packets = Number(textOf(counter, "packet-count"));
        const bytes = Number(textOf(counter, "byte-count"));
        if (name === undefined || !Number.isSafeInteger(packets) || !Number.isSafeInteger(bytes)) {
          return [];
        }
        const own = textOf(information, "filter-name") ?? filter;
        return [{ filter: own, counter: name, packets, bytes }];
      })
    );
  }

  async close(): Promise<void> {
    this.#session?.close();
    this.#session = undefined;
    this.#transcript?.close();
    this.#transcript = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    await connection?.close();
  }

  async #ready(): Promise<NetconfSession> {
    if (this.#session !== undefined && this.#session.failure === undefined) return this.#session;
    await this.close();
    const { name, answers, timeout, transcripts } = this.#access;
    const connection = await this.#access.open();
    this.#connection = connection;
    const secrets = [answers.password].filter((secret) => secret !== undefined);
    this.#transcript = new Transcript({ device: name, directory: transcripts, secrets });
    this.#session = await NetconfSession.open(connection.stream, {
      transcript: this.#transcript,
      timeout,
    });
    return this.#session;
  }

  async #begin(session: NetconfSession): Promise<void> {
    const { candidate, ephemeral } = this.#target;
    const request = ephemeral !== undefined
      ? `<open-configuration><ephemeral-instance>${
        escapeXml(ephemeral)
      }</ephemeral-instance></open-configuration>`
      : candidate === "private"
      ? "<open-configuration><private/></open-configuration>"
      : "<lock-configuration/>";
    const pauses = this.#access.backoff ?? [1000, 2000, 4000];
    for (let tries = 0;; tries++) {
      try {
        await session.rpc(request);
        return;
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        const pause = pauses[tries];
        const locked = error.tag === "lock-denied" || this.#isLocked(error.message);
        if (!locked || pause === undefined) {
          throw new EnforcerError(
            `The device cannot be configured now: ${error.message}`,
            "see who else configures it (show system users), and whether a lock was left behind",
          );
        }
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  async #end(session: NetconfSession): Promise<void> {
    const exclusive = this.#target.ephemeral === undefined &&
      this.#target.candidate === "exclusive";
    await session.rpc(exclusive ? "<unlock-configuration/>" : "<close-configuration/>");
  }

  async #discard(session: NetconfSession): Promise<void> {
    // A private or ephemeral candidate goes with its session's close.
    if (this.#target.ephemeral !== undefined || this.#target.candidate === "private") return;
    await session.rpc("<discard-changes/>");
  }

  async #load(
    session: NetconfSession,
    statements: readonly string[],
    timeout: number,
  ): Promise<Map<string, string>> {
    const complaints = new Map<string, string>();
    const request = `<load-configuration action="set" format="text"><configuration-set>\n${
      escapeXml(statements.join("\n"))
    }\n</configuration-set></load-configuration>`;
    try {
      await session.rpc(request, timeout);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      complaints.set(error.element ?? "", error.message);
    }
    return complaints;
  }

  async #commit(
    session: NetconfSession,
    dry: boolean,
    timeout: number,
  ): Promise<string | undefined> {
    const { confirm } = this.#target;
    const how = dry
      ? "<check/>"
      : confirm > 0
      ? `<confirmed/><confirm-timeout>${confirm}</confirm-timeout>`
      : "";
    // A commit may be silent for a long time.
    const patience = Math.max(timeout, 120);
    try {
      await session.rpc(
        `<commit-configuration>${how}</commit-configuration>`,
        this.#access.timeout < 30 ? timeout : patience,
      );
      return undefined;
    } catch (error) {
      if (error instanceof RpcError) return error.message;
      throw error;
    }
  }
}
