/**
 * Kinds of values that stand in more than one configuration file.
 *
 * @module
 */
import { z } from "zod";
import { type IpRange, parseIp, prefixRange } from "../net/ip.ts";

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400 };

/** A time, in seconds. */
export const duration: z.ZodType<number, string> = z.string().regex(
  /^([1-9][0-9]{0,8})(s|m|h|d)$/,
  {
    error: 'expected a time such as "30s", "10m", "1h" or "7d"',
  },
).transform((text) => Number(text.slice(0, -1)) * (UNITS[text.slice(-1)] as number));

/** A time in seconds, or none. */
export const durationOrNone: z.ZodType<number, string> = z.union([
  z.literal("0s").transform(() => 0),
  duration,
]);

/** An absolute path. */
export const absolutePath: z.ZodType<string, string> = z.string().regex(/^\/[^\0]*$/, {
  error: "expected an absolute path",
});

/** The name of a network interface. */
export const interfaceName: z.ZodType<string, string> = z.string().regex(
  /^[A-Za-z0-9_.@-]{1,15}$/,
  {
    error: "expected the name of a network interface",
  },
);

/** An address or prefix, as text. */
export const prefixText: z.ZodType<string, string> = z.string().refine(
  (text) => parsePrefix(text) !== undefined,
  {
    error: 'expected an address or prefix such as "192.0.2.0/24"',
  },
);

/** A prefix or an address as a range; undefined when it is none. */
export function parsePrefix(text: string): IpRange | undefined {
  const [address = "", length, more] = text.split("/");
  const ip = parseIp(address);
  if (ip === undefined || more !== undefined) return undefined;
  const longest = ip.family === 4 ? 32 : 128;
  if (length === undefined) return prefixRange(ip, longest);
  return /^[0-9]{1,3}$/.test(length) && Number(length) <= longest
    ? prefixRange(ip, Number(length))
    : undefined;
}
