/**
 * What is peculiar to one kind of device's command line, as data: prompts, pager, questions, how to enter and
 * leave configuration, what its complaints mean, and the commands for an ACL. The files are
 * drivers/dialects/*.yaml; this is their schema. An own file may replace one (`dialect:` in the
 * configuration), for a device that speaks a little differently.
 *
 * @module
 */
import { parse } from "yaml";
import { z } from "zod";
import { EnforcerError } from "./enforcer.ts";

const pattern = z.string().min(1).transform((text, context) => {
  try {
    return new RegExp(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    context.addIssue({ code: "custom", message: why });
    return z.NEVER;
  }
});

/** A prompt: the pattern of its text without a trailing space, not anchored. */
const prompt = pattern.transform((p) => p.source);

const commands = z.array(z.string().min(1));

/** Commands for the ACL of one address family. `{…}` are filled in; see drivers/cli_acl.ts. */
const family = z.strictObject({
  /** Into the ACL's own mode, in configuration; makes the ACL where there is none. */
  enter: commands.min(1),
  open: z.string(),
  close: z.string(),
  /** Lists the ACL: what it shows is there. */
  list: z.string(),
  /**
   * Lists only the lines of it that match `{pattern}`, a regular expression in the way of `grep -E`, where the device
   * can. It must be one whose listing has counters and whole addresses in it.
   */
  look: z.string().optional(),
  /** List its counters, where that is another command. Those of an interface need one to be named. */
  counters: commands.default([]),
  /** `host 192.0.2.1` or `192.0.2.1/32`. */
  host: z.string(),
  /** What stands between source and destination for a source port, with a space in front. */
  source_port: z.string(),
  /** Out of the ACL's own mode again. */
  leave: commands.default(["exit"]),
  /** Sent at the top of configuration after the entries. */
  after: commands.default([]),
  /** The same, where it is not known whether every release has it: a complaint about it means nothing. */
  perhaps: commands.default([]),
  /** The entry that matches nothing and keeps the ACL from ever being empty. */
  guard: z.string(),
  /** Sent once in the ACL's mode when it is made ready, such as turning counters on. */
  prepare: commands.default([]),
});

/** What a session needs to know: how the device talks. */
const session = {
  name: z.string(),
  title: z.string(),
  prompts: z.strictObject({ user: prompt.optional(), enabled: prompt, config: prompt }),
  /** The line at which a pager stops, and the key that goes on. */
  more: pattern,
  more_key: z.string().default(" "),
  /** What the device may ask, and the answer; `{user}`, `{password}`, `{enable}` are filled in. */
  questions: z.array(z.strictObject({ ask: pattern, answer: z.string() })),
  /** Lines that the device prints whenever it likes. */
  asides: z.array(pattern),
  /** Sent after login, before and after enabling. */
  setup_user: commands.default([]),
  enable: z.string().optional(),
  setup: commands,
  /** Complaints: of anything, of no room, of somebody else who holds the configuration. */
  errors: z.array(pattern),
  full: z.array(pattern),
  locked: z.array(pattern),
};

const sessionSchema = z.strictObject(session);

const schema = z.strictObject({
  ...session,
  /** From enabled mode into configuration, and back. `{session}` is a name of this session. */
  begin: commands.min(1),
  end: commands.min(1),
  /** Sent after login, to throw away what a lost session left in its candidate. */
  tidy: commands.default([]),
  /** Makes a candidate effective; with it the device applies a batch wholly or not at all. */
  commit: z.strictObject({
    verify: z.string().optional(),
    command: z.string(),
    abort: z.string(),
  }).optional(),
  /** Numbers of entries: pinholes from `first` to `last`, the guard at `guard`. */
  sequence: z.strictObject({
    first: z.int().min(1),
    last: z.int().min(2),
    guard: z.int().min(1),
  }),
  /** How the listing is read: drivers/acl/listing.ts. */
  listing: z.enum(["ios", "nxos", "eos", "ftos", "ironware"]),
  families: z.strictObject({ ipv4: family, ipv6: family.optional() }),
  limits: z.strictObject({
    capacity: z.int().min(1),
    optimal_batch: z.int().min(1),
    /** Largest age of counters in seconds; null without counters. */
    counter_age: z.int().min(0).nullable(),
  }),
});

/** How a device talks. */
export type SessionDialect = z.output<typeof sessionSchema>;

/** A checked dialect. */
export type Dialect = z.output<typeof schema>;

/** The commands for the ACL of one address family. */
export type DialectFamily = z.output<typeof family>;

/**
 * Reads a dialect of a device with numbered ACL entries.
 *
 * @param file its name, for errors.
 * @throws {EnforcerError} when it is not one.
 */
export function readDialect(text: string, file: string): Dialect {
  return read(schema, text, file);
}

/** Reads a dialect that only says how a device talks. */
export function readSessionDialect(text: string, file: string): SessionDialect {
  return read(sessionSchema, text, file);
}

function read<T>(form: z.ZodType<T>, text: string, file: string): T {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new EnforcerError(`${file} is not YAML: ${why}`, "mend it, or use the built-in dialect");
  }
  const result = form.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue?.path.join(".") ?? "";
  throw new EnforcerError(
    `${file} is not a dialect: ${path === "" ? "" : `${path}: `}${issue?.message}`,
    "compare it with drivers/dialects of the sources",
  );
}

/** Templates that were taken apart already: text and names take turns. All are from dialects. */
const TEMPLATES = new Map<string, readonly string[]>();

/** Fills in `{name}`s. Only given names are; what is not given stays as it is. */
export function fill(template: string, values: Readonly<Record<string, string>>): string {
  let parts = TEMPLATES.get(template);
  if (parts === undefined) {
    parts = template.split(/\{([a-z_]+)\}/);
    TEMPLATES.set(template, parts);
  }
  let text = parts[0] as string;
  for (let i = 1; i < parts.length; i += 2) {
    const name = parts[i] as string;
    text += (values[name] ?? `{${name}}`) + parts[i + 1];
  }
  return text;
}
