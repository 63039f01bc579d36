/**
 * Asks the connection tracking of a lab's host for a test.
 *
 * @module
 */
import { Conntrack, type FlowFilter } from "../../lib/sys/conntrack.ts";
import type { FiveTuple } from "../../lib/pinhole/pinhole.ts";
import { endpointText } from "../../lib/pinhole/pinhole.ts";
import { ipFromBytes } from "../../lib/net/ip.ts";
import { serve } from "../drivers/remote.ts";

const conntrack = new Conntrack();

function filter(t: FiveTuple): FlowFilter {
  return { ...t, source: t.source.bytes, destination: t.destination.bytes };
}

await serve({
  forget: (tuples: FiveTuple[]) => conntrack.forget(tuples.map(filter)),
  list: (tuple: FiveTuple | null) =>
    conntrack.list(tuple === null ? undefined : filter(tuple)).map((flow) => {
      const end = (address: Uint8Array, port: number) => endpointText(ipFromBytes(address), port);
      return `${flow.protocol} ${end(flow.source, flow.sourcePort)} > ${
        end(flow.destination, flow.destinationPort)
      }`;
    }).sort(),
});
