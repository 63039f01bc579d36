import assert from "node:assert/strict";
import fc from "fast-check";
import { BpfError, type BpfInstruction, checkBpf, compileBpf, runBpf } from "../../lib/net/bpf.ts";
import { CaptureError, CaptureParser, CaptureRecord } from "../../lib/net/capture.ts";
import { compileFilter, FilterError, libpcapVersion } from "../../lib/sys/libpcap.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";

// Loaded here, since a test that loads a library looks like one that leaks it.
libpcapVersion();

const op = (code: number, k = 0, jt = 0, jf = 0): BpfInstruction => ({ code, jt, jf, k });

/** Programs of any instruction that may stand where it stands. */
const anyProgram = fc.array(
  fc.record({
    code: fc.constantFrom(
      ...[0x00, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80], // ld
      ...[0x01, 0x61, 0x81, 0xb1, 0x02, 0x03], // ldx, st, stx
      ...[0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x84, 0x94, 0xa4],
      ...[0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c, 0x7c, 0x9c, 0xac],
      ...[0x05, 0x15, 0x25, 0x35, 0x45, 0x1d, 0x2d, 0x3d, 0x4d],
      ...[0x06, 0x16, 0x07, 0x87],
    ),
    k: fc.oneof(
      fc.nat(15),
      fc.nat(60),
      fc.nat(0xffffffff),
      fc.constantFrom(0xfffff02c, 0xfffff030, 0xfffff03c),
    ),
    jt: fc.nat(6),
    jf: fc.nat(6),
  }),
  { maxLength: 24 },
).map((part) => [...part, op(0x16)]).filter((program) => {
  try {
    checkBpf(program);
    return true;
  } catch (error) {
    if (error instanceof BpfError) return false;
    throw error;
  }
});

Deno.test("compileBpf() gives what the interpreter gives, for any program and frame", () => {
  fc.assert(
    fc.property(
      anyProgram,
      fc.uint8Array({ maxLength: 64 }),
      fc.nat(8),
      fc.constantFrom(-1, 0, 100, 0x88a80064),
      (program, bytes, start, vlan) => {
        const memory = new Uint8Array(bytes.length + 16).fill(0xee);
        memory.set(bytes, start);
        const end = start + bytes.length;
        const frame = { data: memory, start, end, wireLength: bytes.length + 4, vlan };
        assert.equal(
          compileBpf(program)(memory, start, end, bytes.length + 4, vlan),
          runBpf(program, frame),
        );
      },
    ),
    { numRuns: 5000 },
  );
});

Deno.test("checkBpf() refuses programs that do not end or read elsewhere", () => {
  const cases: [BpfInstruction[], RegExp][] = [
    [[], /1 to 4096/],
    [[op(0x00)], /does not return/],
    [[op(0x05, 5), op(0x06)], /jumps out/],
    [[op(0x15, 0, 1, 0), op(0x06)], /jumps out/],
    [[op(0x02, 16), op(0x06)], /16 words/],
    [[op(0x34, 0), op(0x06)], /divides by 0/],
    [[op(0x64, 32), op(0x06)], /31 bits/],
    [[op(0xff), op(0x06)], /not known/],
  ];
  for (const [program, problem] of cases) assert.throws(() => checkBpf(program), problem);
});

Deno.test("compileFilter() says what libpcap says about a wrong expression", () => {
  assert.throws(() => compileFilter("tcp prot 80", 1), FilterError);
  assert.throws(() => compileFilter("tcp prot 80", 1), /syntax error/);
  assert.throws(() => compileFilter("tcp\0", 1), /NUL/);
});

const FILTERS = [
  "tcp",
  "udp port 53",
  "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
  "ip6",
  "vlan and ip",
  "tcp port 80 or tcp port 25",
  "ip[6:2] & 0x1fff != 0",
  "greater 500",
  "net 192.168.0.0/16 and not arp",
  "icmp or icmp6",
  "tcp portrange 1024-65535 and src net 10.0.0.0/8",
];

sharedTest(
  "compiled filters match what libpcap matches, in every capture",
  "ni",
  async (directory) => {
    const compiled = FILTERS.map((filter) => compileBpf(compileFilter(filter, 1)));
    const differences: string[] = [];
    let compared = 0;
    for (const file of filesBelow(directory, [".pcap"])) {
      const counts = FILTERS.map(() => 0);
      const parser = new CaptureParser();
      const record = new CaptureRecord();
      let other = false;
      try {
        parser.push(Deno.readFileSync(file));
        while (parser.read(record)) {
          other ||= record.linkType !== 1;
          for (const [i, matches] of compiled.entries()) {
            if (matches(record.data, record.start, record.end, record.wireLength, -1) !== 0) {
              counts[i] = (counts[i] as number) + 1;
            }
          }
        }
      } catch (error) {
        if (error instanceof CaptureError) continue; // a damaged file: see capture_test.ts
        throw error;
      }
      if (other) continue;
      // One filter a file keeps the run short; all of them come up many times over all files.
      const which = compared++ % FILTERS.length;
      const { stdout, success } = await new Deno.Command("tcpdump", {
        args: ["-nn", "--count", "-r", file, FILTERS[which] as string],
      }).output();
      const theirs = Number(/^(\d+)/m.exec(new TextDecoder().decode(stdout))?.[1] ?? Number.NaN);
      if (success && theirs !== counts[which]) {
        differences.push(`${file}: ${FILTERS[which]}: ${counts[which]}, libpcap ${theirs}`);
      }
    }
    assert.ok(compared > 200, `only ${compared} captures compared`);
    assert.deepEqual(differences, []);
  },
);
