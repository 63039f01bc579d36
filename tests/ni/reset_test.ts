import assert from "node:assert/strict";
import { Packet, TCP } from "../../lib/net/packet.ts";
import { resetFrame } from "../../lib/ni/reset.ts";
import { frame } from "../niapp/frames.ts";

const pairs = [["192.0.2.1", "198.51.100.2"], ["2001:db8::1", "2001:db8:9::2"]] as const;

function reset(bytes: Uint8Array, back: boolean): Packet | undefined {
  const out = resetFrame(new Packet().decode(bytes, 0, bytes.length), back);
  if (out === undefined) return undefined;
  const p = new Packet().decode(out, 0, out.length);
  assert.equal(p.malformed, "none");
  assert.ok(p.networkChecksumHolds() && p.transportChecksumHolds());
  return p;
}

for (const [source, destination] of pairs) {
  const spec = { source, destination, sourcePort: 4000, destinationPort: 80, sequence: 0xffffffff };

  Deno.test(`resetFrame: back to the sender of a SYN, acceptable by what it acknowledges, ${source}`, () => {
    const p = reset(frame({ ...spec, flags: TCP.SYN }), true);
    assert.equal(p?.tcpFlags, TCP.RST | TCP.ACK);
    assert.equal(p.acknowledgement, 0);
    assert.deepEqual([p.source().text, p.destination().text], [destination, source]);
    assert.deepEqual([p.sourcePort, p.destinationPort], [80, 4000]);
  });

  Deno.test(`resetFrame: on to the receiver, with the sequence number that it expects, ${source}`, () => {
    const p = reset(frame({ ...spec, flags: TCP.ACK, payload: new Uint8Array(9) }), false);
    assert.equal(p?.tcpFlags, TCP.RST);
    assert.equal(p.sequence, 8);
    assert.deepEqual([p.source().text, p.destination().text], [source, destination]);
  });
}

Deno.test("resetFrame: resets and other protocols are not answered", () => {
  const [source, destination] = pairs[0];
  const spec = { source, destination, destinationPort: 80 };
  assert.equal(reset(frame({ ...spec, flags: TCP.RST }), true), undefined);
  assert.equal(reset(frame(spec), true), undefined);
});
