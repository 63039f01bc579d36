import assert from "node:assert/strict";
import fc from "fast-check";
import type { ListingEntry } from "../../drivers/listing.ts";
import { parseIpset } from "../../drivers/ipset_listing.ts";
import { parseIptables } from "../../drivers/iptables_listing.ts";
import { parseNftables } from "../../drivers/nftables_listing.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";
import { ip } from "./tuples.ts";

const CAPTURE = "drivers/linux/capture1";
const TRAFFIC = "drivers/linux/traffic1";
const PARSERS = { nft: parseNftables, iptables: parseIptables, ipset: parseIpset };

/** A line of the ground truth: proto, source, destination, port, packets. */
interface Truth {
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

function truths(directory: string): Truth[] {
  const name = "_truth_proto_src_dst_port_packets_bytes_timeout_v6src_v6dst.txt";
  return Deno.readTextFileSync(`${directory}/${name}`).trim().split("\n").map((line) => {
    const [proto, source, destination, port, packets, , , source6, destination6] = line.split(" ");
    const of = (from = "", to = "", bits: number) => [
      ...[proto, `${ip(from).text}/${bits}`, `${ip(to).text}/${bits}`, port, packets] as string[],
    ];
    return { v4: of(source, destination, 32), v6: of(source6, destination6, 128) };
  });
}

function facts(entries: readonly ListingEntry[]): string[][] {
  return entries.map((e) =>
    [e.proto, e.source, e.destination, e.destination_port, e.packets].map(String)
  );
}

function pinholes(entries: readonly ListingEntry[], acl: string): ListingEntry[] {
  return entries.filter((e) => e.acl === acl && e.action === "permit" && e.source_port === null);
}

const sorted = (rows: readonly (readonly string[])[]) => rows.map((row) => row.join(" ")).sort();
const read = (directory: string, file: string) => Deno.readTextFileSync(`${directory}/${file}`);

sharedTest("listing: every pinhole of every capture, exactly", CAPTURE, (directory) => {
  const truth = truths(directory);
  const v4 = truth.map((t) => t.v4);
  const v6 = truth.filter((_, i) => i % 3 === 2).map((t) => t.v6);
  const sets: [string, keyof typeof PARSERS, string, readonly (readonly string[])[]][] = [
    ["nft_list_set_ph4.txt", "nft", "ph4", v4],
    ["nft_j_list_set_ph4.json", "nft", "ph4", v4],
    ["nft_j_list_ruleset.json", "nft", "ph4", v4],
    ["nft_j_list_ruleset.json", "nft", "ph6", v6],
    ["nft_n_list_set_ph6.txt", "nft", "ph6", v6],
    ["ipset_list_ph4.txt", "ipset", "ph4", v4],
    ["ipset_list_ph6.xml", "ipset", "ph6", v6],
    ["ipset_save.txt", "ipset", "ph4", v4],
    ["ipset_save.txt", "ipset", "ph6", v6],
  ];
  for (const [file, parser, acl, rows] of sets) {
    const found = pinholes(PARSERS[parser](read(directory, file)), acl);
    assert.deepEqual(sorted(facts(found)), sorted(rows), `${file} ${acl}`);
    assert.ok(found.every((e) => e.ours && e.seq === null), file);
  }
  // Rules have an order, and it is that of the truth.
  const rules: [string, readonly (readonly string[])[]][] = [
    ["iptables_save_c.txt", v4.slice(0, 120)],
    ["iptables_L_nvx.txt", v4.slice(0, 120)],
    // Its counters were not preset.
    ["ip6tables_save_c.txt", truth.slice(0, 60).map((t) => [...t.v6.slice(0, 4), "0"])],
  ];
  for (const [file, rows] of rules) {
    const found = pinholes(parseIptables(read(directory, file)), "DIAPER");
    assert.deepEqual(facts(found), rows, file);
    assert.deepEqual(found.map((e) => e.seq), rows.map((_, i) => i + 1), file);
    assert.ok(found.every((e) => e.ours), file);
  }
  const uncounted = facts(pinholes(parseIptables(read(directory, "iptables_S.txt")), "DIAPER"));
  assert.deepEqual(uncounted, v4.slice(0, 120).map((row) => [...row.slice(0, 4), "null"]));
  // Without -x counts are rounded to thousands, millions ...
  const short = pinholes(parseIptables(read(directory, "iptables_L_nv_abbreviated.txt")), "DIAPER");
  assert.equal(short.length, 120);
  short.forEach((entry, i) => {
    const [proto, source, destination, port, packets] = v4[i] as string[];
    assert.deepEqual(
      [entry.proto, entry.source, entry.destination, String(entry.destination_port)],
      [
        proto,
        source,
        destination,
        port,
      ],
    );
    assert.ok(Math.abs((entry.packets ?? NaN) - Number(packets)) <= 0.01 * Number(packets), source);
  });
});

sharedTest(
  "listing: rules besides pinholes, and counters of real traffic",
  TRAFFIC,
  (directory) => {
    const counts = [["tcp", 22], ["tcp", 443], ["udp", 5060], ["tcp", 8443]] as const;
    const packets = (entries: readonly ListingEntry[], acl: string) =>
      counts.map(([proto, port]) =>
        entries.find((e) => e.acl === acl && e.proto === proto && e.destination_port === port)
          ?.packets
      );
    for (
      const [file, parser, acl, wanted] of [
        ["iptables_save_c.txt", "iptables", "DIAPER", [10, 17, 1, 7]],
        ["iptables_L_nvx_line.txt", "iptables", "DIAPER", [10, 17, 1, 7]],
        ["iptables-legacy_L_nv.txt", "iptables", "DIAPER", [10, 17, 1, 7]],
        ["iptables-legacy_save_c.txt", "iptables", "DIAPER", [10, 17, 1, 7]],
        ["ipset_save.txt", "ipset", "ph4", [10, 17, 1, 7]],
        ["ipset_list.txt", "ipset", "ph4", [10, 17, 1, 7]],
        ["ipset_list.xml", "ipset", "ph4", [10, 17, 1, 7]],
        ["nft_list_ruleset.txt", "nft", "ph4", [9, 61, 1, 6]],
        ["nft_list_set_after1.txt", "nft", "ph4", [9, 16, 1, 6]],
        ["nft_list_set_after2.json", "nft", "ph4", [9, 61, 1, 6]],
        ["nft_list_set_before.txt", "nft", "ph4", [0, 0, 0, 0]],
        ["nft_list_table_handles_stateless.txt", "nft", "ph4", [null, null, null, null]],
      ] as const
    ) {
      assert.deepEqual(packets(PARSERS[parser](read(directory, file)), acl), wanted, file);
    }
    const rules = parseNftables(read(directory, "nft_list_ruleset.txt")).filter((e) =>
      e.acl === "forward_ph"
    );
    assert.deepEqual(rules.map((e) => [e.action, e.packets]), [
      ["permit", null],
      ["permit", 71],
      [null, 3],
    ]);
    assert.deepEqual(
      parseNftables(read(directory, "nft_list_ruleset.json")).filter((e) => e.acl === "forward_ph")
        .map((e) => [e.action, e.packets]),
      rules.map((e) => [e.action, e.packets]),
    );
    const jump = parseIptables(read(directory, "iptables_save_c.txt"))[0];
    assert.deepEqual([jump?.acl, jump?.action, jump?.packets, jump?.ours], [
      "FORWARD",
      "DIAPER",
      70,
      false,
    ]);
  },
);

Deno.test("listing: rules of nftables in all their forms, text and JSON", () => {
  const rules = parseNftables(`table inet filter { # handle 7
	chain input { # handle 1
		type filter hook input priority filter; policy drop;
		ip saddr 192.0.2.0/24 tcp dport 22 counter packets 5 bytes 300 accept # handle 4
		ip6 daddr != 2001:db8::1 udp sport 53 drop comment "accept # handle 9" # handle 5
		tcp dport { 80, 443, 8000-8080 } jump web # handle 6
		meta l4proto udp reject with icmpx type port-unreachable # handle 8
	}
}
`);
  const row = (e: ListingEntry) => [
    e.seq,
    e.action,
    e.proto,
    e.source,
    e.source_port,
    e.destination,
    e.destination_port,
    e.packets,
    e.ours,
  ];
  const wanted = [
    [4, "permit", "tcp", "192.0.2.0/24", null, null, 22, 5, false],
    [5, "deny", "udp", null, 53, "!=2001:db8::1", null, null, false],
    [6, "jump web", "tcp", null, null, null, "80,443,8000-8080", null, false],
    [8, "deny", "udp", null, null, null, null, null, false],
  ];
  assert.deepEqual(rules.map(row), wanted);
  const match = (protocol: string, field: string, right: unknown, op = "==") => ({
    match: { op, left: { payload: { protocol, field } }, right },
  });
  const json = parseNftables(JSON.stringify({
    nftables: [
      [
        match("ip", "saddr", { prefix: { addr: "192.0.2.0", len: 24 } }),
        match("tcp", "dport", 22),
        { counter: { packets: 5, bytes: 300 } },
        { accept: null },
      ],
      [match("ip6", "daddr", "2001:db8::1", "!="), match("udp", "sport", 53), { drop: null }],
      [
        match("tcp", "dport", { set: [80, 443, { range: [8000, 8080] }] }),
        { jump: { target: "web" } },
      ],
      [
        { match: { op: "==", left: { meta: { key: "l4proto" } }, right: "udp" } },
        { reject: { type: "icmpx" } },
      ],
    ].map((expr, i) => ({
      rule: { family: "inet", table: "filter", chain: "input", handle: [4, 5, 6, 8][i], expr },
    })),
  }));
  assert.deepEqual(json.map(row), wanted);
});

Deno.test("listing: rules of iptables with ranges, lists, negation and quotes", () => {
  const saved = parseIptables(`*filter
:INPUT DROP [0:0]
-A INPUT ! -s 192.0.2.0/24 -p tcp -m tcp ! --dport 25 -j DROP
-A INPUT -p udp -m udp --sport 1024:65535 --dport 5000:5010 -m comment --comment "a \\"-d 1.2.3.4\\" one" -j LOG --log-prefix "-j ACCEPT"
-A INPUT -p tcp -m multiport --dports 20,21,6000:6010 -j ACCEPT
-A INPUT -s 198.51.100.1/32 -m comment --comment "diaper:ph-4" -j RETURN
COMMIT
`);
  const row = (e: ListingEntry) => [
    e.action,
    e.proto,
    e.source,
    e.source_port,
    e.destination,
    e.destination_port,
    e.ours,
  ];
  assert.deepEqual(saved.map(row), [
    ["deny", "tcp", "!=192.0.2.0/24", null, null, "!=25", false],
    ["LOG", "udp", null, "1024-65535", null, "5000-5010", false],
    ["permit", "tcp", null, null, null, "20,21,6000-6010", false],
    ["RETURN", null, "198.51.100.1/32", null, null, null, true],
  ]);
  const listed = parseIptables(`Chain INPUT (policy DROP 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         
    5   300 ACCEPT     tcp  --  eth0   *       192.0.2.0/24         0.0.0.0/0            tcp spts:1024:65535 dpt:22
    1    60            udp  --  *      *       0.0.0.0/0            0.0.0.0/0            udp dpt:!53

Chain ours6 (1 references)
num   pkts bytes target     prot opt in     out     source               destination         
1        7   420 DROP       tcp      *      *       2001:db8::1          ::/0                 multiport dports 20,21 /* diaper:ph-9 */
`);
  assert.deepEqual(listed.map((e) => [...row(e), e.packets, e.seq]), [
    ["permit", "tcp", "192.0.2.0/24", "1024-65535", "0.0.0.0/0", 22, false, 5, 1],
    [null, "udp", "0.0.0.0/0", null, "0.0.0.0/0", "!=53", false, 1, 2],
    ["deny", "tcp", "2001:db8::1/128", null, "::/0", "20,21", true, 7, 1],
  ]);
});

sharedTest("listing: no parser throws on any file, whole or torn", "drivers", (directory) => {
  const files = filesBelow(directory, [""]);
  assert.ok(files.length > 50);
  for (const file of files) {
    const text = Deno.readTextFileSync(file);
    for (const parse of Object.values(PARSERS)) {
      for (const part of [text, text.slice(0, text.length / 3), text.slice(text.length / 3)]) {
        assert.ok(Array.isArray(parse(part)), file);
      }
    }
  }
});

Deno.test("listing: no parser throws on anything", () => {
  const words = fc.constantFrom(
    ..."table set chain elements = { } { , . -A -j Chain x (1 add create <member> <elem> counter packets 1 tcp"
      .split(" "),
    "\n",
    '"',
    "10.0.0.1",
    "[1:2]",
  );
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.array(words).map((list) => list.join(" ")), fc.json()),
      (text) => {
        for (const parse of Object.values(PARSERS)) assert.ok(Array.isArray(parse(text)));
      },
    ),
    { numRuns: 500 },
  );
});
