/**
 * The programs of iptables for one address family, and what their failures mean.
 *
 * @module
 */
import {
  RunningTool,
  runTool,
  runToolSync,
  ToolMissing,
  type ToolResult,
} from "../lib/sys/tool.ts";
import { EnforcerError } from "./enforcer.ts";
import { parseSave, type SavedRule, type SavedTable } from "./iptables_text.ts";

/** Which iptables: that of the system's choice, over nf_tables, or the one with ip_tables. */
export type IptablesBackend = "default" | "nft" | "legacy";

/** Seconds to wait for another program that holds the lock of iptables. */
const LOCK_SECONDS = 10;
/** Seconds after which it is not known what became of a batch. */
const BATCH_SECONDS = 120;

/** The table `filter` of one address family. */
export class FilterTable {
  readonly family: 4 | 6;
  readonly #name: string;

  constructor(family: 4 | 6, backend: IptablesBackend) {
    this.family = family;
    const base = family === 4 ? "iptables" : "ip6tables";
    this.#name = backend === "default" ? base : `${base}-${backend}`;
  }

  /** The program that takes batches, with its arguments, for people. */
  get command(): string {
    return `${this.#name}-restore --noflush`;
  }

  /**
   * Starts the program that takes a batch, so that it is ready when the batch is. Its input is that of
   * {@link restoreText}; without any it does nothing.
   */
  begin(test = false): RunningTool {
    const args = ["--noflush", "-w", String(LOCK_SECONDS), ...(test ? ["--test"] : [])];
    return guarded(() => new RunningTool(`${this.#name}-restore`, args, BATCH_SECONDS));
  }

  /** Runs lines as one transaction: all or nothing. */
  async restore(lines: readonly string[], test = false): Promise<ToolResult> {
    return await this.begin(test).finish(restoreText(lines));
  }

  /**
   * The table as it is now, with counters.
   *
   * @throws {EnforcerError} when it cannot be read.
   */
  async save(): Promise<SavedTable> {
    const args = ["-c", "-t", "filter"];
    const result = await guarded(() => runTool(`${this.#name}-save`, args, "", BATCH_SECONDS));
    if (result.code !== 0) throw this.failure("read the table filter", result);
    return parseSave(result.stdout).find((table) => table.name === "filter") ??
      { name: "filter", chains: new Map(), rules: [] };
  }

  /** The rules of one chain, quickly; undefined when there is no such chain. */
  chain(name: string): readonly SavedRule[] | undefined {
    const args = ["-w", String(LOCK_SECONDS), "-t", "filter", "-v", "-S", name];
    const result = runToolSync(this.#name, args);
    if (result.code !== 0) return undefined;
    return parseSave(
      result.stdout.replaceAll(/^(-A .*) -c (\d+) (\d+)( .*)?$/gm, "[$2:$3] $1$4"),
    )[0]?.rules ?? [];
  }

  /** An error for people about something that went wrong. */
  failure(what: string, result: ToolResult): EnforcerError {
    const why = result.code === undefined
      ? `no answer within ${BATCH_SECONDS} seconds`
      : result.stderr === ""
      ? `exit code ${result.code}`
      : result.stderr.replaceAll("\n", " ");
    const permitted = !/permission denied|operation not permitted|must be root/i.test(why);
    return new EnforcerError(
      `${this.#name} did not ${what}: ${why}`,
      permitted
        ? "See what is there with iptables-save; `diaper doctor` says what the kernel lacks."
        : "Run as root, or with the capability CAP_NET_ADMIN.",
    );
  }
}

function guarded<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof ToolMissing)) throw error;
    throw new EnforcerError(error.message, "Install iptables (Debian: apt install iptables).");
  }
}

/** The beginning of a batch whose rest follows: see {@link restoreRest}. */
export function restoreStart(lines: readonly string[]): string {
  return `*filter\n${lines.join("\n")}\n`;
}

/** The rest of a batch; without it nothing of its beginning is done. */
export function restoreRest(lines: readonly string[]): string {
  return `${lines.join("\n")}\nCOMMIT\n`;
}

/** Lines as iptables-restore takes them; the first of them is line 2. */
export function restoreText(lines: readonly string[]): string {
  return `*filter\n${lines.join("\n")}\nCOMMIT\n`;
}

/** The index among the lines that an error of iptables-restore is about, when it says. */
export function failedLine(result: ToolResult): number | undefined {
  const number = /\bline:? (\d+)\b/i.exec(result.stderr)?.[1];
  return number === undefined ? undefined : Number(number) - 2;
}
