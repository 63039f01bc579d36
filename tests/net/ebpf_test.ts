import assert from "node:assert/strict";
import { compileBpf } from "../../lib/net/bpf.ts";
import { CaptureError, CaptureParser, CaptureRecord } from "../../lib/net/capture.ts";
import { compileFilter, libpcapVersion } from "../../lib/sys/libpcap.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";
import { KernelFilter } from "./ebpf_program.ts";

// Loaded here, since a test that loads a library looks like one that leaks it.
libpcapVersion();

const FILTERS = [
  "tcp port 80 or tcp port 25",
  "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
  "udp port 53 and greater 80",
  "ip6 and udp",
  "ip[6:2] & 0x1fff != 0 or icmp or arp",
  "ether[0] & 1 != 0 or ip[0] & 15 > 5",
  "tcp portrange 1024-65535 and (src net 10.0.0.0/8 or src net 192.168.0.0/16)",
  "ip[2:2] - ((ip[0] & 15) << 2) - ((tcp[12] >> 4) << 2) > 100",
];

if (Deno.uid() !== 0) {
  Deno.test({ name: "ebpf: (skipped: loading programs needs root)", ignore: true, fn: () => {} });
} else {
  sharedTest(
    "ebpf: translated filters match in the kernel what they match here",
    "ni",
    (directory) => {
      const filters = FILTERS.map((text) => {
        const program = compileFilter(text, 1);
        return { text, here: compileBpf(program), kernel: new KernelFilter(program), matched: 0 };
      });
      let frames = 0;
      try {
        for (const file of filesBelow(directory, [".pcap"])) {
          const parser = new CaptureParser();
          const record = new CaptureRecord();
          parser.push(Deno.readFileSync(file));
          try {
            // The first frames of each capture: all kinds come up, and the run stays short.
            for (let i = 0; i < 20 && parser.read(record) && record.linkType === 1; i++) {
              const length = record.end - record.start;
              if (length < 60 || length > 1500) continue; // what the kernel makes packets of
              const frame = record.data.slice(record.start, record.end);
              frames++;
              for (const f of filters) {
                const here = f.here(frame, 0, length, length, -1) !== 0;
                if (here) f.matched++;
                assert.equal(f.kernel.matches(frame), here, `${file} frame ${i}: ${f.text}`);
              }
            }
          } catch (error) {
            if (!(error instanceof CaptureError)) throw error; // a damaged file: see capture_test.ts
          }
        }
        assert.ok(frames > 1000, `only ${frames} frames`);
        for (const f of filters) assert.ok(f.matched > 0, `${f.text} was never true`);
      } finally {
        for (const f of filters) f.kernel.close();
      }
    },
  );
}
