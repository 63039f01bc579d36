import assert from "node:assert/strict";
import { parsePacket } from "./capture.ts";
import { parseSockets } from "./sockets.ts";

Deno.test("capture: lines of tcpdump become packets, IPv4 and IPv6, TCP and UDP", () => {
  assert.deepEqual(
    parsePacket(
      "1795305514.225622 IP 198.51.100.10.37308 > 192.0.2.10.8000: Flags [S], seq 1, length 0",
    ),
    {
      time: 1795305514225.622,
      source: "198.51.100.10",
      sourcePort: 37308,
      destination: "192.0.2.10",
      destinationPort: 8000,
      flags: "S",
    },
  );
  const answer = parsePacket(
    "1.000000 IP6 2001:db8:3::10.80 > 2001:db8:1::10.43334: Flags [S.], seq 0, ack 1, length 0",
  );
  assert.equal(answer?.source, "2001:db8:3::10");
  assert.equal(answer?.destinationPort, 43334);
  assert.equal(answer?.flags, "S.");
  const datagram = parsePacket("1.5 IP 192.0.2.1.6969 > 192.0.2.2.40000: UDP, length 516");
  assert.equal(datagram?.sourcePort, 6969);
  assert.equal(datagram?.flags, "");
});

Deno.test("capture: lines that are no TCP or UDP packets are left out", () => {
  for (
    const line of [
      "1.5 ARP, Request who-has 192.0.2.1 tell 192.0.2.2, length 28",
      "1.5 IP 192.0.2.1 > 192.0.2.2: ICMP echo request, id 1, seq 1, length 64",
      "",
    ]
  ) assert.equal(parsePacket(line), undefined, line);
});

Deno.test("sockets: rows of /proc/net/tcp and tcp6 are read, headers are not", () => {
  const text =
    `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0A0200C0:0015 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100
   1: 00000000000000000000000000000000:C350 00000000000000000000000000000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1
`;
  assert.deepEqual(parseSockets(text), [
    { family: 4, localPort: 21, remotePort: 0, listening: true, inode: 4711 },
    { family: 6, localPort: 50000, remotePort: 0, listening: false, inode: 4712 },
  ]);
});
