/** `diaper ni --read --events dns` against another program's answers. */
import assert from "node:assert/strict";
import { CaptureError } from "../../lib/net/capture.ts";
import { parseIp } from "../../lib/net/ip.ts";
import { runOffline } from "../../lib/ni/offline.ts";
import { sharedTest } from "../shared_data.ts";

/**
 * Where Diaper and Suricata 7 differ, by capture and number of lines. Everything else
 * must be equal.
 */
const EXPLAINED: Readonly<Record<string, [count: number, why: string]>> = {
  "arkime/dns-caa.pcap": [2, "Suricata 7 has no name for CAA, and no data"],
  "zeek/traces/dns-caa.pcap": [2, "Suricata 7 has no name for CAA, and no data"],
  "zeek/traces/dns/hinfo.pcap": [1, "Suricata 7 gives no data for HINFO"],
  "sv/dns/dns-udp-null/input.pcap": [1, "NULL has no agreed form; Suricata 7 gives text"],
  "ndpi/malformed_dns.pcap": [4, "a name of more than 255 bytes: no resolver takes the message"],
  "zeek/traces/dns-edns-ecs.pcap": [2, "one in fragments; one whose SOA the list cuts off"],
  "ndpi/dns_fragmented.pcap": [4, "fragments: put together by the NI kernel, not here"],
  "zeek/traces/ipv6-fragmented-dns.pcap": [1, "fragments: put together by the NI kernel, not here"],
};

sharedTest("ni --events dns: Suricata's answers, for every capture", "ni", (directory) => {
  const wanted = new Map<string, string[]>();
  const lines = Deno.readTextFileSync(`${directory}/PEER-suricata-7.0.10-dns.tsv`).trim();
  for (const line of lines.split("\n").slice(1)) {
    const [file = "", ...rest] = line.split("\t");
    wanted.set(file, [...wanted.get(file) ?? [], rest.join("\t")]);
  }
  const differences: string[] = [];
  let equal = 0;
  for (const [file, theirs] of wanted) {
    const ours = new Map<string, number>();
    for (const line of dnsLines(`${directory}/${file}`)) ours.set(line, (ours.get(line) ?? 0) + 1);
    const missing = theirs.filter((theirLine) => {
      const line = matching(theirLine, ours);
      if (line === undefined) return true;
      ours.set(line, (ours.get(line) as number) - 1);
      equal++;
      return false;
    });
    const [allowed] = EXPLAINED[file] ?? [0];
    if (missing.length !== allowed) {
      const rest = [...ours].flatMap(([line, n]) => n > 0 ? [line] : []);
      differences.push(`${file}: ${missing.length}, explained ${allowed}`);
      differences.push(...missing.slice(0, 3).map((line) => `  theirs ${line.slice(0, 160)}`));
      differences.push(...rest.slice(0, 3).map((line) => `  ours   ${line.slice(0, 160)}`));
    }
  }
  assert.deepEqual(differences, []);
  assert.ok(equal > 800, `only ${equal} lines were compared`);
});

/** The list has this many characters of the answers at most. */
const CUT = 400;

/** The line among ours, not yet used up, that says the same; of a line that was cut, as far as it goes. */
function matching(theirLine: string, ours: ReadonlyMap<string, number>): string | undefined {
  const answers = theirLine.split("\t")[5] ?? "";
  const wanted = plain(theirLine);
  if (answers.length < CUT) return (ours.get(wanted) ?? 0) > 0 ? wanted : undefined;
  // The last answer may have been cut in two.
  const start = wanted.slice(0, wanted.lastIndexOf(";"));
  return [...ours].find(([line, left]) => left > 0 && line.startsWith(start))?.[0];
}

/** One line of Suricata's list as ours are: forms that differ, but say the same. */
function plain(line: string): string {
  const fields = line.split("\t");
  const answers = (fields[5] ?? "").split(";").map((answer) => {
    const [type, value = ""] = [
      answer.slice(0, answer.indexOf("=")),
      answer.slice(answer.indexOf("=") + 1),
    ];
    if (type === "AAAA") return `AAAA=${parseIp(value)?.text ?? value}`;
    const object = /^\{"(?:soa|srv|sshfp)": (.*)\}$/.exec(value)?.[1];
    return object === undefined ? answer : `${type}=${JSON.stringify(JSON.parse(object))}`;
  });
  return [...fields.slice(0, 5), answers.join(";")].join("\t");
}

interface DnsEvent {
  readonly type: "query" | "answer";
  readonly id: number;
  readonly rcode?: string;
  readonly rrname?: string;
  readonly rrtype?: string;
  readonly answers?: readonly { readonly rrtype: string; readonly [field: string]: unknown }[];
}

/** The events of a capture, in the list's form. */
function dnsLines(file: string): string[] {
  const lines: string[] = [];
  try {
    runOffline({
      read: file,
      write: undefined,
      prevent: [],
      scanners: new Map(),
      hostNetworks: [],
      events: new Set(["dns"]),
      event: (event) => lines.push(line(event["dns"] as DnsEvent)),
      log: (text) => assert.fail(text),
    });
  } catch (error) {
    if (!(error instanceof CaptureError)) throw error; // a damaged file: see capture_test.ts
  }
  return lines;
}

function line({ type, id, rcode = "", rrname = "", rrtype = "", answers = [] }: DnsEvent): string {
  const values = answers.map((answer) => {
    const value = answer["rdata"] ?? answer[answer.rrtype.toLowerCase()];
    const text = typeof value === "string"
      ? value
      : value === undefined
      ? ""
      : JSON.stringify(value);
    return `${answer.rrtype}=${text}`;
  });
  return [type, id, rcode, rrname, rrtype, values.join(";")].join("\t");
}
