/**
 * What the command line and the running daemon say to each other: docs/protocols/control.md.
 *
 * @module
 */
import { z } from "zod";

/** Longest request line in octets. */
export const LONGEST_REQUEST = 4096;

const portNumber = z.int().min(0).max(65535);

const requests = z.discriminatedUnion("op", [
  z.strictObject({ op: z.literal("status") }),
  z.strictObject({ op: z.literal("list") }),
  z.strictObject({ op: z.literal("watch") }),
  z.strictObject({
    op: z.literal("open"),
    proto: z.enum(["tcp", "udp"]),
    source: z.string().max(64),
    source_port: portNumber,
    destination: z.string().max(64),
    destination_port: portNumber.min(1),
    ttl: z.int().min(1).max(365 * 86400),
  }),
  z.strictObject({ op: z.literal("close"), id: z.int().min(1) }),
  z.strictObject({ op: z.literal("reload") }),
  z.strictObject({ op: z.literal("sweep") }),
]);

/** A request of the command line. */
export type ControlRequest = z.infer<typeof requests>;

/** Why a request was not done; `code` is the exit code that the command line ends with. */
export interface ControlFailure {
  readonly code: 1 | 2 | 3 | 5;
  readonly message: string;
  readonly next: string;
}

/**
 * A line of the daemon: data lines as long as there are any, then one that ends the answer.
 */
export type ControlReply =
  | { readonly data: unknown }
  | { readonly end: true }
  | { readonly error: ControlFailure };

/** Reads a request line; the string says what is wrong with it. */
export function parseControlRequest(line: string): ControlRequest | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "request is not JSON";
  }
  const result = requests.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  return `request ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not understood"}`;
}
