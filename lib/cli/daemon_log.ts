/**
 * A daemon's messages to whoever started it: one line each on stderr, where systemd picks them up with
 * their priority (sd-daemon(3)).
 *
 * @module
 */
import { configureSync, getLogger, type Logger, type LogRecord } from "@logtape/logtape";
import { visible } from "./output.ts";

const PRIORITY = { trace: 7, debug: 7, info: 6, warning: 4, error: 3, fatal: 2 } as const;

/** Makes the daemon's log. */
export function daemonLog(): Logger {
  configureSync({
    reset: true,
    sinks: { stderr: write },
    loggers: [
      { category: "diaper", sinks: ["stderr"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: ["stderr"], lowestLevel: "warning" },
    ],
  });
  return getLogger("diaper");
}

const encoder = new TextEncoder();

function write(record: LogRecord): void {
  const text = record.message.map(String).join("").split("\n").map(visible).join("\n  ");
  // systemd adds the time itself, and takes the priority from the front of the line.
  const front = Deno.env.has("JOURNAL_STREAM")
    ? `<${PRIORITY[record.level]}>`
    : Deno.stderr.isTerminal()
    ? ""
    : `${new Date(record.timestamp).toISOString()} `;
  let line = encoder.encode(`${front}diaper: ${text}\n`);
  try {
    while (line.length > 0) line = line.subarray(Deno.stderr.writeSync(line));
  } catch (error) {
    // Whoever read the messages went away or does not read on. The perimeter is kept all the same, and
    // what matters is in the audit trail.
    if (!(error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.WouldBlock)) {
      throw error;
    }
  }
}
