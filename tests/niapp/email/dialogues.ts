/**
 * Mail dialogues for tests, as steps of both sides.
 *
 * @module
 */
import { createHash } from "node:crypto";

/** One side says something. */
export type Step = readonly [side: "C" | "S", bytes: Uint8Array];

/** ASCII and UTF-8 as bytes. */
export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Bytes, each a character. */
export function latin1(data: Uint8Array): string {
  return Array.from(data, (byte) => String.fromCharCode(byte)).join("");
}

/** The harmless file that stands for a virus. */
export const MALICIOUS: Uint8Array = bytes(
  "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*",
);

/** Its digest. */
export const MALICIOUS_MD5: string = createHash("md5").update(MALICIOUS).digest("hex");

/** Base64 in lines. */
export function base64Lines(data: Uint8Array): string {
  return data.toBase64().replace(/.{76}/g, "$&\r\n").replace(/\r\n$/, "");
}

/** A message with a text, an attachment and a picture. */
export function mail(attachment: Uint8Array, name = "invoice.com"): string {
  return [
    "From: alice@example.org",
    "To: bob@example.net",
    "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=",
    "MIME-Version: 1.0",
    'Content-Type: multipart/mixed; boundary="=_b1"',
    "",
    "preamble",
    "--=_b1",
    "Content-Type: text/plain; charset=utf-8",
    "",
    ".hello",
    "..",
    "--=_b1",
    `Content-Type: application/octet-stream; name="${name}"`,
    "Content-Transfer-Encoding: base64",
    `Content-Disposition: attachment; filename="${name}"`,
    "",
    base64Lines(attachment),
    "--=_b1",
    "Content-Type: image/png",
    "Content-Transfer-Encoding: base64",
    "",
    base64Lines(Uint8Array.from({ length: 300 }, (_, i) => i * 7)),
    "--=_b1--",
    "",
  ].join("\r\n");
}

/** Dots doubled and the end set, as SMTP and POP3 send it. */
export function dotted(text: string): string {
  return `${text.replace(/^\./gm, "..")}.\r\n`;
}

function say(side: "C" | "S", text: string): Step {
  return [side, Uint8Array.from(text, (letter) => letter.charCodeAt(0))];
}

/** SMTP: messages sent one by one, or their commands pipelined. */
export function smtp(messages: readonly string[], pipelined = false): Step[] {
  const steps = [say("S", "220 mx ESMTP\r\n"), say("C", "EHLO client\r\n")];
  steps.push(say("S", "250-mx\r\n250-SIZE 1000000\r\n250-PIPELINING\r\n250 STARTTLS\r\n"));
  for (const message of messages) {
    const commands = [
      "MAIL FROM:<alice@example.org>\r\n",
      "RCPT TO:<bob@example.net>\r\n",
      "DATA\r\n",
    ];
    const answers = ["250 ok\r\n", "250 ok\r\n", "354 go on\r\n"];
    if (pipelined) steps.push(say("C", commands.join("")), say("S", answers.join("")));
    else commands.forEach((c, i) => steps.push(say("C", c), say("S", answers[i] as string)));
    steps.push(say("C", dotted(message)), say("S", "250 queued\r\n"));
  }
  return [...steps, say("C", "QUIT\r\n"), say("S", "221 bye\r\n")];
}

/** SMTP with CHUNKING. */
export function bdat(chunks: readonly string[]): Step[] {
  const steps = [
    say("S", "220 mx\r\n"),
    say("C", "EHLO client\r\n"),
    say("S", "250-mx\r\n250-CHUNKING\r\n250 8BITMIME\r\n"),
    say("C", "MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.net>\r\n"),
    say("S", "250 ok\r\n250 ok\r\n"),
  ];
  for (const [place, chunk] of chunks.entries()) {
    const last = place === chunks.length - 1 ? " LAST" : "";
    steps.push(say("C", `BDAT ${chunk.length}${last}\r\n${chunk}`), say("S", "250 ok\r\n"));
  }
  return [...steps, say("C", "QUIT\r\n"), say("S", "221 bye\r\n")];
}

/** POP3: everything fetched. */
export function pop3(messages: readonly string[], pipelined = false): Step[] {
  const steps = [say("S", "+OK ready\r\n"), say("C", "CAPA\r\n")];
  steps.push(say("S", "+OK\r\nTOP\r\nSTLS\r\nPIPELINING\r\n.\r\n"));
  steps.push(say("C", "USER bob\r\n"), say("S", "+OK\r\n"), say("C", "PASS x\r\n"));
  steps.push(say("S", "+OK\r\n"), say("C", "LIST\r\n"));
  steps.push(
    say("S", `+OK\r\n${messages.map((m, i) => `${i + 1} ${m.length}\r\n`).join("")}.\r\n`),
  );
  const asks = messages.map((_, i) => `RETR ${i + 1}\r\n`);
  const answers = messages.map((m) => `+OK\r\n${dotted(m)}`);
  if (pipelined) steps.push(say("C", asks.join("")), say("S", answers.join("")));
  else asks.forEach((ask, i) => steps.push(say("C", ask), say("S", answers[i] as string)));
  return [...steps, say("C", "QUIT\r\n"), say("S", "+OK bye\r\n")];
}

/** IMAP: one answer to a FETCH, given as items with what each holds. */
export function imap(items: readonly (readonly [name: string, value: string])[]): Step[] {
  const fetched = items.map(([name, value]) => `${name} {${value.length}}\r\n${value}`).join(" ");
  return [
    say("S", "* OK [CAPABILITY IMAP4rev1 STARTTLS COMPRESS=DEFLATE IDLE] ready\r\n"),
    say("C", 'a1 LOGIN bob "x {5}"\r\n'),
    say("S", "a1 OK\r\n"),
    say("C", "a2 SELECT INBOX\r\n"),
    say("S", "* 3 EXISTS\r\na2 OK [READ-WRITE] done\r\n"),
    say("C", `a3 UID FETCH 1:* (FLAGS ${items.map(([name]) => name).join(" ")})\r\n`),
    say("S", `* 1 FETCH (UID 7 FLAGS (\\Seen) ${fetched})\r\n`),
    say("S", "a3 OK done\r\n"),
    say("C", "a4 LOGOUT\r\n"),
    say("S", "* BYE\r\na4 OK\r\n"),
  ];
}

/** IMAP: a message put into a mailbox. */
export function append(message: string, synchronizing: boolean): Step[] {
  const plus = synchronizing ? "" : "+";
  const steps = [say("S", "* OK ready\r\n"), say("C", "a1 LOGIN {3}\r\n"), say("S", "+ go\r\n")];
  steps.push(say("C", "bob x\r\n"), say("S", "a1 OK\r\n"));
  const command =
    `a2 APPEND Sent (\\Seen) "01-Jan-2024 00:00:00 +0000" {${message.length}${plus}}\r\n`;
  if (synchronizing) {
    steps.push(say("C", command), say("S", "+ go on\r\n"), say("C", `${message}\r\n`));
  } else steps.push(say("C", `${command}${message}\r\n`));
  return [
    ...steps,
    say("S", "a2 OK\r\n"),
    say("C", "a3 LOGOUT\r\n"),
    say("S", "* BYE\r\na3 OK\r\n"),
  ];
}
