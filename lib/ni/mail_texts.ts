/**
 * What the e-mail scanner may put into messages: registered here, since a scanner can inject only what was registered,
 * and whole. Names tell the scanner what a text is for and how long it is.
 *
 * @module
 */
import type { Injection } from "./rights.ts";

/** What recipients read in place of an infected attachment. */
const NOTICE = [
  "An infected attachment was removed from this message on its way to you.",
  "Ask your administrator if you need it: the original was kept.",
  "",
].join("\r\n");

const TYPE = "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n";
/** Powers of two, so that every length can be put together. */
const LONGEST_PAD = 64 * 1024;

/** The texts. */
export function mailTexts(): Injection[] {
  const pads = [];
  for (let length = 1; length <= LONGEST_PAD; length *= 2) pads.push(named("pad", padding(length)));
  return [
    named("part", `${TYPE}\r\n${NOTICE}`),
    named("type", TYPE),
    named("body", NOTICE),
    // Ends the list of a server's extensions when its last one is hidden.
    named("help", "250 HELP\r\n"),
    ...pads,
  ];
}

function named(kind: string, text: string): Injection {
  const frame = new TextEncoder().encode(text);
  return { name: `${kind}:${frame.length}`, frame, kind: "stream" };
}

/** Blank lines of so many bytes together. */
function padding(length: number): string {
  const line = `${" ".repeat(62)}\r\n`;
  if (length >= line.length) return line.repeat(length / line.length);
  return length < 2 ? " ".repeat(length) : `${" ".repeat(length - 2)}\r\n`;
}
