import assert from "node:assert/strict";
import fc from "fast-check";
import { CaptureError, CaptureParser, CaptureRecord } from "../../lib/net/capture.ts";
import {
  dnsAddress,
  type DnsMessage,
  dnsRcodeName,
  dnsTypeName,
  dnsValues,
  parseDns,
} from "../../lib/net/dns.ts";
import { parseIp } from "../../lib/net/ip.ts";
import { Packet } from "../../lib/net/packet.ts";
import { sharedTest } from "../shared_data.ts";

const HEADER = [0x12, 0x34, 0x81, 0x80];
/** `www.example.com`, at offset 12 when it is the first question. */
const WWW = [3, 0x77, 0x77, 0x77, 7, ...bytes("example"), 3, ...bytes("com"), 0];

function bytes(text: string): number[] {
  return [...new TextEncoder().encode(text)];
}

function parse(...parts: number[]): DnsMessage {
  const message = parseDns(Uint8Array.from(parts), 0, parts.length);
  assert.ok(message);
  return message;
}

Deno.test("parseDns() reads an answer with a compressed name", () => {
  const data = Uint8Array.from([
    ...[...HEADER, 0, 1, 0, 2, 0, 0, 0, 0],
    ...[...WWW, 0, 1, 0, 1],
    ...[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 5, 2, 0x6e, 0x73, 0xc0, 16],
    ...[0xc0, 45, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 1],
  ]);
  const message = parseDns(data, 0, data.length);
  assert.ok(message);
  assert.equal(message.malformed, undefined);
  assert.equal(message.questions[0]?.name, "www.example.com");
  const [cname, a] = message.answers;
  assert.ok(cname && a);
  assert.deepEqual(dnsValues(data, 0, cname), ["ns.example.com"]);
  assert.deepEqual([a.name, a.ttl, dnsAddress(data, a)], ["ns.example.com", 30, "192.0.2.1"]);
  assert.deepEqual([message.id, message.response, dnsRcodeName(message.rcode)], [
    0x1234,
    true,
    "NOERROR",
  ]);
});

Deno.test("parseDns() ends on names that go in circles, forward, or on for ever", () => {
  const question = [...HEADER, 0, 1, 0, 0, 0, 0, 0, 0];
  const cases: [number[], RegExp][] = [
    [[0xc0, 12], /goes in circles/],
    [[0xc0, 14, 0xc0, 12], /goes in circles/],
    [[1, 0x61, 0xc0, 12], /goes in circles/],
    [[0x80, 1], /label has a type/],
    [[3, 0x61], /cut off/],
    [[0xc0], /cut off/],
    [new Array(5).fill([63, ...bytes("a".repeat(63))]).flat(), /too long/],
    [[1, 0x61, 0, 0], /question is cut off/],
  ];
  for (const [name, problem] of cases) {
    assert.match(parse(...question, ...name).malformed ?? "none", problem);
  }
});

Deno.test("parseDns() keeps what comes before the damage", () => {
  const message = parse(
    ...[...HEADER, 0, 1, 0, 3, 0, 0, 0, 0, ...WWW, 0, 1, 0, 1],
    ...[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 1, 0xc0],
  );
  assert.equal(message.answers.length, 1);
  assert.match(message.malformed ?? "", /cut off/);
});

Deno.test("parseDns() escapes what is not printable, so that two names do not look the same", () => {
  const name = (label: number[]) =>
    parse(...HEADER, 0, 1, 0, 0, 0, 0, 0, 0, label.length, ...label, 0, 0, 1, 0, 1)
      .questions[0]?.name;
  assert.equal(name(bytes("a.b")), "a\\.b");
  assert.equal(name([0, 0xff]), "\\000\\255");
  assert.equal(name(bytes("a\\b")), "a\\\\b");
});

