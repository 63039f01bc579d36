import assert from "node:assert/strict";
import fc from "fast-check";
import { CaptureParser, CaptureRecord } from "../../lib/net/capture.ts";
import { demandOf, longestWait, thinned } from "../../lib/net/demand.ts";
import { parseIp } from "../../lib/net/ip.ts";
import { MultiportMeter } from "../../lib/net/multiport.ts";
import { Packet } from "../../lib/net/packet.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";
import { ftpTrace, PUBLISHED } from "./ftp_trace.ts";

function meterOf(bytes: Uint8Array): MultiportMeter {
  const meter = new MultiportMeter();
  const [parser, record, packet] = [new CaptureParser(), new CaptureRecord(), new Packet()];
  parser.push(bytes);
  try {
    while (parser.read(record)) {
      packet.decode(record.data, record.start, record.end, record.linkType);
      meter.packet(packet, record.seconds + record.nanoseconds / 1e9);
    }
  } catch (error) {
    if ((error as Error).name !== "CaptureError") throw error;
  }
  return meter;
}

/** The data connections in Zeek's log: what was agreed on, by whom, in order. */
function zeekRows(log: string): string[] {
  const lines = log.split("\n");
  const fields = lines.find((l) => l.startsWith("#fields"))?.split("\t").slice(1) ?? [];
  const column = (row: readonly string[], name: string) => row[fields.indexOf(name)] ?? "";
  return lines.filter((l) => l !== "" && !l.startsWith("#")).map((l) => l.split("\t")).flatMap(
    (row) => {
      const host = (name: string) => parseIp(column(row, `data_channel.${name}`))?.text;
      const port = column(row, "data_channel.resp_p");
      return port === "-" ? [] : [`${host("orig_h")} > ${host("resp_h")} ${port}`];
    },
  );
}

sharedTest("multiport: the data connections that Zeek logged, exactly", "ni/zeek", (directory) => {
  for (const name of ["ipv4", "ipv6"]) {
    const log = `${directory}/baseline/scripts.base.protocols.ftp.ftp-${name}/ftp.log`;
    const wanted = zeekRows(Deno.readTextFileSync(log));
    assert.ok(wanted.length >= 4);
    const meter = meterOf(Deno.readFileSync(`${directory}/traces/ftp/${name}.pcap`));
    assert.deepEqual(
      meter.pinholes.map((h) => `${h.source.text} > ${h.destination.text} ${h.port}`),
      wanted,
      name,
    );
    assert.ok(meter.pinholes.every((h) => h.used && h.found === "ftp" && h.closed !== undefined));
    assert.equal(meter.controls, 1);
  }
});

sharedTest(
  "multiport: no capture is thrown at, whole or damaged",
  "ni/zeek/traces/ftp",
  (directory) => {
    for (const file of filesBelow(directory, [".pcap"])) {
      const bytes = Deno.readFileSync(file).subarray(0, 20_000);
      fc.assert(
        fc.property(
          fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { maxLength: 40 }),
          (hits) => {
            const damaged = bytes.slice();
            for (const [at, value] of hits) damaged[at < 24 ? 24 : at] = value;
            for (const hole of meterOf(damaged).pinholes) {
              assert.ok(hole.closed === undefined || hole.closed >= hole.opened);
            }
          },
        ),
        { numRuns: 20 },
      );
    }
  },
);

const [ALICE, MALLORY, SERVER] = [[198, 51, 100, 1], [203, 0, 113, 6], [192, 0, 2, 1]] as const;
type HostBytes = readonly [number, number, number, number];
const SYN = 2, ACK = 16, FIN = 1, RST = 4;

/** A conversation: each call is a packet a tenth of a second later. */
class Wire {
  readonly meter: MultiportMeter = new MultiportMeter();
  readonly #packet = new Packet();
  time = 1000;

  tcp(
    source: HostBytes,
    sourcePort: number,
    destination: HostBytes,
    port: number,
    flags: number,
    sequence = 0,
    text = "",
  ): void {
    const frame = new Uint8Array(54 + text.length);
    const view = new DataView(frame.buffer);
    frame.set([8, 0, 0x45, 0, 0, 40 + text.length, 0, 0, 0x40, 0, 64, 6, 0, 0], 12);
    frame.set([...source, ...destination], 26);
    view.setUint16(34, sourcePort);
    view.setUint16(36, port);
    view.setUint32(38, sequence);
    view.setUint16(46, 0x5000 | flags);
    frame.set(new TextEncoder().encode(text), 54);
    this.#send(frame);
  }

  udp(source: HostBytes, sourcePort: number, destination: HostBytes, port: number): void {
    const frame = new Uint8Array(42);
    const view = new DataView(frame.buffer);
    frame.set([8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0], 12);
    frame.set([...source, ...destination], 26);
    view.setUint16(34, sourcePort);
    view.setUint16(36, port);
    view.setUint16(38, 8);
    this.#send(frame);
  }

