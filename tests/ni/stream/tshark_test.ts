/**
 * `diaper ni --streams` against tshark's `follow,tcp,raw`, over every capture in shared data. What tshark makes of them is in
 * tshark.tsv (scripts/tshark_streams.ts); what differs, and why, is in docs/evaluation/streams.md, which is the list here.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { CaptureError } from "../../../lib/net/capture.ts";
import { runOffline } from "../../../lib/ni/offline.ts";
import { libpcapVersion } from "../../../lib/sys/libpcap.ts";
import { sharedTest } from "../../shared_data.ts";

// Loaded here, since a test that loads a library looks like one that leaks it.
libpcapVersion();

const ROOT = new URL("../../../", import.meta.url);

/** Of each capture, its streams' numbers, senders, lengths and digests. */
function expected(): Map<string, Set<string>> {
  const captures = new Map<string, Set<string>>();
  for (const line of Deno.readTextFileSync(new URL("tshark.tsv", import.meta.url)).split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const [capture = "", ...rest] = line.split("\t");
    const streams = captures.get(capture) ?? new Set<string>();
    captures.set(capture, streams.add(rest.join(" ")));
  }
  return captures;
}

/** Captures in the table of differences. */
function listed(): string[] {
  const page = Deno.readTextFileSync(new URL("docs/evaluation/streams.md", ROOT));
  const table = page.slice(page.indexOf("## Against tshark"));
  return [...table.matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => name as string).sort();
}

function ours(capture: string): Set<string> {
  const directory = Deno.makeTempDirSync();
  try {
    runOffline({
      read: capture,
      write: undefined,
      streams: directory,
      prevent: [],
      scanners: new Map(),
      hostNetworks: [],
      events: new Set(),
      event: () => {},
      log: (line) => assert.fail(line),
    });
    const files = [...Deno.readDirSync(directory)];
    const some = files.filter(({ name }) => Deno.statSync(`${directory}/${name}`).size > 0);
    return new Set(some.map(({ name }) => {
      const [, number, sender] = /^(\d+)-(.+\.\d+)-.+\.bin$/.exec(name) ?? assert.fail(name);
      const bytes = Deno.readFileSync(`${directory}/${name}`);
      const digest = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
      // tshark sets the port off by a colon.
      return `${number} ${sender?.replace(/\.(\d+)$/, ":$1")} ${bytes.length} ${digest}`;
    }));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

sharedTest(
  "streams: every capture equals tshark's, but for those in the table of differences",
  "ni",
  (shared) => {
    const different: string[] = [];
    for (const [capture, streams] of expected()) {
      try {
        const mine = ours(`${shared}/${capture}`);
        if (mine.symmetricDifference(streams).size > 0) different.push(capture);
      } catch (error) {
        if (!(error instanceof CaptureError)) throw error; // a damaged file: see capture_test.ts
        different.push(capture);
      }
    }
    assert.deepEqual(different.sort(), listed());
  },
);
