/**
 * A scanner for the benchmark: looks into every frame, and tells of connections to one port. Its argument: `read` or
 * `contain`.
 *
 * @module
 */
import { Packet, TCP } from "../../../lib/net/packet.ts";
import { runScanner } from "../../../niapp/sdk/mod.ts";

const right = Deno.args[0] === "contain" ? "contain" : "read";
const packet = new Packet();

runScanner({
  name: "bench",
  start: (ni) => void ni.subscribe("", right),
  subscribed: () => void Deno.stderr.writeSync(new TextEncoder().encode("subscribed\n")),
  frame(frame, ni) {
    const p = packet.decode(frame.data, frame.start, frame.end, 1);
    if (!p.isTcp || p.destinationPort !== 23 || (p.tcpFlags & TCP.SYN) === 0) return "pass";
    ni.alert({ signature: "telnet" }, [frame.number]);
    return "pass";
  },
});
