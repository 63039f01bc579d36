/**
 * What devices print, read: every captured file without a throw, and known ones exactly.
 */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import { DRIVERS } from "../../drivers/registry.ts";
import { type Listing, parseListing } from "../../drivers/acl/listing.ts";
import { parseShowFirewall } from "../../drivers/junos_counters.ts";
import { openLines, parseSetLines } from "../../drivers/junos_terms.ts";
import { tupleText } from "../../lib/pinhole/pinhole.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";
import { tuple } from "./tuples.ts";

const LISTINGS: readonly Listing[] = ["ios", "nxos", "eos", "ftos", "ironware"];
const FILTERS = { acl: "DIAPER", acl6: "DIAPER6" };

/** Numbers of entries, by hand from the files, and one entry of each in full. */
const KNOWN: readonly {
  file: string;
  driver: string;
  entries: number;
  at: number;
  entry: unknown[];
}[] = [
  {
    file: "cisco_ios/show_ip_access-lists.raw",
    driver: "ios",
    entries: 81,
    at: 11,
    entry: ["101", 80, "permit", "tcp", "10.0.0.0/8", "23,22,80,8080", "10.1.0.0/32", "!=23,22", 0],
  },
  {
    file: "cisco_ios/show_access-list3.raw",
    driver: "ios",
    entries: 27,
    at: 2,
    entry: ["150", 20, "permit", "udp", "0.0.0.0/0", null, "0.0.0.0/0", 5060, 2],
  },
  {
    file: "cisco_ios/genie_customer3.txt",
    driver: "ios",
    entries: 10,
    at: 9,
    entry: [
      "acl1",
      110,
      "permit",
      "udp",
      "object-group vpn-endpoints-dummydpd",
      null,
      "10.4.1.1/32",
      500,
      122,
    ],
  },
  {
    file: "cisco_ios/show_ipv6_access-lists.raw",
    driver: "ios",
    entries: 18,
    at: 6,
    entry: [
      "WAN_LOCAL",
      15,
      "deny",
      "tcp",
      "2a05:c100:53::14/128",
      null,
      "2a05:c100:53::17/128",
      "46-48",
      0,
    ],
  },
  {
    file: "cisco_ios/trigger_acl115.cfg",
    driver: "ios",
    entries: 103,
    at: 17,
    entry: ["115", null, "permit", "udp", "163.208.217.120/29", 53, "0.0.0.0/0", ">1023", null],
  },
  {
    file: "cisco_ios/show_running-config_partition_access-list.raw",
    driver: "ios",
    entries: 83,
    at: 0,
    entry: ["sample", null, "permit", "tcp", "10.1.6.20/32", null, "10.1.6.98/32", 179, null],
  },
  {
    file: "cisco_iosxe/genie_customer_bigcounts.txt",
    driver: "ios",
    entries: 4,
    at: 3,
    entry: ["43", 40, "permit", "ip", "10.196.0.0/16", null, "0.0.0.0/0", null, 8353358],
  },
  {
    file: "cisco_iosxe/genie_show_access-lists.txt",
    driver: "ios",
    entries: 17,
    at: 0,
    entry: ["acl_name", 10, "permit", "ip", "0.0.0.0/0", null, "0.0.0.0/0", null, 10031],
  },
  {
    file: "cisco_nxos/show_access-lists_per-entry.raw",
    driver: "nxos",
    entries: 7,
    at: 0,
    entry: ["TEST-ACL", 20, "permit", "tcp", "0.0.0.0/0", null, "10.10.10.0/24", null, 66],
  },
  {
    file: "cisco_nxos/genie_show_access-lists_1.txt",
    driver: "nxos",
    entries: 11,
    at: 6,
    entry: ["ipv6_acl", 30, "permit", "tcp", "::/0", 8443, "2001:2::2/128", null, null],
  },
  {
    file: "arista_eos/show_ip_access-lists.raw",
    driver: "eos",
    entries: 12,
    at: 4,
    entry: [
      "default-control-plane-acl",
      50,
      "permit",
      "tcp",
      "0.0.0.0/0",
      null,
      "0.0.0.0/0",
      "22,23,80,161,179,443,639",
      0,
    ],
  },
  {
    file: "juniper_junos/batfish_firewall-filters.set",
    driver: "junos",
    entries: 12,
    at: 1,
    entry: ["FILTER2", null, "deny", "ip", "1.2.3.6/32,1.2.3.5/32", null, "0.0.0.0/0", null, null],
  },
  {
    file: "juniper_junos/genie_show_firewall.txt",
    driver: "junos",
    entries: 16,
    at: 3,
    entry: ["local-access-control", "last_policer", null, null, null, null, null, null, 19016081],
  },
  {
    file: "juniper_junos/genie_show_firewall_counter_filter.txt",
    driver: "junos",
    entries: 1,
    at: 0,
    entry: [
      "v6_local-access-control",
      "v6_last_policer",
      null,
      null,
      null,
      null,
      null,
      null,
      7860915,
    ],
  },
];

