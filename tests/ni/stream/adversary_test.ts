/** A sender that lies in every way: whatever it sends, the receiver can get nothing but what the scanner has seen. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { TCP } from "../../../lib/net/packet.ts";
import { libpcapVersion } from "../../../lib/sys/libpcap.ts";
import { Bench, build, fragments } from "./bench_table.ts";

// Loaded here, since a test that loads a library looks like one that leaks it.
libpcapVersion();

const { ACK, FIN, PSH, RST, SYN, URG } = TCP;

const text = fc.array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 24 })
  .map((letters) => letters.join(""));
const lie = fc.record({
  at: fc.oneof(fc.nat(40), fc.integer({ min: -20, max: 10_000 })),
  text: fc.oneof(text, fc.constant("")),
  flags: fc.constantFrom(
    ACK,
    ACK,
    ACK,
    ACK | PSH,
    ACK | URG,
    ACK | FIN,
    ACK | SYN,
    RST,
    PSH,
    SYN,
    0,
  ),
  ack: fc.constantFrom(0, 0, 0, 1, 50, -7),
  ttl: fc.constantFrom(64, 64, 64, 60, 2),
  urgent: fc.nat(20),
  badChecksum: fc.constantFrom(false, false, false, true),
  window: fc.constantFrom(8192, 0, 65_535),
  /** Bytes of a fragment; 0: in one piece. */
  pieces: fc.constantFrom(0, 0, 8, 16, 24),
  turned: fc.boolean(),
  /** What the receiver then acknowledges, of what it has; undefined: nothing. */
  answer: fc.option(fc.nat(60), { nil: undefined }),
});

Deno.test("streams: whatever a sender does, what goes on is what was seen", () => {
  fc.assert(
    fc.property(
      fc.array(lie, { maxLength: 60 }),
      fc.constantFrom("first" as const, "last" as const),
      (lies, overlap) => {
        const bench = new Bench("contain", { overlap }, true);
        bench.open();
        let acked = 0;
        for (const { pieces, turned, answer, ...segment } of lies) {
          const frame = build("from-host", segment);
          const parts = pieces === 0 ? [frame] : fragments(frame, pieces);
          bench.left.length = 0;
          for (const part of turned ? parts.toReversed() : parts) bench.frame("from-host", part);
          if (pieces === 0) {
            for (const { direction, at, text, flags } of bench.left) {
              if (direction !== "from-host" || (flags & RST) !== 0) continue;
              // A SYN's number is one less than that of its first byte.
              const first = (flags & SYN) === 0 ? at : at + 1;
              for (let i = 0; i < text.length; i++) {
                // What the receiver has, it throws away.
                if (first + i < acked) continue;
                assert.ok(first + i < bench.got[0].length, `byte ${first + i} was not seen`);
                assert.equal(text[i], bench.got[0][first + i], `byte ${first + i} is another one`);
              }
            }
          }
          if (answer !== undefined) {
            acked = Math.max(acked, Math.min(answer, bench.got[0].length));
            bench.server({ ack: acked });
          }
        }
      },
    ),
    { numRuns: 400 },
  );
});
