/** What enters a stream and what does not; what the receiver gets when somebody lies. */
import assert from "node:assert/strict";
import { TCP } from "../../../lib/net/packet.ts";
import { libpcapVersion } from "../../../lib/sys/libpcap.ts";
import { Bench, build, fragments } from "./bench_table.ts";

// Loaded here, since a test that loads a library looks like one that leaks it.
libpcapVersion();

const { FIN, SYN, RST, PSH, ACK, URG } = TCP;

/** An evasion: what is sent, what a reader must see, and what is told. */
function evasion(
  name: string,
  alert: string | undefined,
  lie: (bench: Bench) => void,
  stamp = false,
): void {
  for (const interest of ["read", "contain"] as const) {
    Deno.test(`streams, ${interest}: ${name}`, () => {
      const bench = new Bench(interest, {}, true);
      bench.open(stamp);
      lie(bench);
      assert.equal(bench.got[0], "good");
      if (alert !== undefined) assert.ok(bench.alerts.includes(alert), bench.alerts.join());
      // Of a contained connection, the receiver gets nothing but what the scanner has seen.
      if (interest === "contain") assert.deepEqual(bench.texts("from-host"), ["good"]);
    });
  }
}

evasion(
  "a segment outside of the window does not enter",
  "segment outside of the window",
  (bench) => {
    bench.client({ at: 20_000, text: "evil" });
    bench.client({ text: "good" });
  },
);

evasion("a wrong checksum does not enter", "wrong checksum", (bench) => {
  bench.client({ text: "evil", badChecksum: true });
  bench.client({ text: "good" });
});

evasion("a low hop limit does not enter", "hop limit too low to arrive", (bench) => {
  bench.client({ text: "evil", ttl: 3 });
  bench.client({ text: "good" });
});

evasion("what PAWS rejects does not enter", "time stamp of the past", (bench) => {
  bench.client({ text: "evil", stamp: [50, 100] });
  bench.client({ text: "good", stamp: [102, 100] });
}, true);

evasion(
  "bytes without an acknowledgement do not enter",
  "bytes without an acknowledgement",
  (bench) => {
    bench.client({ text: "evil", flags: PSH });
    bench.client({ text: "good" });
  },
);

evasion("bytes behind the end do not enter", "bytes behind the end of a stream", (bench) => {
  bench.client({ text: "good", flags: ACK | FIN });
  bench.client({ at: 4, text: "evil" });
});

evasion("RST outside of the window ends nothing", "RST outside of the window", (bench) => {
  bench.client({ at: 20_000, flags: RST });
  bench.client({ text: "good" });
});

Deno.test("streams: RST in the window but not at its beginning ends nothing; the exact one does", () => {
  const bench = new Bench("contain", {}, true);
  bench.open();
  bench.client({ at: 7, flags: RST });
  bench.client({ text: "good" });
  assert.equal(bench.closedBy, undefined);
  bench.client({ at: 4, flags: RST });
  assert.equal(bench.closedBy, "reset");
  bench.client({ at: 4, text: "evil" });
  assert.deepEqual(bench.texts("from-host"), ["good"]);
});

Deno.test("streams: segments that contradict each other, the first wins, on the wire as well", () => {
  const bench = new Bench("contain", {}, true);
  bench.open();
  bench.client({ text: "good" });
  bench.client({ text: "evil!" });
  assert.equal(bench.got[0], "good!");
  assert.deepEqual(bench.texts("from-host"), ["good", "good!"]);
  assert.ok(bench.left.every(({ sound }) => sound));
  assert.ok(bench.alerts.includes("segments that contradict each other"));
});

Deno.test("streams: out of order and contradicting, first and last wins", () => {
  for (const [overlap, want] of [["first", "xgood"], ["last", "xevil"]] as const) {
    const bench = new Bench("contain", { overlap }, true);
    bench.open();
    bench.client({ at: 1, text: "good" });
    bench.client({ at: 1, text: "evil" });
    bench.client({ text: "x" });
    assert.equal(bench.got[0], want);
    const sent = bench.left.filter(({ text }) => text !== "").sort((a, b) => a.at - b.at);
    for (const { at, text } of sent) assert.equal(want.slice(at, at + text.length), text);
    assert.ok(bench.left.every(({ sound }) => sound));
  }
});

