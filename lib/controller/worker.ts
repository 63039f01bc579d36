/**
 * The data plane of `diaper up` as a Worker: it waits in the kernel, so that it has a thread of its own.
 * The main thread sends it one message to begin with, and from then on writes to a descriptor.
 *
 * @module
 */
import { createNftables } from "../../drivers/nftables.ts";
import { libc } from "../sys/libc.ts";
import type { PolicySource } from "./authorization.ts";
import type { Config } from "./config.ts";
import { Perimeter } from "./perimeter.ts";

/** The first message to the worker. */
export interface PerimeterOrder {
  readonly config: Config;
  readonly policy: PolicySource;
  readonly controlGid: number | undefined;
  /** Readable when there is an order: lines of JSON, each an {@link LaterOrder}. */
  readonly wake: number;
}

/** What the main thread wants later. */
export type LaterOrder =
  | { readonly order: "stop" }
  | { readonly order: "policy"; readonly policy: PolicySource };

/** What the worker tells the main thread. */
export type PerimeterNews =
  | { readonly news: "ready" }
  | { readonly news: "stopped" }
  | { readonly news: "reload" }
  | { readonly news: "failed"; readonly message: string; readonly next: string | undefined }
  | {
    readonly news: "log";
    readonly level: "info" | "warning" | "error";
    readonly text: string;
  };

const scope = self as unknown as DedicatedWorkerGlobalScope;

function tell(news: PerimeterNews): void {
  scope.postMessage(news);
}

async function keep(order: PerimeterOrder): Promise<void> {
  const { config } = order;
  const enforcer = createNftables({
    table: config.perimeter.table,
    hooks: config.perimeter.hooks,
    outside: config.perimeter.outside,
    openPorts: config.perimeter.open_ports,
    capacity: config.perimeter.capacity,
    allowPing: config.perimeter.allow_ping,
  });
  const perimeter = new Perimeter({
    config,
    policy: order.policy,
    enforcer,
    controlGid: order.controlGid,
    log: (level, text) => tell({ news: "log", level, text }),
    reload: () => tell({ news: "reload" }),
  });
  try {
    await perimeter.start();
    tell({ news: "ready" });
    const orders = new OrderReader(order.wake);
    await perimeter.run(order.wake, () => {
      for (const later of orders.read()) {
        if (later.order === "stop") perimeter.stop();
        else perimeter.setPolicy(later.policy);
      }
    });
  } finally {
    await perimeter.close();
  }
}

/** Reads the main thread's orders from its descriptor, whatever pieces they come in. */
class OrderReader {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(65_536);
  readonly #decoder = new TextDecoder();
  #text = "";

  constructor(fd: number) {
    this.#fd = fd;
  }

  read(): LaterOrder[] {
    const n = libc.read(this.#fd, this.#buffer, this.#buffer.length);
    if (n < 0) return [];
    // The main thread is gone, and with it whoever could order anything else.
    if (n === 0) return [{ order: "stop" }];
    this.#text += this.#decoder.decode(this.#buffer.subarray(0, n), { stream: true });
    const lines = this.#text.split("\n");
    this.#text = lines.pop() ?? "";
    return lines.map((line) => JSON.parse(line) as LaterOrder);
  }
}

scope.onmessage = async (event: MessageEvent<PerimeterOrder>) => {
  try {
    await keep(event.data);
    tell({ news: "stopped" });
  } catch (error) {
    const next = error instanceof Error && "next" in error ? String(error.next) : undefined;
    tell({
      news: "failed",
      message: error instanceof Error ? error.message : String(error),
      next,
    });
  }
  scope.close();
};
