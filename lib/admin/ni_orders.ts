/**
 * Orders about hosts at the NI: carried out one after the other, the newest about a host is the one that holds, and what
 * holds is on the disk, so that a restart lets nobody go and keeps nobody longer than was ordered.
 *
 * @module
 */
import { z } from "zod";
import { type ContainmentOrder, containmentOrder } from "./messages.ts";
import type { Outcome } from "./ni_side.ts";

/** Hosts that are remembered. An NI contains fewer; the others were let go, which an older order must not undo. */
const MOST_HOSTS = 1024;

const fileSchema = z.strictObject({ version: z.literal(1), orders: z.array(containmentOrder) });

/** The newest order about each host. */
export class NiOrders {
  readonly #file: string;
  readonly #newest = new Map<string, ContainmentOrder>();
  #turn: Promise<unknown> = Promise.resolve();

  /**
   * Reads what was kept. A file that cannot be read is put aside, and that is told.
   *
   * @param now milliseconds since the epoch.
   */
  constructor(file: string, now: number, log: (level: "error", text: string) => void) {
    this.#file = file;
    let text: string;
    try {
      text = Deno.readTextFileSync(file);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      throw error;
    }
    try {
      for (const order of fileSchema.parse(JSON.parse(text)).orders) {
        if (endOf(order) > now) this.#newest.set(order.host, order);
      }
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof z.ZodError)) throw error;
      Deno.renameSync(file, `${file}.damaged`);
      log("error", `nobody is contained: ${file} is damaged and was put aside; order it again`);
    }
  }

  /** Orders that hold, to be in force before frames come. */
  get contained(): ContainmentOrder[] {
    return [...this.#newest.values()].filter(({ verb }) => verb !== "allow");
  }

  /** Carries out an order, unless a newer one about its host was; keeps it when it was carried out. */
  obey(
    order: ContainmentOrder,
    carryOut: (order: ContainmentOrder) => Promise<Outcome> | Outcome,
  ): Promise<Outcome> {
    const outcome = this.#turn.then(async () => {
      const known = this.#newest.get(order.host);
      if (known !== undefined && Date.parse(known.issued_at) > Date.parse(order.issued_at)) {
        return { ok: true, why: `a newer order holds: ${known.verb} by ${known.owner}` };
      }
      const result = await carryOut(order);
      if (result.ok) this.#keep(order, Date.now());
      return result;
    });
    this.#turn = outcome.catch(() => undefined); // whoever gave the order hears of it
    return outcome;
  }

  #keep(order: ContainmentOrder, now: number): void {
    this.#newest.delete(order.host);
    this.#newest.set(order.host, order);
    for (const [host, old] of this.#newest) {
      const letGo = old.verb === "allow" && this.#newest.size > MOST_HOSTS;
      if (letGo || endOf(old) <= now) this.#newest.delete(host);
    }
    const draft = `${this.#file}.new`;
    const text = JSON.stringify({ version: 1, orders: [...this.#newest.values()] });
    using file = Deno.openSync(draft, { write: true, create: true, truncate: true, mode: 0o600 });
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    file.syncSync();
    Deno.renameSync(draft, this.#file);
  }
}

function endOf({ issued_at, lifetime }: ContainmentOrder): number {
  return Date.parse(issued_at) + lifetime * 1000;
}
