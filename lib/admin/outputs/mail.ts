/**
 * Alerts by mail (SMTP), several in one, so many mails an hour: whoever is paged by a flood reads nothing any more.
 *
 * @module
 */
import { isLoopback } from "../config.ts";
import type { StoredAlert } from "../store.ts";
import { type AlertOutput, type OutputStatus, RateLimit } from "./output.ts";
import { sleep } from "./webhook.ts";

/** Where to, and how often. */
export interface MailOptions {
  readonly server: { readonly host: string; readonly port: number };
  readonly from: string;
  readonly to: readonly string[];
  /** This grave or graver. */
  readonly severity: number;
  readonly perHour: number;
  /** Name of the console. */
  readonly name: string;
}

/** Alerts that are told of by a line in a mail; of the others by their number. */
const LINES = 50;
/** Alerts wait so long for others that go into the same mail. */
const GATHER_MS = 2000;
const TIMEOUT_MS = 30_000;
const FIRST_PAUSE_MS = 5000;
const LONGEST_PAUSE_MS = 300_000;

/** Sends to one server. */
export class MailOutput implements AlertOutput {
  readonly #options: MailOptions;
  readonly #limit: RateLimit;
  readonly #ending = new AbortController();
  #waiting: StoredAlert[] = [];
  #more = 0;
  #sent = 0;
  #failed: string | undefined;
  #working: Promise<void> | undefined;

  constructor(options: MailOptions) {
    this.#options = options;
    this.#limit = new RateLimit(options.perHour, 3_600_000);
  }

