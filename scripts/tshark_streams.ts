/**
 * Writes what tshark makes of the TCP streams of all captures in shared data, as tests/ni/stream/tshark.tsv: the test there
 * holds `diaper ni --streams` against it. To be run again when captures are added, with tshark installed (scripts/setup).
 *
 *   deno run -A scripts/tshark_streams.ts
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { filesBelow, sharedData } from "../tests/shared_data.ts";

const directory = sharedData("ni");
if (directory === undefined) throw new Error("shared/data/ni is not here");
const out = new URL("../tests/ni/stream/tshark.tsv", import.meta.url);

function tshark(...args: string[]): string {
  const { stdout } = new Deno.Command("tshark", { args, stderr: "null" }).outputSync();
  return new TextDecoder().decode(stdout);
}

/** Bytes that are not in a capture leave a note in what tshark prints: that is no part of the stream. */
const NOTE = /\[\d+ bytes missing in capture file\]\0?/g;

function withoutNotes(hex: string): string {
  return Buffer.from(hex, "hex").toString("latin1").replaceAll(NOTE, "");
}

function digest(text: string): string {
  return createHash("sha256").update(text, "latin1").digest("hex").slice(0, 16);
}

/** `-z follow` prints one end's bytes at the margin and the other one's behind a tab. */
function* streams(file: string): Iterable<string> {
  const numbers = new Set(tshark("-r", file, "-T", "fields", "-e", "tcp.stream").split(/\s+/));
  numbers.delete("");
  const order = [...numbers].map(Number).filter((n) => Number.isInteger(n)).sort((a, b) => a - b);
  const follow = order.flatMap((n) => ["-z", `follow,tcp,raw,${n}`]);
  if (follow.length === 0) return;
  for (const part of tshark("-r", file, "-q", ...follow).split(/^={60,}$/m)) {
    const number = /tcp\.stream eq (\d+)/.exec(part)?.[1];
    const nodes = /Node 0: (\S+)\nNode 1: (\S+)\n/.exec(part);
    if (number === undefined || nodes === null) continue;
    const lines = part.slice(nodes.index + nodes[0].length).split("\n").filter((l) => l !== "");
    for (const [i, node] of [nodes[1], nodes[2]].entries()) {
      const hex = lines.filter((line) => line.startsWith("\t") === (i === 1))
        .map((line) => line.trim()).join("");
      // Most streams of scans are empty.
      const text = withoutNotes(hex);
      const sender = node?.replaceAll(/[[\]]/g, "");
      if (text !== "") yield [number, sender, text.length, digest(text)].join("\t");
    }
  }
}

const lines = [
  "# capture\tstream\tsender\tbytes\tfirst 16 digits of its SHA-256; by scripts/tshark_streams.ts",
];
for (const file of filesBelow(directory, [".pcap", ".pcapng", ".trace"])) {
  const name = file.slice(directory.length + 1);
  for (const line of streams(file)) lines.push(`${name}\t${line}`);
}
Deno.writeTextFileSync(out, `${lines.join("\n")}\n`);
