/**
 * Orders from a daemon's main thread to its data plane: lines of JSON over a socket pair, since the data
 * plane waits in the kernel and takes no messages. The first one comes as a message, with the socket.
 *
 * @module
 */
import { LineReader } from "../sys/line_reader.ts";
import type { PolicySource } from "./authorization.ts";
import type { Config } from "./config.ts";

/** The first message to a data plane. */
export interface FirstOrder {
  readonly config: Config;
  /** The policy; undefined for a broker, which has none. */
  readonly policy: PolicySource | undefined;
  /** Name of the enforcer; undefined for a broker. */
  readonly enforcer: string | undefined;
  /** Nothing is sent to the enforcer: what would be sent is printed on standard output. */
  readonly dryRun?: boolean;
  /** Group that may use the control socket besides root. */
  readonly controlGid: number | undefined;
  /** Account and group that run `diaper gate`. */
  readonly gate: { readonly uid: number; readonly gid: number } | undefined;
  /** Readable when there is a {@link LaterOrder}. */
  readonly wake: number;
}

/** What the main thread wants later. */
export type LaterOrder =
  | { readonly order: "stop" }
  | { readonly order: "policy"; readonly policy: PolicySource }
  /** Only sessions of these delegates may stay. */
  | { readonly order: "delegates"; readonly delegates: readonly string[] }
  /** A connection to a controller, in the name of a remote delegate; `fd` belongs to the data plane. */
  | {
    readonly order: "link";
    readonly delegate: string;
    readonly controller: string;
    readonly fd: number;
  };

/** What a data plane tells the main thread. */
export type News =
  | { readonly news: "ready" }
  /** Well, and ready to serve when another one ends. */
  | { readonly news: "standby" }
  | { readonly news: "stopped" }
  | { readonly news: "reload" }
  | { readonly news: "failed"; readonly message: string; readonly next: string | undefined }
  | {
    readonly news: "log";
    readonly level: "info" | "warning" | "error";
    readonly text: string;
  };

/** Reads the main thread's orders from its descriptor, whatever pieces they come in. */
export class OrderReader {
  readonly #lines: LineReader;

  constructor(fd: number) {
    this.#lines = new LineReader(fd);
  }

  /** The orders that have come. */
  read(): LaterOrder[] {
    // The main thread is gone, and with it whoever could order anything else.
    return this.#lines.read()?.map((line) => JSON.parse(line) as LaterOrder) ?? [{ order: "stop" }];
  }
}

/** What every role's data plane can do. */
export interface Role {
  /**
   * Gets ready to serve.
   *
   * @param patience says, while that takes time, whether to go on.
   * @returns false when it was told not to.
   */
  start(patience: () => boolean): Promise<boolean>;
  run(wake: number, onWake: () => void): Promise<void>;
  stop(): void;
  /** Does what a later order says, other than stopping. */
  obey(order: LaterOrder): void;
  close(): Promise<void>;
}

/**
 * Serves as a data plane: waits for the first order, makes the role of it, and runs it until it is told to
 * stop.
 *
 * @param make makes the role; `tell` sends news to the main thread.
 */
export function serveAsWorker(
  make: (order: FirstOrder, tell: (news: News) => void) => Promise<Role> | Role,
): void {
  const scope = self as unknown as DedicatedWorkerGlobalScope;
  const tell = (news: News) => scope.postMessage(news);
  const serve = async (order: FirstOrder) => {
    const role = await make(order, tell);
    try {
      const orders = new OrderReader(order.wake);
      const patience = () => {
        const later = orders.read();
        for (const one of later) if (one.order !== "stop") role.obey(one);
        return !later.some((one) => one.order === "stop");
      };
      if (!await role.start(patience)) return;
      tell({ news: "ready" });
      await role.run(order.wake, () => {
        for (const later of orders.read()) {
          if (later.order === "stop") role.stop();
          else role.obey(later);
        }
      });
    } finally {
      await role.close();
    }
  };
  scope.onmessage = async (event: MessageEvent<FirstOrder>) => {
    try {
      await serve(event.data);
      tell({ news: "stopped" });
    } catch (error) {
      tell({
        news: "failed",
        message: error instanceof Error ? error.message : String(error),
        next: error instanceof Error && "next" in error ? String(error.next) : undefined,
      });
    }
    scope.close();
  };
}
