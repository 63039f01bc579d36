/**
 * What the NIs of this machine say of themselves, for `diaper status`.
 *
 * @module
 */
import type { Config } from "../controller/config.ts";
import { askForOne } from "./control_client.ts";
import { CliError, EXIT } from "./exit.ts";
import { inlineSummary } from "./ni_text.ts";
import { style, visible } from "./output.ts";

/** One NI: its counters, or why there are none. */
export interface NiAnswer {
  /** Its interface on the host's side. */
  readonly name: string;
  readonly status: Readonly<Record<string, unknown>> | undefined;
  /** It does not answer as it should. */
  readonly failed: string | undefined;
}

/** Asks all NIs whose control sockets are in the run directory. */
export async function askNis(
  config: Pick<Config, "run_dir" | "control_group">,
): Promise<NiAnswer[]> {
  const sockets = niSockets(config.run_dir);
  return await Promise.all(sockets.map((socket) => ask(config, socket)));
}

function niSockets(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].map((entry) => entry.name)
      .filter((name) => /^ni-.*\.sock$/.test(name)).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) {
      return [];
    }
    throw error;
  }
}

async function ask(
  config: Pick<Config, "run_dir" | "control_group">,
  socket: string,
): Promise<NiAnswer> {
  const name = socket.slice("ni-".length, -".sock".length);
  try {
    const status = await askForOne({ ...config, socket }, { op: "status" });
    return { name, status: status as NiAnswer["status"], failed: undefined };
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    if (error.code === EXIT.UNREACHABLE) {
      return { name, status: undefined, failed: "it does not run: it was killed, or is starting" };
    }
    // The socket is for root; whoever else asks is not to take that for a failure.
    if (error.code === EXIT.NOT_PERMITTED) return { name, status: undefined, failed: undefined };
    return { name, status: undefined, failed: error.message };
  }
}

/** An NI in the JSON of `diaper status`. */
export function niJson({ name, status, failed }: NiAnswer): Record<string, unknown> {
  return { name, running: status !== undefined, failed: failed ?? null, ...status };
}

/** An NI as lines. */
export function niLines({ name, status, failed }: NiAnswer): string[] {
  const heading = (text: string) => `${style("bold", "ni".padEnd(9))} ${visible(text)}`;
  if (status === undefined) {
    return [heading(`${name}: ${failed ?? "its counters are for root"}`)];
  }
  const since = String(status["started_at"]);
  return [
    heading(`${name}, since ${since}, process ${status["pid"]}`),
    ...inlineSummary(status).map((line) => `  ${visible(line)}`),
  ];
}
