/**
 * The options that all enforcers of a Linux host have in common, as a schema for configurations.
 *
 * @module
 */
import { z } from "zod";

const interfaces = z.array(
  z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}$/, {
    error: "expected the name of a network interface",
  }),
);

/** A port such as `tcp/21` (also as an object with protocol and port). */
const openPort = z.union([
  z.string().regex(/^(tcp|udp)\/[1-9][0-9]{0,4}$/, {
    error: 'expected a protocol and port such as "tcp/21"',
  }).transform((text) => ({
    protocol: text.slice(0, 3) as "tcp" | "udp",
    port: Number(text.slice(4)),
  })),
  z.strictObject({ protocol: z.enum(["tcp", "udp"]), port: z.int() }),
]).refine(({ port }) => port >= 1 && port <= 65535, {
  error: "expected a port between 1 and 65535",
});

/** The fields of the schema. */
export const HOST_OPTIONS = {
  /** `input` guards this host, `forward` what it forwards. */
  hooks: z.array(z.enum(["input", "forward"])).min(1).optional(),
  /** With `forward`: the interfaces to the outside, or ... */
  outside: interfaces.optional(),
  /** ... those to the inside. */
  inside: interfaces.optional(),
  /** Pinholes for each address family. */
  capacity: z.int().min(1).max(100_000_000).optional(),
  /** Control ports, open to all. */
  open_ports: z.array(openPort).optional(),
  /** Answer pings from outside. */
  allow_ping: z.boolean().optional(),
  /** Let answers of DHCP servers in. */
  allow_dhcp: z.boolean().optional(),
} as const;

/** Options as drivers take them: the same, with names as in TypeScript. */
export function driverOptions(checked: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(
    Object.entries(checked).map(([key, value]) => [
      key.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      value,
    ]),
  );
}
