/**
 * A million connections through a table of shadows, one after the other and many at once, with a scanner that passes, cuts and
 * kills in turns: prints what is left in memory now and then, and fails when it grows.
 *
 *   deno run --allow-all --v8-flags=--expose-gc scripts/streams_soak.ts [CONNECTIONS]
 *
 * @module
 */
import { TCP } from "../lib/net/packet.ts";
import { Bench } from "../tests/ni/stream/bench_table.ts";

const count = Number(Deno.args[0] ?? 1_000_000);
const { SYN, ACK, FIN, RST } = TCP;
/** Connections that are open at a time. */
const AT_ONCE = 1000;
/** Megabytes by which the heap may differ. */
const SLACK = 8;
const { gc } = globalThis as { gc?: () => void };
if (gc === undefined) throw new Error("run it with --v8-flags=--expose-gc");

const bench = new Bench("contain", {}, true);

/** One connection, from its handshake to one of three ends. */
function connect(i: number): void {
  const ports = [1024 + i % 60_000, 25] as const;
  bench.got[0] = "";
  bench.got[1] = "";
  bench.passing = i % 3 === 0;
  bench.client({ at: -1, flags: SYN, ports, options: [2, 4, 5, 180] });
  bench.server({ at: -1, flags: SYN | ACK, ports, options: [2, 4, 5, 180] });
  bench.client({ text: "good evening", ports });
  if (i % 3 === 1) bench.entry.connection.kill();
  if (i % 3 === 2) {
    const { connection, subscription } = bench.entry;
    connection.cut(subscription, 0, 0, 5);
    connection.pass(subscription, 0, Number.MAX_SAFE_INTEGER, false);
    connection.pass(subscription, 1, Number.MAX_SAFE_INTEGER, false);
    bench.server({ ack: 7, ports });
  }
  bench.left.length = 0;
  bench.alerts.length = 0;
}

/** Ends the connection that was made so many before. */
function close(i: number): void {
  const ports = [1024 + i % 60_000, 25] as const;
  if (i % 6 < 3) {
    bench.client({ at: 12, ports, flags: RST });
  } else {
    const ack = i % 3 === 2 ? 7 : 12;
    bench.server({ ack, ports, flags: ACK | FIN });
    bench.client({ at: 12, ack: 1, ports, flags: ACK | FIN });
    bench.server({ at: 1, ack: ack + 1, ports });
  }
  bench.left.length = 0;
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

let settled: number | undefined;
let most = 0;
for (let i = 0; i < count + AT_ONCE; i++) {
  if (i < count) connect(i);
  if (i >= AT_ONCE) close(i - AT_ONCE);
  if (i % 500 === 0) bench.wait(1000);
  most = Math.max(most, bench.table.size);
  if (i === 0 || i % Math.ceil(count / 10) !== 0) continue;
  gc();
  const heap = Deno.memoryUsage().heapUsed / 1024 / 1024;
  print(
    `${i} connections: ${bench.table.size} remembered, ${bench.table.bytes} bytes held, ${
      heap.toFixed(0)
    } MB`,
  );
  // Over what is remembered of the first ones, for a while, nothing may be added.
  if (i * 5 < count) continue;
  settled ??= heap;
  if (heap > settled + SLACK) throw new Error(`memory grew from ${settled} MB to ${heap} MB`);
}
for (let i = 0; i < 20; i++) bench.wait(31_000);
print(
  `${count} connections, at most ${most} remembered; left: ${bench.table.size} connections, ${bench.table.bytes} bytes`,
);
if (bench.table.size > 0 || bench.table.bytes > 0) throw new Error("something is left");
