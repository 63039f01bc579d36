/**
 * The NI kernel as a Worker: it waits in the kernel, so that it has a thread of its own. The main thread sends it one
 * message to begin with, and closes a descriptor when it is to end.
 *
 * @module
 */
import { EPOLL, Poller } from "../sys/epoll.ts";
import { ProgramRefused } from "../sys/bpf.ts";
import { FilterError } from "../sys/libpcap.ts";
import { InlineNi, type InlineOptions, type InlineSettings } from "./inline.ts";
import { NiOrderReader } from "./orders.ts";

/** The first message to the worker. */
export interface NiOrder {
  readonly options: Omit<InlineOptions, "event" | "log">;
  /** Readable when there is a later order; its end: stop. */
  readonly wake: number;
}

/** What the worker tells the main thread. */
export type NiNews =
  | { readonly news: "ready" }
  | { readonly news: "event"; readonly event: Readonly<Record<string, unknown>> }
  | { readonly news: "status"; readonly id: number; readonly status: Record<string, unknown> }
  /** `problem`: why nothing was changed. */
  | { readonly news: "reloaded"; readonly id: number; readonly problem: string | undefined }
  /** `problem`: why a host is not contained, or not let go. */
  | { readonly news: "contained"; readonly id: number; readonly problem: string | undefined }
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
  const orders = new NiOrderReader(order.wake);
  poller.add(order.wake, EPOLL.IN | EPOLL.HUP, () => {
    for (const later of orders.read()) {
      if (later.order === "stop") stopping = true;
      else if (later.order === "status") {
        tell({ news: "status", id: later.id, status: ni.status() });
      } else if (later.order === "contain") {
        tell({ news: "contained", id: later.id, problem: ni.contain(later.containment) });
      } else tell({ news: "reloaded", id: later.id, problem: reload(ni, later.settings) });
    }
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

function reload(ni: InlineNi, settings: InlineSettings): string | undefined {
  try {
    ni.reload(settings);
    return undefined;
  } catch (error) {
    if (error instanceof FilterError || error instanceof ProgramRefused) return error.message;
    throw error;
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
