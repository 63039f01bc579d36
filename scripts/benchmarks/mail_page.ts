/**
 * The page and the figures of the mail benchmark: docs/evaluation/mail.md.
 *
 * @module
 */
import { machine } from "../matrix_table.ts";
import { CORPUS } from "./mail_corpus.ts";
import { barChart } from "./ni/bars.ts";

/** What was measured. */
export interface MailFigures {
  /** Milliseconds a message of a protocol and a way, `POP3 no NI`; NaN when it was not measured. */
  readonly of: (key: string) => number;
  readonly rounds: number;
  /** The ways; the first one is without an NI. */
  readonly names: readonly string[];
  /** Messages of one turn. */
  readonly turn: number;
  /** Milliseconds for each message of the first turn over SMTP: with ClamAV on the NI, and with clamsmtp. */
  readonly clamd: number;
  readonly proxy: number;
}

const FOLDER = decodeURIComponent(new URL("../../docs/evaluation/", import.meta.url).pathname);
const PROTOCOLS = ["POP3", "SMTP"] as const;
/** Table 3 of the paper, POP3. */
const PAPER: Readonly<Record<string, string>> = {
  "no NI": "22.4 ms (1)",
  "null scanner": "67.0 ms (2.99)",
  digests: "107.1 ms (4.78)",
  ClamAV: "109.9 ms (4.91), Sophos",
};

/** Writes the page. */
export function writePage(figures: MailFigures): void {
  const { of, names } = figures;
  for (const protocol of PROTOCOLS) {
    Deno.writeTextFileSync(
      `${FOLDER}mail-3-${protocol.toLowerCase()}.svg`,
      barChart(
        `Average time a message, ${protocol}`,
        "milliseconds",
        names.map((name) => ({ name, value: of(`${protocol} ${name}`) }))
          .filter(({ value }) => value > 0),
      ),
    );
  }
  Deno.writeTextFileSync(`${FOLDER}mail.md`, page(figures));
}

function page({ of, rounds, names, turn, clamd, proxy }: MailFigures): string {
  const row = (name: string) => {
    const cells = PROTOCOLS.map((protocol) => {
      const time = of(`${protocol} ${name}`);
      const ratio = time / of(`${protocol} ${names[0]}`);
      return time > 0 ? `${time.toFixed(2)} ms (${ratio.toFixed(2)})` : "-";
    });
    return `| ${name} | ${cells.join(" | ")} | ${PAPER[name] ?? "-"} |`;
  };
  const { messages, average, longest } = CORPUS;
  return `# Mail through the e-mail scanner

Table 3 of CMU-CS-02-144, today: average time a message for ${messages} messages of ${average} bytes on average, the
longest of ${
    longest / 1024
  } KiB, fetched by mpop from Dovecot into a maildir, and sent by Python's smtplib to Exim, which
puts them into its queue on the disk. In brackets: against no NI, in whose place a Linux bridge stands. Clients, servers,
NI kernels, scanners and clamd share the processors, and the links have no delay: what an NI costs shows more than it would
on a network.

Every way has a link of its own. Over SMTP they take turns every ${turn} messages, over POP3 after every fetch of all;
medians of ${rounds} rounds of each turn. Programs are warm. Made by \`scripts/bench mail --write\` on ${machine()}.

| | POP3 | SMTP | paper (POP3) |
| - | - | - | - |
${names.map(row).join("\n")}

- clamd alone, given each message over its socket: ${of("clamd").toFixed(2)} ms.
- The null scanner reads everything and holds nothing. The others hold each message until it is whole and checked.
- clamsmtp, a proxy of Debian's with the same clamd behind it, took ${
    proxy.toFixed(2)
  } ms for each of the first ${turn}
  messages over SMTP, ClamAV on the NI ${clamd.toFixed(2)} ms.
- Exim takes no more than two hundred messages a second over one connection, however fast the link: of what an NI adds to a
  message, a part falls into the time that Exim takes anyway.

![Average time a message over POP3](mail-3-pop3.svg)

![Average time a message over SMTP](mail-3-smtp.svg)
`;
}