Deno.test("parseDns() reads any bytes in bounded time, and none beyond the message", () => {
  const pieces = fc.constantFrom(
    [0xc0, 12],
    [0xc0, 13],
    [1, 0x61],
    [0],
    [0, 1, 0, 1],
    [0, 0, 0, 9, 0, 4, 1, 2, 3, 4],
    WWW,
  );
  const near = fc.array(pieces, { maxLength: 30 }).map((parts) =>
    Uint8Array.from([...HEADER, 0, 2, 0, 9, 0, 9, 0, 9, ...parts.flat()])
  );
  fc.assert(
    fc.property(fc.oneof(near, fc.uint8Array({ maxLength: 200 })), (data) => {
      const alone = parseDns(data, 0, data.length);
      const memory = new Uint8Array(data.length + 40).fill(0x41);
      memory.set(data, 20);
      const inside = parseDns(memory, 20, 20 + data.length);
      const shift = (message: DnsMessage | undefined) =>
        JSON.stringify(message, (key, value) => key.startsWith("data") ? undefined : value);
      assert.equal(shift(inside), shift(alone));
      for (const record of alone?.answers ?? []) {
        assert.ok(record.dataEnd <= data.length);
        dnsValues(data, 0, record);
      }
    }),
    { numRuns: 5000 },
  );
});

Deno.test("parseDns() is not slowed down by a message made of pointers", () => {
  // 32,000 pointers, each to the one before: quadratic without a limit.
  const data = new Uint8Array(65_535);
  data.set([...HEADER, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
  for (let at = 14; at + 1 < data.length; at += 2) {
    const back = Math.min(at - 2, 0x3fff);
    data[at] = 0xc0 | (back >> 8);
    data[at + 1] = back & 0xff;
  }
  assert.match(parseDns(data, 0, data.length)?.malformed ?? "", /in circles/);
});

/**
 * Where Diaper and Suricata 7 differ on the same UDP packets, by capture and number of lines. Everything else
 * must be equal.
 */
const EXPLAINED: Readonly<Record<string, [count: number, why: string]>> = {
  "arkime/dns-caa.pcap": [2, "Suricata 7 has no name for CAA, and no data"],
  "zeek/traces/dns-caa.pcap": [2, "Suricata 7 has no name for CAA, and no data"],
  "arkime/dns-tcp.pcap": [4, "over TCP: streams are another room's"],
  "sv/dns/dns-tcp-www-google-com/dns.pcap": [2, "over TCP: streams are another room's"],
  "tcpdump/dns_tcp.pcap": [2, "over TCP: streams are another room's"],
  "zeek/traces/dns/hinfo.pcap": [1, "Suricata 7 gives no data for HINFO"],
  "sv/dns/dns-udp-null/input.pcap": [1, "NULL has no agreed form; Suricata 7 gives text"],
  "sv/dns/dns-answer-emptydata/input.pcap": [1, "over TCP: streams are another room's"],
  "ndpi/malformed_dns.pcap": [4, "a name of more than 255 bytes: no resolver takes the message"],
  "zeek/traces/dns-edns-ecs.pcap": [2, "one in fragments; one whose SOA the list cuts off"],
  "ndpi/dns_fragmented.pcap": [4, "fragments: put together by the NI kernel, not here"],
  "zeek/traces/ipv6-fragmented-dns.pcap": [1, "fragments: put together by the NI kernel, not here"],
};

sharedTest("parseDns() gives Suricata's answers for every capture", "ni", (directory) => {
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

function* dnsLines(file: string): Generator<string> {
  const parser = new CaptureParser();
  const record = new CaptureRecord();
  const p = new Packet();
  parser.push(Deno.readFileSync(file));
  try {
    while (parser.read(record)) {
      p.decode(record.data, record.start, record.end, record.linkType);
      if (!p.isUdp || (p.sourcePort !== 53 && p.destinationPort !== 53)) continue;
      const message = parseDns(p.data, p.payload, p.payloadEnd);
      if (message !== undefined) yield* messageLines(message, p);
    }
  } catch (error) {
    if (!(error instanceof CaptureError)) throw error; // a damaged file: see capture_test.ts
  }
}

function* messageLines(message: DnsMessage, p: Packet): Generator<string> {
  const question = message.questions[0];
  if (!message.response) {
    for (const q of message.questions) {
      yield ["query", message.id, "", q.name, dnsTypeName(q.type), ""].join("\t");
    }
    return;
  }
  const answers = message.answers.flatMap((record) => {
    const type = dnsTypeName(record.type);
    const values = dnsValues(p.data, p.payload, record);
    if (values.length === 0) return [`${type}=`];
    return values.map((v) => `${type}=${typeof v === "string" ? v : JSON.stringify(v)}`);
  });
  const name = question?.name ?? "";
  const type = question === undefined ? "" : dnsTypeName(question.type);
  yield ["answer", message.id, dnsRcodeName(message.rcode), name, type, answers.join(";")].join(
    "\t",
  );
}