  /** A whole TCP connection up to its use. */
  connect(source: HostBytes, sourcePort: number, destination: HostBytes, port: number): void {
    this.tcp(source, sourcePort, destination, port, SYN);
    this.tcp(destination, port, source, sourcePort, SYN | ACK);
    this.tcp(source, sourcePort, destination, port, ACK, 1);
  }

  close(source: HostBytes, sourcePort: number, destination: HostBytes, port: number): void {
    this.tcp(source, sourcePort, destination, port, FIN | ACK);
    this.tcp(destination, port, source, sourcePort, FIN | ACK);
    this.tcp(source, sourcePort, destination, port, ACK);
  }

  get holes(): string[] {
    return this.meter.pinholes.map((h) =>
      `${h.found} ${h.protocol} ${h.source.text} > ${h.destination.text}:${h.port}` +
      `${h.used ? "" : " unused"}${h.closed === undefined ? " open" : ""}`
    );
  }

  #send(frame: Uint8Array): void {
    this.time += 0.1;
    this.meter.packet(this.#packet.decode(frame, 0, frame.length), this.time);
  }
}

Deno.test("multiport: connections that follow an encrypted control connection are learned", () => {
  const wire = new Wire();
  wire.connect(ALICE, 40000, SERVER, 990);
  wire.connect(ALICE, 40001, SERVER, 50123);
  wire.connect(SERVER, 989, ALICE, 40002);
  wire.close(ALICE, 40001, SERVER, 50123);
  assert.deepEqual(wire.holes, [
    "learned tcp 198.51.100.1 > 192.0.2.1:50123",
    "learned tcp 192.0.2.1 > 198.51.100.1:40002 open",
  ]);
  const [hole] = wire.meter.pinholes;
  assert.ok(hole !== undefined && hole.closed !== undefined);
  assert.equal(Math.round((hole.closed - hole.opened) * 10), 7);
  assert.equal(wire.meter.controls, 1);
});

Deno.test("multiport: what only looks like an auxiliary connection is not learned", () => {
  const wire = new Wire();
  // Nobody has a control connection yet.
  wire.connect(MALLORY, 40000, SERVER, 8080);
  wire.connect(ALICE, 40000, SERVER, 990);
  // A service that others use; the control connection's own port; a low port.
  wire.connect(ALICE, 40001, SERVER, 8080);
  wire.connect(ALICE, 40002, SERVER, 990);
  wire.connect(ALICE, 40003, SERVER, 443);
  // A late packet of a connection that ended; one that was there before the capture.
  wire.close(ALICE, 40003, SERVER, 443);
  wire.tcp(SERVER, 443, ALICE, 40003, ACK);
  wire.tcp(ALICE, 40004, SERVER, 50000, ACK);
  wire.tcp(SERVER, 50001, ALICE, 40005, RST);
  // Another host's control connection does not count.
  wire.connect(MALLORY, 40001, SERVER, 990);
  wire.connect([203, 0, 113, 7], 40002, SERVER, 50002);
  assert.deepEqual(wire.holes, []);
});

Deno.test("multiport: a control connection's end ends what can be learned, and silence is an end", () => {
  const wire = new Wire();
  wire.connect(ALICE, 40000, SERVER, 990);
  wire.close(ALICE, 40000, SERVER, 990);
  wire.connect(ALICE, 40001, SERVER, 50000);
  assert.deepEqual(wire.holes, []);
  // Control over UDP, data over TCP and UDP, as high performance transfers have it.
  wire.time += 1e6;
  wire.udp(ALICE, 41000, SERVER, 46224);
  wire.udp(SERVER, 46224, ALICE, 41000);
  wire.connect(ALICE, 41001, SERVER, 51000);
  wire.udp(SERVER, 46225, ALICE, 41002);
  assert.deepEqual(wire.holes, [
    "learned tcp 198.51.100.1 > 192.0.2.1:51000 open",
    "learned udp 192.0.2.1 > 198.51.100.1:41002 open",
  ]);
  const last = wire.time;
  wire.time += 200;
  wire.udp(MALLORY, 1, SERVER, 53);
  assert.deepEqual(wire.holes, [
    "learned tcp 198.51.100.1 > 192.0.2.1:51000 open",
    "learned udp 192.0.2.1 > 198.51.100.1:41002",
  ]);
  assert.equal(wire.meter.pinholes[1]?.closed, last);
});

