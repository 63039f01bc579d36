/**
 * Lines of a demo's story, for people: headings, and what is as it should be and what is not.
 *
 * @module
 */
import { styleText } from "node:util";
import { print } from "./stdout.ts";

const colour = Deno.stdout.isTerminal() && (Deno.env.get("NO_COLOR") ?? "") === "";

/** A line, as text, of something that went as it should, or did not. */
export function mark(good: boolean, text: string): string {
  const word = good ? "ok" : "FAILED";
  return `  ${colour ? styleText(good ? "green" : "red", word) : word}  ${text}`;
}

/** Says what the next lines are about. */
export function heading(text: string): void {
  say();
  say(colour ? styleText("bold", text) : text);
}

/** Says a line. */
export function say(text = ""): void {
  print(text + "\n");
}
