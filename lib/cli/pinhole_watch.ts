/**
 * `diaper pinhole list --watch`: the pinholes that are open now, then every change.
 *
 * @module
 */
import type { Config } from "../controller/config.ts";
import { askDaemon } from "./control_client.ts";
import { type PinholeChange, type PinholeRow, readChange, readPinhole } from "./daemon_data.ts";
import { eventLine } from "./event_line.ts";
import { printJson, printLine } from "./output.ts";

/** A line to show: a pinhole as it is, or a change of one. */
export type WatchItem = PinholeRow | PinholeChange;

/**
 * Prints what is open, then every change, until the daemon ends.
 *
 * @throws {CliError} when it does, or when there is none.
 */
export async function watchPinholes(config: Config, json: boolean): Promise<never> {
  for await (const item of followPinholes(config)) {
    if (json) printJson(item);
    else printLine(eventLine(asEvent(item)));
  }
  throw new Error("a watch without an end has ended");
}

/** How far a pinhole has come; it never goes back. */
const STAGES: readonly PinholeRow["state"][] = ["opening", "open", "closing", "closed"];

/**
 * The present state, then every change after it, each once.
 *
 * Changes are asked for first, so that none is missed; those that the state shows already are left out. What
 * happens while the state is read comes after it.
 *
 * @throws {CliError} when there is no daemon, or when it ends.
 */
export async function* followPinholes(
  config: Pick<Config, "run_dir" | "control_group">,
): AsyncGenerator<WatchItem> {
  await using watch = await askDaemon(config, { op: "watch" });
  const changes = new Backlog(watch);
  const stages = new Map<number, number>();
  try {
    for await (const item of await askDaemon(config, { op: "list" })) {
      const p = readPinhole(item);
      stages.set(p.id, STAGES.indexOf(p.state));
      yield p;
    }
    for await (const item of changes) {
      const change = readChange(item);
      if (change === undefined || !advance(stages, change)) continue;
      yield change;
    }
  } finally {
    await watch[Symbol.asyncDispose]();
    await changes.ended;
  }
}

/** Notes a change; false when it is known already, or ends what was never shown. */
function advance(stages: Map<number, number>, change: PinholeChange): boolean {
  const known = stages.get(change.id);
  const stage = STAGES.indexOf(change.state);
  if (change.state === "closed") return stages.delete(change.id);
  if (known !== undefined && known >= stage) return false;
  stages.set(change.id, stage);
  return true;
}

/** Takes what comes at once, so that the daemon never waits, and gives it in order. */
class Backlog implements AsyncIterable<unknown> {
  /** Resolves when nothing comes any more; never rejects. */
  readonly ended: Promise<void>;
  #items: unknown[] = [];
  #failure: unknown;
  #over = false;
  #wake: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(source: AsyncIterable<unknown>) {
    this.ended = this.#take(source);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<unknown> {
    for (;;) {
      const wake = this.#wake.promise;
      const items = this.#items;
      this.#items = [];
      yield* items;
      if (this.#items.length > 0) continue;
      if (this.#over) {
        if (this.#failure !== undefined) throw this.#failure;
        return;
      }
      await wake;
    }
  }

  async #take(source: AsyncIterable<unknown>): Promise<void> {
    try {
      for await (const item of source) {
        this.#items.push(item);
        this.#notify();
      }
    } catch (error) {
      this.#failure = error;
    }
    this.#over = true;
    this.#notify();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = Promise.withResolvers();
    wake.resolve();
  }
}

function asEvent(item: WatchItem): Parameters<typeof eventLine>[0] {
  if ("event_type" in item) return item;
  return { ...item, event_type: "pinhole.opened", timestamp: item.opened_at ?? "-" };
}