sharedTest("device listings: known files are read exactly", "drivers", async (directory) => {
  for (const { file, driver, entries, at, entry } of KNOWN) {
    const loaded = await DRIVERS.find(({ name }) => name === driver)?.load();
    const read = loaded?.parse?.(Deno.readTextFileSync(`${directory}/${file}`)) ?? [];
    assert.equal(read.length, entries, file);
    const e = read[at];
    assert.deepEqual(
      [
        e?.acl,
        e?.seq,
        e?.action,
        e?.proto,
        e?.source,
        e?.source_port,
        e?.destination,
        e?.destination_port,
        e?.packets,
      ],
      entry,
      file,
    );
    assert.ok(read.every(({ ours }) => !ours), file);
  }
});

sharedTest(
  "device listings: no captured file makes any parser throw",
  "drivers",
  async (directory) => {
    const drivers = await Promise.all(
      DRIVERS.filter(({ kind }) => kind === "device").map((entry) => entry.load()),
    );
    assert.ok(drivers.length >= 6);
    for (const file of filesBelow(directory, [""])) {
      const text = new TextDecoder().decode(Deno.readFileSync(file));
      for (const { parse } of drivers) {
        for (const entry of parse?.(text) ?? []) assert.ok(!entry.ours, file);
      }
    }
  },
);

sharedTest(
  "device listings: a listing cut off anywhere gives no other entries",
  "drivers",
  (directory) => {
    const text = Deno.readTextFileSync(`${directory}/cisco_ios/show_ip_access-lists.raw`);
    const whole = parseListing(text, "ios").map((e) => JSON.stringify({ ...e, text: "" }));
    for (let at = 0; at < text.length; at += 41) {
      const cut = parseListing(text.slice(0, at), "ios").slice(0, -1);
      for (const [i, entry] of cut.entries()) {
        assert.equal(JSON.stringify({ ...entry, text: "" }), whole[i]);
      }
    }
  },
);

Deno.test("device listings: any text is read without a throw", () => {
  const word = fc.constantFrom(
    "permit",
    "deny",
    "tcp",
    "udp",
    "any",
    "host",
    "eq",
    "range",
    "10",
    "seq",
    "192.0.2.1",
    "(",
    "(9 matches)",
    "[match=1]",
    "Extended IP access list X",
    "access-list",
    "ip access-list extended DIAPER",
    "\n",
    "/24",
    "set firewall family inet filter DIAPER term ph-1",
    "from",
    "then",
    "count",
    "Filter: x",
    "Counters:",
    "99999999999999999999",
    "object-group",
    "sequence",
    "1.2.3.4/99",
    "::1",
    "%",
    "\x1b[K",
    "\r",
  );
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 400 }),
    fc.array(word, { maxLength: 60 }).map((words) => words.join(" ")),
  );
  fc.assert(
    fc.property(text, (t) => {
      for (const listing of LISTINGS) parseListing(t, listing);
      parseSetLines(t, FILTERS);
      parseShowFirewall(t);
    }),
    { numRuns: 400 },
  );
});

Deno.test("junos terms: what is set is read back, and a changed term is not ours any more", () => {
  const tuples = [
    tuple("tcp", "198.51.100.1", 0, "192.0.2.1", 5000),
    tuple("udp", "198.51.100.1", 40000, "192.0.2.1", 53),
    tuple("tcp", "2001:db8::1", 1, "2001:db8::2", 65535),
  ];
  const lines = tuples.flatMap((t) => openLines(FILTERS, t, undefined));
  const read = parseSetLines(lines.join("\n"), FILTERS);
  assert.deepEqual(
    read.map((term) => term.tuple && tupleText(term.tuple)),
    tuples.map(tupleText),
  );
  const changed = [
    lines.join("\n").replaceAll("destination-port 5000", "destination-port 5001"),
    lines.join("\n").replaceAll(" destination-port 5000", ""),
    `${lines.join("\n")}\ndeactivate ${lines[0]?.split(" from ")[0]?.slice(4)}`,
    `${lines.join("\n")}\n${lines[0]?.split(" from ")[0]} from source-address 0.0.0.0/0`,
  ];
  for (const text of changed) {
    const [first, ...others] = parseSetLines(text, FILTERS);
    assert.equal(first?.tuple, undefined, text);
    assert.equal(first?.damaged, true);
    assert.ok(others.every((term) => term.tuple !== undefined));
  }
});

Deno.test("device listings: a prefix is a host only with all bits of its family", () => {
  const text = [
    "IPv6 access list DIAPER6",
    "  10 permit tcp 2001:db8::/32 2001:db8::1/128 eq 22",
    "  20 permit tcp 2001:db8::2/128 2001:db8::1/128 eq 22",
    "IP access list DIAPER",
    "  10 permit tcp 192.0.2.0/24 192.0.2.1/32 eq 22",
    "  20 permit tcp 192.0.2.2/32 192.0.2.1/32 eq 22",
    "  30 permit tcp host 192.0.2.3 host 192.0.2.1 eq 65536",
    "  40 permit tcp host 192.0.2.300 host 192.0.2.1 eq 22",
    "  50 permit udp host 192.0.2.4 eq 53 host 192.0.2.1 eq 5000",
    "  60 permit tcp host 192.0.2.5 host 192.0.2.1 eq 22 established",
  ].join("\n");
  const pinholes = parseListing(text, "nxos").filter((entry) => entry.tuple !== undefined);
  assert.deepEqual(pinholes.map(({ family, seq }) => [family, seq]), [[6, 20], [4, 20], [4, 50]]);
  assert.equal(pinholes[2]?.tuple?.sourcePort, 53);
});
