/**
 * The e-mail scanner (CMU-CS-02-144, section 5.2): follows SMTP, POP3 and IMAP, has attachments checked before they
 * reach anybody, and takes out infected ones.
 *
 * @module
 */
import type { Ni, Scanner, Stream, StreamHandler } from "../sdk/mod.ts";
import type { Check } from "./checks.ts";
import { Clamd } from "./clamd.ts";
import { MailConnection, type Tools } from "./connection.ts";
import { DigestTable } from "./digest_table.ts";
import { Injections } from "./injections.ts";
import { readOptions } from "./options.ts";
import type { Exchange, ExchangeEvents } from "./protocol/exchange.ts";
import { Imap } from "./protocol/imap.ts";
import { Pop3 } from "./protocol/pop3.ts";
import { Smtp } from "./protocol/smtp.ts";

/** The name of ClamAV among the scanner's services. */
const CLAMD = "clamd";
/** Milliseconds after which a message that does not come on by itself is asked for. */
const STALL_MS = 5;

/** The scanner. */
export class EmailScanner implements Scanner {
  readonly name = "email";
  readonly #table = new DigestTable();
  #tools: Tools | undefined;
  /** Connections with a message that has begun, and when they are looked at again. */
  readonly #soon = new Set<MailConnection>();
  #soonAt = Infinity;
  #clamd: Clamd | undefined;

  /** Subscribes to the mail protocols' ports. @throws {Error} when an option is wrong. */
  start(ni: Ni): void {
    const options = readOptions(ni.options);
    this.#table.load(options.digests);
    const checks = options.checks.map((check): Check => {
      if (check === "digests") return this.#table;
      this.#clamd = new Clamd(ni, CLAMD, options.clamdTimeout, () => this.#schedule(ni));
      return this.#clamd;
    });
    this.#tools = {
      options,
      checks,
      injections: new Injections(ni.injections),
      streamLimit: ni.streamLimit,
      soon: (connection) => {
        this.#soon.add(connection);
        if (this.#soonAt !== Infinity) return;
        this.#soonAt = ni.now + STALL_MS;
        this.#schedule(ni);
      },
    };
    ni.subscribeStreams([...options.smtp, ...options.pop3, ...options.imap], "contain");
  }

  /** As {@link Scanner.stream}. */
  stream(stream: Stream): StreamHandler | void {
    const tools = this.#tools;
    if (tools === undefined) return;
    if (tools.checks.length === 0) return passing(stream);
    return new MailConnection(stream, tools, (events) => this.#exchange(stream, tools, events));
  }

  /** As {@link Scanner.wake}: what waits for clamd may have waited too long. */
  wake(ni: Ni): void {
    this.#clamd?.expire();
    if (ni.now >= this.#soonAt) {
      this.#soonAt = Infinity;
      const connections = [...this.#soon];
      this.#soon.clear();
      for (const connection of connections) connection.stalled();
    }
    this.#schedule(ni);
  }

  #exchange({ server: { port } }: Stream, { options }: Tools, events: ExchangeEvents): Exchange {
    const { starttls, chunking } = options;
    const hidden = { strip: starttls === "strip", stripChunking: chunking === "strip" };
    if (options.pop3.includes(port)) return new Pop3(events, hidden);
    if (options.imap.includes(port)) return new Imap(events, hidden);
    return new Smtp(events, hidden);
  }

  #schedule(ni: Ni): void {
    const deadline = Math.min(this.#soonAt, this.#clamd?.deadline ?? Infinity);
    if (deadline !== Infinity) ni.wakeAt(deadline);
  }
}

/** Without checks nothing has to be understood: everything is read, and nothing held. */
function passing(stream: Stream): StreamHandler {
  stream.pass("from-host");
  stream.pass("to-host");
  return { data: () => {} };
}
