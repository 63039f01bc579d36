/**
 * What the command line asks of a console: docs/protocols/console.md.
 *
 * @module
 */
import { z } from "zod";
import { ORDER_VERBS } from "./messages.ts";
import { ROLES } from "./state.ts";

const filter = {
  ni: z.string().max(64).optional(),
  scanner: z.string().max(64).optional(),
  signature: z.string().max(300).optional(),
  severity: z.int().min(1).max(3).optional(),
  host: z.string().max(64).optional(),
  text: z.string().max(300).optional(),
  after: z.int().min(0).optional(),
};

const requests = z.discriminatedUnion("op", [
  z.strictObject({ op: z.literal("status") }),
  z.strictObject({ op: z.literal("peers") }),
  z.strictObject({ op: z.literal("reload") }),
  z.strictObject({
    op: z.literal("alerts"),
    ...filter,
    last: z.int().min(0).max(100_000),
    follow: z.boolean(),
  }),
  z.strictObject({
    op: z.literal("login"),
    user: z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$/).optional(),
    role: z.enum(ROLES as [string, ...string[]]),
  }),
  z.strictObject({ op: z.literal("revoke"), user: z.string().max(64) }),
  z.strictObject({
    op: z.literal("order"),
    verb: z.enum(ORDER_VERBS),
    host: z.string().max(64),
    lifetime: z.int().min(1),
    reason: z.string().min(1).max(500),
    peers: z.array(z.string().max(64)).max(1000).optional(),
    connections: z.int().min(0).optional(),
    bytes: z.int().min(0).optional(),
    destinations: z.array(z.string().max(64)).max(256).optional(),
    /** Milliseconds that the answers of those who are there are waited for. */
    wait: z.int().min(0).max(60_000).default(5000),
  }),
  z.strictObject({ op: z.literal("orders"), all: z.boolean() }),
  z.strictObject({ op: z.literal("pinholes") }),
  z.strictObject({ op: z.literal("outbreaks"), last: z.int().min(1).max(10_000) }),
  z.strictObject({ op: z.literal("audit"), last: z.int().min(1).max(10_000) }),
  z.strictObject({
    op: z.literal("push"),
    bundle: z.string(),
    /** Names of peers and groups; everybody without it. */
    targets: z.array(z.string().max(64)).max(1000),
    canary: z.string().max(64).optional(),
    /** Seconds that the first ones must be healthy before the others get it. */
    soak: z.int().min(0).max(86_400),
  }),
  z.strictObject({ op: z.literal("rollouts"), last: z.int().min(1).max(1000) }),
  z.strictObject({ op: z.literal("bundle"), digest: z.string().max(64).optional() }),
  z.strictObject({
    op: z.literal("configure"),
    text: z.string().max(512 * 1024),
    peers: z.array(z.string().max(64)).min(1).max(1000),
  }),
]);

/** A request to a console. */
export type ConsoleRequest = z.input<typeof requests>;
/** A request as it was understood. */
export type ParsedConsoleRequest = z.output<typeof requests>;

/** Reads a request; the string says what is wrong with it. */
export function parseConsoleRequest(value: unknown): ParsedConsoleRequest | string {
  const result = requests.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  return `request ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not understood"}`;
}