Deno.test("multiport: what FTP agrees on closes when nobody comes for it", () => {
  const wire = new Wire();
  wire.connect(ALICE, 40000, SERVER, 21);
  let [asked, told] = [1, 1];
  const ask = (text: string) => {
    wire.tcp(ALICE, 40000, SERVER, 21, ACK, asked, `${text}\r\n`);
    asked += text.length + 2;
  };
  const tell = (text: string) => {
    wire.tcp(SERVER, 21, ALICE, 40000, ACK, told, `${text}\r\n`);
    told += text.length + 2;
  };
  ask("PASV");
  // A server behind NAT names its inner address.
  tell("227 Entering Passive Mode (10,0,0,1,195,80)");
  ask("EPSV");
  tell("229 Entering Extended Passive Mode (|||50001|)");
  ask("PORT 198,51,100,1,195,82");
  tell("200 ok");
  tell("425 Cannot open data connection.");
  ask("EPRT |1|198.51.100.1|50003|");
  assert.deepEqual(wire.holes, [
    "ftp tcp 198.51.100.1 > 192.0.2.1:50000 unused",
    "ftp tcp 198.51.100.1 > 192.0.2.1:50001 unused",
    "ftp tcp 192.0.2.1 > 198.51.100.1:50002 unused",
    "ftp tcp 192.0.2.1 > 198.51.100.1:50003 unused open",
  ]);
  wire.connect(SERVER, 20, ALICE, 50003);
  wire.tcp(ALICE, 40000, SERVER, 21, RST, asked);
  assert.deepEqual(wire.holes.slice(3), ["ftp tcp 192.0.2.1 > 198.51.100.1:50003 open"]);
  wire.tcp(ALICE, 50003, SERVER, 20, RST);
  assert.deepEqual(wire.holes.slice(3), ["ftp tcp 192.0.2.1 > 198.51.100.1:50003"]);
});

Deno.test("multiport: the synthetic trace has the published statistics, and all of it is found", () => {
  const scale = 0.02;
  const meter = new MultiportMeter();
  const packet = new Packet();
  const [servers, clients] = [new Set<number>(), new Set<number>()];
  let [frames, last] = [0, 0];
  for (const { time, frame } of ftpTrace({ scale, seed: 7 })) {
    assert.ok(time >= last, "not in order of time");
    last = time;
    frames++;
    packet.decode(frame, 0, frame.length);
    if (packet.destinationPort === 21) {
      servers.add(packet.destination4);
      clients.add(packet.source4);
    }
    meter.packet(packet, time);
  }
  const scaled = (value: number) => Math.round(value * scale);
  assert.equal(frames, scaled(PUBLISHED.packets));
  assert.equal(meter.controls, scaled(PUBLISHED.controls));
  assert.equal(meter.pinholes.length, scaled(PUBLISHED.data));
  assert.equal(servers.size, scaled(PUBLISHED.servers));
  assert.equal(clients.size, scaled(PUBLISHED.clients));
  assert.ok(meter.pinholes.every((h) => h.used && h.found === "ftp" && h.closed !== undefined));
  // The sessions are spread over the time; the last may go on a little longer.
  assert.ok(last > 0.9 * PUBLISHED.seconds * scale && last < 1.5 * PUBLISHED.seconds * scale);
});

Deno.test("multiport: another seed is another trace, the same is the same", () => {
  const head = (seed: number) => {
    const bytes: number[] = [];
    let count = 0;
    for (const { frame } of ftpTrace({ scale: 0.0005, seed })) {
      bytes.push(...frame);
      if (++count === 200) break;
    }
    return bytes;
  };
  assert.deepEqual(head(1), head(1));
  assert.notDeepEqual(head(1), head(2));
});

Deno.test("demand: levels, rates and waiting are counted exactly", () => {
  const holes = [
    { opened: 10, closed: 20 },
    { opened: 12.2, closed: 12.4 },
    { opened: 12.3, closed: undefined },
    { opened: 20, closed: 30 },
  ];
  assert.deepEqual(demandOf(holes, 10, 30), {
    pinholes: 4,
    most_open: 3,
    mean_open: Number(((10 + 0.2 + 17.7 + 10) / 20).toPrecision(4)),
    updates: 7,
    most_updates_per_second: 3,
    p99_updates_per_second: 3,
    mean_updates_per_second: 0.35,
  });
  assert.equal(longestWait(holes, 2), 1.3);
  assert.equal(longestWait(holes, 1000), 0.002);
  assert.equal(longestWait([], 1), 0);
  assert.equal(demandOf([], 0, 0).most_open, 0);
});

Deno.test("demand: a thinned series keeps its peaks", () => {
  const points = fc.array(fc.tuple(fc.integer({ min: 0, max: 10_000 }), fc.nat(100)), {
    minLength: 1,
    maxLength: 500,
  });
  fc.assert(fc.property(points, fc.integer({ min: 1, max: 50 }), (series, most) => {
    const sorted = series.toSorted((a, b) => a[0] - b[0]);
    const thin = thinned(sorted, most);
    assert.ok(thin.length <= most);
    assert.equal(Math.max(...thin.map(([, y]) => y)), Math.max(...sorted.map(([, y]) => y)));
    assert.ok(thin.every(([x, y]) => sorted.some(([a, b]) => a === x && b === y)));
  }));
});