Deno.test("streams: bytes that were acknowledged cannot be changed any more", () => {
  const bench = new Bench("contain", {}, true);
  bench.open();
  bench.client({ text: "good" });
  bench.server({ ack: 4 });
  bench.client({ text: "evil" });
  assert.equal(bench.got[0], "good");
});

Deno.test("streams: an acknowledgement of what was not sent is not believed", () => {
  const bench = new Bench("contain", {}, true);
  bench.open();
  bench.server({ ack: 5000 });
  assert.deepEqual(bench.left, []);
  assert.ok(bench.alerts.includes("acknowledgement of what was not sent"));
});

Deno.test("streams: what comes before its turn waits, and the sender is told", () => {
  const bench = new Bench("contain", {}, true);
  bench.open();
  bench.client({ at: 4, text: "bye" });
  assert.equal(bench.got[0], "");
  assert.deepEqual(bench.left.map(({ direction, ack, flags }) => [direction, ack, flags]), [
    ["to-host", 0, ACK],
  ]);
  bench.client({ text: "good" });
  assert.equal(bench.got[0], "goodbye");
  assert.deepEqual(bench.texts("from-host").sort(), ["bye", "good"]);
});

Deno.test("streams: of what is only read everything goes on at once, untouched", () => {
  const bench = new Bench("read");
  bench.open();
  const frames = [
    build("from-host", { at: 4, text: "bye" }),
    build("from-host", { text: "evil", badChecksum: true }),
    build("from-host", { text: "good" }),
  ];
  for (const frame of frames) bench.frame("from-host", frame);
  assert.deepEqual(bench.left.map(({ bytes }) => bytes), frames);
  assert.equal(bench.got[0], "goodbye");
});

Deno.test("streams: bytes that the receiver has and nobody saw are a gap for who only reads", () => {
  const bench = new Bench("read");
  bench.open();
  bench.client({ text: "good" });
  bench.client({ at: 10, text: "bye" });
  bench.server({ ack: 13 });
  assert.equal(bench.got[0], "goodbye");
  assert.deepEqual(bench.gaps, [6]);
});

Deno.test("streams: bytes in a SYN come again in a segment when they are to be decided about", () => {
  const bench = new Bench("contain", {}, true);
  bench.client({ at: -1, flags: SYN, text: "good" });
  assert.deepEqual(bench.texts("from-host"), []);
  assert.ok(bench.left[0]?.sound);
  bench.server({ at: -1, flags: SYN | ACK });
  bench.client({ text: "good" });
  assert.equal(bench.got[0], "good");
  const reading = new Bench("read");
  reading.client({ at: -1, flags: SYN, text: "go" });
  reading.server({ at: -1, flags: SYN | ACK, ack: 2 });
  reading.client({ at: 2, text: "od" });
  assert.equal(reading.got[0], "good");
});

Deno.test("streams: urgent bytes stay where the scanner saw them", () => {
  const bench = new Bench("contain", {}, true);
  bench.open();
  bench.client({ text: "good", flags: ACK | URG, urgent: 2 });
  assert.equal(bench.got[0], "good");
  assert.deepEqual(bench.left.map(({ flags, sound }) => [flags & URG, sound]), [[0, true]]);
  const keeping = new Bench("contain", { urgent: "keep" }, true);
  keeping.open();
  keeping.client({ text: "good", flags: ACK | URG, urgent: 2 });
  assert.equal((keeping.left[0]?.flags ?? 0) & URG, URG);
});

Deno.test("streams: both open at once", () => {
  const bench = new Bench("contain", {}, true);
  bench.client({ at: -1, flags: SYN });
  bench.server({ at: -1, flags: SYN });
  bench.client({ at: -1, flags: SYN | ACK });
  bench.server({ at: -1, flags: SYN | ACK });
  bench.client({ text: "good" });
  bench.server({ text: "evening", ack: 4 });
  assert.deepEqual(bench.got, ["good", "evening"]);
});

Deno.test("streams: picked up in the middle", () => {
  const bench = new Bench("contain", {}, true);
  bench.server({ at: 5000, text: "good", ack: 700 });
  bench.client({ at: 700, text: "evening", ack: 5004 });
  assert.equal(bench.opened, 1);
  assert.deepEqual(bench.got, ["evening", "good"]);
  assert.deepEqual(bench.texts("to-host"), ["good"]);
});