  /** As {@link AlertOutput.alerts}. */
  alerts(alerts: readonly StoredAlert[]): void {
    for (const alert of alerts) {
      if (alert.severity > this.#options.severity) continue;
      if (this.#waiting.length < LINES) this.#waiting.push(alert);
      else this.#more++;
    }
    if (this.#waiting.length === 0) return;
    this.#working ??= this.#work().finally(() => this.#working = undefined);
  }

  /** As {@link AlertOutput.status}. */
  status(): OutputStatus {
    return { name: "mail", sent: this.#sent, dropped: 0, failed: this.#failed };
  }

  /** As {@link AlertOutput.close}. */
  async close(): Promise<void> {
    this.#ending.abort();
    await this.#working;
  }

  async #work(): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    while (this.#waiting.length > 0 && !this.#ending.signal.aborted) {
      await sleep(Math.max(GATHER_MS, this.#limit.wait()), this.#ending.signal);
      if (this.#ending.signal.aborted) return;
      const alerts = this.#waiting;
      const more = this.#more;
      [this.#waiting, this.#more] = [[], 0];
      try {
        await sendMail(this.#options, mailText(this.#options, alerts, more), this.#ending.signal);
        this.#limit.take();
        this.#sent += alerts.length + more;
        this.#failed = undefined;
        pause = FIRST_PAUSE_MS;
      } catch (error) {
        this.#failed = error instanceof Error ? error.message : String(error);
        this.#more += more + Math.max(0, alerts.length + this.#waiting.length - LINES);
        this.#waiting = [...alerts, ...this.#waiting].slice(0, LINES);
        await sleep(pause, this.#ending.signal);
        pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
      }
    }
  }
}

/** A mail as it is sent: nothing that an NI says gets into its header as it is. */
export function mailText(
  options: Pick<MailOptions, "from" | "to" | "name">,
  alerts: readonly StoredAlert[],
  more: number,
): string {
  const all = alerts.length + more;
  const first = alerts[0];
  const subject = all === 1
    ? `[${options.name}] ${first?.signature} at ${first?.ni}`
    : `[${options.name}] ${all} alerts, first: ${first?.signature} at ${first?.ni}`;
  const lines = alerts.map((a) =>
    `${new Date(a.at).toISOString()}  severity ${a.severity}  ${a.ni}  ` +
    `${a.src} > ${a.dest}${a.destPort === 0 ? "" : `:${a.destPort}`}  ${a.signature} (${a.action})`
  );
  if (more > 0) lines.push("", `and ${more} more; the console has all of them`);
  // deno-lint-ignore no-control-regex
  const body = lines.map((l) => l.replace(/[\x00-\x1f\x7f]/g, " ")).join("\n") + "\n";
  const encode = (text: string) => new TextEncoder().encode(text).toBase64();
  return [
    `From: <${options.from}>`,
    `To: ${options.to.map((t) => `<${t}>`).join(", ")}`,
    ...folded(subject.slice(0, 200)),
    `Date: ${new Date().toUTCString().replace("GMT", "+0000")}`,
    `Message-ID: <${crypto.randomUUID()}@${options.from.split("@")[1]}>`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: base64",
    "Auto-Submitted: auto-generated",
    "",
    encode(body).replace(/(.{76})(?!$)/g, "$1\r\n"),
    "",
  ].join("\r\n");
}

/** Encoded words of at most 75 characters (RFC 2047). */
function folded(subject: string): string[] {
  const words: string[] = [];
  let part = "";
  for (const character of subject) {
    if (new TextEncoder().encode(part + character).length > 42) {
      words.push(part);
      part = "";
    }
    part += character;
  }
  words.push(part);
  return words.map((w, i) =>
    `${i === 0 ? "Subject:" : ""} =?utf-8?B?${new TextEncoder().encode(w).toBase64()}?=`
  );
}

/** Hands one mail over. @throws {Error} when the server does not take it. */
async function sendMail(options: MailOptions, text: string, end: AbortSignal): Promise<void> {
  const { host: hostname, port } = options.server;
  let connection: Deno.TcpConn | Deno.TlsConn = await Deno.connect({ hostname, port });
  const abort = () => {
    try {
      connection.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  };
  const timer = setTimeout(abort, TIMEOUT_MS);
  end.addEventListener("abort", abort);
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  let rest = "";
  const reply = async (wanted: number): Promise<string> => {
    const buffer = new Uint8Array(4096);
    for (;;) {
      const whole = /^(?:\d{3}-[^\n]*\n)*(\d{3})(?: [^\n]*)?\r?\n/.exec(rest);
      if (whole !== null) {
        rest = rest.slice(whole[0].length);
        if (Math.floor(Number(whole[1]) / 100) === wanted) return whole[0];
        throw new Error(`the mail server says: ${whole[0].trim().slice(0, 200)}`);
      }
      if (rest.length > 65_536) throw new Error("the mail server talks too much");
      const n = await connection.read(buffer);
      if (n === null) throw new Error("the mail server hung up");
      rest += decoder.decode(buffer.subarray(0, n), { stream: true });
    }
  };
  const say = async (line: string, wanted: number): Promise<string> => {
    const data = encoder.encode(line + "\r\n");
    for (let at = 0; at < data.length;) at += await connection.write(data.subarray(at));
    return await reply(wanted);
  };
  try {
    await reply(2);
    const hello = `EHLO ${Deno.hostname().replace(/[^A-Za-z0-9.-]/g, "") || "localhost"}`;
    // On this host nobody else can listen, and its certificate is hardly ever one that could be checked.
    if (/STARTTLS/i.test(await say(hello, 2)) && !isLoopback(hostname)) {
      await say("STARTTLS", 2);
      // What came before the encryption must not count after it.
      rest = "";
      connection = await Deno.startTls(connection as Deno.TcpConn, { hostname });
      await say(hello, 2);
    }
    await say(`MAIL FROM:<${options.from}>`, 2);
    for (const to of options.to) await say(`RCPT TO:<${to}>`, 2);
    await say("DATA", 3);
    await say(`${text.replace(/^\./gm, "..")}\r\n.`, 2);
    await say("QUIT", 2);
  } finally {
    clearTimeout(timer);
    end.removeEventListener("abort", abort);
    abort();
  }
}
