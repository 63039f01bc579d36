/**
 * The NI kernel as a Worker: it waits in the kernel, so that it has a thread of its own. The main thread sends it one
 * message to begin with, and closes a descriptor when it is to end.
 *
 * @module
 */
import { EPOLL, Poller } from "../sys/epoll.ts";
import { libc } from "../sys/libc.ts";
import { InlineNi, type InlineOptions } from "./inline.ts";

/** The first message to the worker. */
export interface NiOrder {
  readonly options: Omit<InlineOptions, "event" | "log">;
  /** Readable when there is an order: `s`, tell the status; its end: stop. */
  readonly wake: number;
}

/** What the worker tells the main thread. */
export type NiNews =
  | { readonly news: "ready" }
  | { readonly news: "event"; readonly event: Readonly<Record<string, unknown>> }
  | { readonly news: "status"; readonly status: Record<string, unknown> }
  | { readonly news: "stopped"; readonly status: Record<string, unknown> }
  | { readonly news: "failed"; readonly message: string; readonly next: string | undefined }
  | {
    readonly news: "log";
    readonly level: "info" | "warning" | "error";
    readonly text: string;
  };

const scope = self as unknown as DedicatedWorkerGlobalScope;

function tell(news: NiNews): void {
  scope.postMessage(news);
}

function run(order: NiOrder): Record<string, unknown> {
  const poller = new Poller();
  const ni = new InlineNi({
    ...order.options,
    event: (event) => tell({ news: "event", event }),
    log: (level, text) => tell({ news: "log", level, text }),
  }, poller);
  let stopping = false;
  const orders = new Uint8Array(64);
  poller.add(order.wake, EPOLL.IN | EPOLL.HUP, () => {
    const n = libc.read(order.wake, orders, orders.length);
    if (n <= 0) stopping = true;
    else tell({ news: "status", status: ni.status() });
  });
  try {
    ni.start();
    tell({ news: "ready" });
    while (!stopping) {
      poller.wait(ni.timeout());
      ni.work();
    }
    return ni.status();
  } finally {
    ni.close();
    poller.close();
  }
}

scope.onmessage = (event: MessageEvent<NiOrder>) => {
  try {
    tell({ news: "stopped", status: run(event.data) });
  } catch (error) {
    const next = error instanceof Error && "next" in error ? String(error.next) : undefined;
    tell({ news: "failed", message: error instanceof Error ? error.message : String(error), next });
  }
  scope.close();
};