Deno.test("streams: keep-alives and probes of a closed window go on, and enter nothing twice", () => {
  const bench = new Bench("contain", {}, true);
  bench.open();
  bench.client({ text: "good" });
  bench.server({ ack: 4, window: 0 });
  bench.left.length = 0;
  bench.client({ at: 3, text: "d" }); // a keep-alive with a byte
  bench.client({ at: 3 }); // and one without
  bench.client({ at: 4, text: "b" }); // a probe
  assert.equal(bench.left.length, 3);
  bench.server({ ack: 5 });
  bench.client({ at: 5, text: "ye" });
  assert.equal(bench.got[0], "goodbye");
});

Deno.test("streams: half closed, the other direction goes on", () => {
  const bench = new Bench("contain", {}, true);
  bench.open();
  bench.client({ text: "good", flags: ACK | FIN });
  bench.server({ ack: 5, text: "evening" });
  assert.deepEqual(bench.ended, [true, false]);
  bench.server({ at: 7, ack: 5, flags: ACK | FIN });
  assert.equal(bench.closedBy, undefined);
  bench.client({ at: 5, ack: 8 });
  assert.equal(bench.closedBy, "closed");
  assert.deepEqual(bench.got, ["good", "evening"]);
});

Deno.test("streams: fragments are put together, whatever their order, and go on as they came", () => {
  for (const turned of [false, true]) {
    const bench = new Bench("contain", {}, true);
    bench.open();
    const parts = fragments(build("from-host", { text: "good evening, this is long" }), 16);
    for (const part of turned ? parts.toReversed() : parts) bench.frame("from-host", part);
    assert.equal(bench.got[0], "good evening, this is long");
    assert.deepEqual(bench.left.map(({ bytes }) => bytes), parts);
  }
});

Deno.test("streams: fragments that overlap do not enter", () => {
  const bench = new Bench("contain", {}, true);
  bench.open();
  const parts = fragments(build("from-host", { text: "good evening, this is long" }), 16);
  const other = (parts[1] as Uint8Array<ArrayBuffer>).slice();
  other[40] = 0x21;
  bench.frame("from-host", parts[1] as Uint8Array);
  bench.frame("from-host", other);
  bench.frame("from-host", parts[0] as Uint8Array);
  bench.frame("from-host", parts[2] as Uint8Array);
  assert.equal(bench.got[0], "");
  assert.deepEqual(bench.left, []);
});

Deno.test("streams: the same addresses and ports again are a new connection", () => {
  const bench = new Bench("contain", {}, true);
  bench.open();
  bench.client({ flags: RST });
  bench.open();
  bench.client({ text: "good" });
  assert.equal(bench.opened, 2);
  assert.equal(bench.got[0], "good");
});

Deno.test("streams: killed, both ends are told, and told again when they have not heard", () => {
  const bench = new Bench("contain");
  bench.open();
  bench.client({ text: "evil" });
  bench.entry.connection.kill();
  assert.equal(bench.closedBy, "killed");
  const resets = bench.left.filter(({ flags }) => (flags & RST) !== 0);
  assert.deepEqual(
    new Set(resets.map(({ direction }) => direction)),
    new Set(["from-host", "to-host"]),
  );
  assert.deepEqual(resets.map(({ direction, at }) => [direction, at]), [["from-host", 0], [
    "to-host",
    0,
  ]]);
  bench.left.length = 0;
  bench.client({ text: "evil", ack: 9 });
  assert.deepEqual(bench.left.map(({ direction, flags, at }) => [direction, flags & RST, at]), [
    ["to-host", RST, 9],
  ]);
  assert.ok(bench.left.every(({ sound }) => sound));
});

Deno.test("streams: many small cuts are told of", () => {
  const bench = new Bench("contain");
  bench.open();
  bench.client({ text: "do not send the money to me" });
  const { connection, subscription } = bench.entry;
  for (let i = 0; i < 8; i++) connection.cut(subscription, 0, i * 3, 1);
  assert.ok(bench.alerts.includes("many small cuts in one connection"));
});

Deno.test("streams: what was passed cannot be cut", () => {
  const bench = new Bench("contain");
  bench.open();
  bench.client({ text: "good" });
  bench.pass(0, 3);
  const { connection, subscription } = bench.entry;
  assert.match(connection.cut(subscription, 0, 2, 2) ?? "", /though it passed/);
  assert.match(connection.inject(subscription, 0, 2, Uint8Array.of(1)) ?? "", /though it passed/);
});

