/**
 * A pinhole as a line of JSON, as the shared ledger has it.
 *
 * @module
 */
import { z } from "zod";
import { parseIp } from "../net/ip.ts";
import type { Pinhole } from "../pinhole/pinhole.ts";

const row = z.object({
  id: z.int().min(1),
  protocol: z.enum(["tcp", "udp"]),
  source: z.string(),
  sourcePort: z.int(),
  destination: z.string(),
  destinationPort: z.int(),
  requester: z.object({
    delegate: z.string(),
    user: z.string(),
    uid: z.int(),
    pid: z.int(),
    program: z.string(),
  }),
  rule: z.string(),
  requestedAt: z.number(),
  expiresAt: z.number().optional(),
  idle: z.number().optional(),
  origin: z.object({ broker: z.string(), boot: z.string(), key: z.string(), cookie: z.string() })
    .optional(),
});

/** Makes the line. */
export function pinholeText(p: Pinhole): string {
  const { tuple: t, requester: r, origin } = p;
  return JSON.stringify({
    id: p.id,
    protocol: t.protocol,
    source: t.source.text,
    sourcePort: t.sourcePort,
    destination: t.destination.text,
    destinationPort: t.destinationPort,
    requester: { delegate: r.delegate, user: r.user, uid: r.uid, pid: r.pid, program: r.program },
    rule: p.rule,
    requestedAt: p.requestedAt,
    expiresAt: p.expiresAt,
    idle: p.idle,
    ...(origin === undefined ? {} : { origin: { ...origin, cookie: String(origin.cookie) } }),
  });
}

/**
 * Reads the line.
 *
 * @throws {Error} when it makes no sense: the ledger is kept for repair.
 */
export function readPinholeText(text: string): Pinhole {
  const v = row.parse(JSON.parse(text));
  const source = parseIp(v.source);
  const destination = parseIp(v.destination);
  if (source === undefined || destination === undefined) {
    throw new Error(`Cannot read pinhole ${v.id} from the shared ledger: bad address`);
  }
  return {
    id: v.id,
    tuple: {
      protocol: v.protocol,
      source,
      sourcePort: v.sourcePort,
      destination,
      destinationPort: v.destinationPort,
    },
    requester: { ...v.requester, pidStart: 0n },
    cookie: 0n,
    rule: v.rule,
    state: "open",
    requestedAt: v.requestedAt,
    openedAt: v.requestedAt,
    expiresAt: v.expiresAt,
    idle: v.idle,
    packets: 0,
    bytes: 0,
    activeAt: performance.now(),
    leasedUntil: 0,
    ...(v.origin === undefined ? {} : { origin: { ...v.origin, cookie: BigInt(v.origin.cookie) } }),
  };
}
