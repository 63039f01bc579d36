/** `diaper ni --read --events dns` against Zeek's logs of the same captures. */
import assert from "node:assert/strict";
import { parseIp } from "../../lib/net/ip.ts";
import { runOffline } from "../../lib/ni/offline.ts";
import { sharedTest } from "../shared_data.ts";

/** Zeek's logs, by the capture each is of. */
const LOGS: Readonly<Record<string, string>> = {
  "scripts.base.protocols.dns.zero-responses": "dns-zero-RRs.pcap",
  "scripts.base.protocols.dns.loc": "dns/loc-29-trunc.pcap",
  "scripts.base.protocols.dns.rrsig": "dnssec/rrsig.pcap",
  "scripts.base.protocols.dns.nsec3": "dnssec/nsec3.pcap",
  "scripts.base.protocols.dns.duplicate-reponses": "dns-two-responses.pcap",
  "scripts.base.protocols.dns.flip": "dns53.pcap",
  "core.ipv6-frag": "ipv6-fragmented-dns.pcap",
};

/** Where Diaper and Zeek differ, by log and number of lines. docs/evaluation/dns-answers.md has them as a table. */
const EXPLAINED: Readonly<Record<string, [count: number, why: string]>> = {
  "core.ipv6-frag": [
    1,
    "an answer in fragments: events are made of frames, before datagrams are put together",
  ],
};

interface DnsEvent {
  readonly type: string;
  readonly id: number;
  readonly rcode: string;
  readonly rrname?: string;
  readonly answers: readonly {
    readonly rrtype: string;
    readonly ttl: number;
    readonly rdata?: string;
  }[];
}

/** An answer in both programs' words: addresses and names with their times to live, other records by type. */
function ours({ id, rcode, rrname = "", answers }: DnsEvent, client: string): string {
  const seen = answers.map(({ rrtype, ttl, rdata = "" }) =>
    ["A", "AAAA", "CNAME"].includes(rrtype) ? `${rdata} ${ttl}` : `${rrtype} ${ttl}`
  );
  // Of a record of several strings there is an answer for each.
  const once = seen.filter((text, i) => !text.startsWith("TXT ") || seen.indexOf(text) === i);
  // Zeek writes names in small letters; they are the same to DNS (RFC 4343).
  return [client, id, rcode, rrname, ...once].join("\t").toLowerCase();
}

function zeeks(fields: readonly string[]): string {
  const [, , host = "", port, , , , id, , query = ""] = fields;
  const ttls = (fields[22] ?? "").split(",");
  // Commas are only between answers: Zeek escapes others.
  const answers = fields[21] === "-" ? [] : (fields[21] ?? "").split(",").map((text, i) => {
    const ttl = Number(ttls[i]);
    const record = /^(LOC|RRSIG|TXT|DNSKEY|NSEC3?|DS)\b/.exec(text)?.[1];
    return record === undefined ? `${parseIp(text)?.text ?? text} ${ttl}` : `${record} ${ttl}`;
  });
  return [`${parseIp(host)?.text} ${port}`, id, fields[15], query, ...answers].join("\t")
    .toLowerCase();
}

sharedTest("ni --events dns: the answers of Zeek's logs", "ni/zeek", (directory) => {
  let equal = 0;
  for (const [log, capture] of Object.entries(LOGS)) {
    const here: string[] = [];
    runOffline({
      read: `${directory}/traces/${capture}`,
      write: undefined,
      prevent: [],
      scanners: new Map(),
      hostNetworks: [],
      events: new Set(["dns"]),
      event: (event) => {
        const dns = event["dns"] as DnsEvent;
        if (dns.type !== "answer") return;
        here.push(ours(dns, `${parseIp(String(event["dest_ip"]))?.text} ${event["dest_port"]}`));
      },
      log: (text) => assert.fail(text),
    });
    const lines = Deno.readTextFileSync(`${directory}/baseline/${log}/dns.log`).trim().split("\n")
      .filter((line) => !line.startsWith("#")).map((line) => line.split("\t"));
    // Queries without an answer have no answers to compare.
    const answered = lines.filter((fields) => fields[15] !== "-").map(zeeks);
    const missing = answered.filter((line) => !here.includes(line));
    const [count] = EXPLAINED[log] ?? [0];
    assert.equal(
      missing.length,
      count,
      `${log}:\n${missing.join("\n")}\nours:\n${here.join("\n")}`,
    );
    equal += answered.length - missing.length;
  }
  assert.ok(equal >= 9, `only ${equal} answers were compared`);
});