Deno.test("streams: a cut is acknowledged with what is before it, an injection is answered by the kernel", () => {
  const bench = new Bench("contain");
  bench.open();
  bench.client({ text: "abcdef" });
  const { connection, subscription } = bench.entry;
  connection.inject(subscription, 0, 2, new TextEncoder().encode("XYZ"));
  connection.cut(subscription, 0, 2, 4);
  bench.pass(0, 6);
  assert.deepEqual(bench.texts("from-host"), ["abXYZ"]);
  // Part of the injection is there: for the sender that is nothing.
  bench.left.length = 0;
  bench.server({ ack: 3 });
  assert.deepEqual(bench.left.map(({ direction, ack }) => [direction, ack]), [["to-host", 2]]);
  bench.server({ ack: 5 });
  assert.equal(bench.left.at(-1)?.ack, 6);
  // Lost on the way: the kernel sends it again by itself, and later each time.
  bench.client({ at: 6, text: "g" });
  bench.pass(0, 7);
  bench.left.length = 0;
  bench.wait(3000);
  bench.wait(3000);
  assert.deepEqual(bench.texts("from-host"), ["g", "g"]);
  // Sent again by the sender: answered from what the kernel has.
  bench.left.length = 0;
  bench.client({ at: 2, text: "evil" });
  assert.ok(bench.texts("from-host").every((text) => text === "g"));
});

Deno.test("streams: who does not decide is told of, unless it waits for more", () => {
  const bench = new Bench("contain");
  bench.open();
  bench.client({ text: "good" });
  const { connection, subscription } = bench.entry;
  connection.more(subscription, 0, 10);
  bench.wait(60_000);
  assert.deepEqual(bench.alerts, []);
  bench.client({ at: 4, text: "evening" });
  bench.wait(4000);
  assert.equal(bench.late, 0);
  bench.wait(4000);
  assert.ok(bench.late > 0);
});

Deno.test("streams: more cannot be waited for when the sender has ended", () => {
  const bench = new Bench("contain");
  bench.open();
  bench.client({ text: "good", flags: ACK | FIN });
  bench.entry.connection.more(bench.entry.subscription, 0, 10);
  bench.wait(4000);
  assert.equal(bench.late, 0);
  bench.wait(4000);
  assert.ok(bench.late > 0);
});

Deno.test("streams: memory of one connection and of all is bounded, and nothing is lost by that", () => {
  const bench = new Bench("contain", { bytes: 1024 * 1024, streamBytes: 256 * 1024 });
  bench.open();
  const text = "x".repeat(1000);
  let at = 0;
  for (let i = 0; i < 4000; i++) {
    bench.client({ at, text });
    bench.server({ ack: 0, window: 65_535 });
    if (bench.got[0].length > at) at = bench.got[0].length;
  }
  assert.ok(bench.table.bytes <= 1024 * 1024);
  assert.ok(at > 50_000 && at < 1_400_000, `${at}`);
});

Deno.test("streams: half-open connections are given up first, and old ones in time", () => {
  const bench = new Bench("contain", { connections: 100 }, true);
  bench.open();
  for (let i = 0; i < 1000; i++) bench.client({ at: -1, flags: SYN, ports: [1000 + i, 25] });
  assert.ok(bench.table.size <= 100);
  bench.client({ text: "good" });
  assert.equal(bench.got[0], "good");
  bench.wait(31_000);
  bench.wait(31_000);
  assert.equal(bench.table.size, 1);
  bench.wait(3 * 3600_000);
  assert.equal(bench.table.size, 0);
  assert.equal(bench.closedBy, "timeout");
});

Deno.test("streams: nothing is left of connections that are over", () => {
  const bench = new Bench("contain", {}, true);
  for (let i = 0; i < 3000; i++) {
    const ports = [1024 + i % 50_000, 25] as const;
    bench.client({ at: -1, flags: SYN, ports });
    bench.server({ at: -1, flags: SYN | ACK, ports });
    bench.client({ text: "good", ports });
    bench.server({ ack: 4, flags: ACK | FIN, ports });
    bench.client({ at: 4, ack: 1, flags: ACK | FIN, ports });
    bench.server({ at: 1, ack: 5, ports });
    bench.left.length = 0;
    if (i % 100 === 0) bench.wait(1000);
  }
  assert.equal(bench.table.bytes, 0);
  bench.wait(16_000);
  bench.wait(16_000);
  assert.equal(bench.table.size, 0);
  assert.equal(bench.table.counters.open, 0);
});
