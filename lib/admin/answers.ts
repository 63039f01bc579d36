/**
 * What a console answers to the command line.
 *
 * @module
 */
import type { Asker } from "./control.ts";
import { ControlError } from "./control.ts";
import { type Console, OrderRefusal } from "./console.ts";
import type { OutputStatus } from "./outputs/output.ts";
import { parseConsoleRequest, type ParsedConsoleRequest } from "./requests.ts";
import type { Rollouts } from "./rollouts.ts";
import type { Role } from "./state.ts";
import type { StoredAlert } from "./store.ts";
import type { Logins } from "./web/logins.ts";
import { BundleError } from "./bundle.ts";

/** What answers are made of. */
export interface AnswerSources {
  readonly console: Console;
  readonly logins: Logins;
  readonly rollouts: Rollouts;
  readonly name: string;
  readonly url: () => string | undefined;
  readonly outputs: () => OutputStatus[];
  /** Pinholes of controllers on this host. */
  readonly pinholes: () => Promise<readonly Record<string, unknown>[]>;
  readonly reload: () => void;
}

/** Alerts that wait for a slow follower; then it is told how many it missed. */
const MOST_FOLLOWED = 10_000;

/** Answers requests. */
export class ConsoleAnswers {
  readonly #from: AnswerSources;
  readonly #startedAt = new Date().toISOString();

  constructor(from: AnswerSources) {
    this.#from = from;
  }

  /** @throws {ControlError} when it is not done. */
  async *answer(value: unknown, asker: Asker, gone: AbortSignal): AsyncGenerator<unknown> {
    const request = parseConsoleRequest(value);
    if (typeof request === "string") {
      throw new ControlError(2, request, "is it the same version of diaper?");
    }
    const { console, rollouts } = this.#from;
    switch (request.op) {
      case "status":
        return yield* this.#status();
      case "peers":
        return yield* console.status();
      case "reload":
        return yield* this.#reload(asker);
      case "alerts":
        return yield* this.#alerts(request, gone);
      case "login":
        return yield this.#login(request, asker);
      case "revoke":
        mustBeRoot(asker);
        console.state.audit(asker.name, "sessions.revoked", { user: request.user });
        return yield { sessions: this.#from.logins.revoke(request.user) };
      case "order":
        return yield* this.#order(request, asker, gone);
      case "orders":
        return yield* console.state.orders(!request.all, 10_000);
      case "pinholes":
        return yield* [...console.pinholes(), ...await this.#from.pinholes()];
      case "outbreaks":
        return yield* console.state.outbreaks(request.last);
      case "audit":
        return yield* console.state.auditLines(undefined, request.last);
      case "push":
        mustBeRoot(asker);
        return yield* this.#bundles(() => rollouts.push(request, asker.name, gone));
      case "rollouts":
        return yield* console.state.rollouts(request.last);
      case "bundle":
        return yield rollouts.manifest(request.digest) ?? null;
      case "configure": {
        mustBeRoot(asker);
        return yield* this.#configure(request, asker);
      }
    }
  }

  async *#status(): AsyncGenerator<unknown> {
    const { console, name, url, outputs } = this.#from;
    const peers = console.status();
    const totals = await console.store.totals();
    yield {
      name,
      pid: Deno.pid,
      started_at: this.#startedAt,
      url: url() ?? null,
      peers: peers.length,
      connected: peers.filter((p) => p.connected).length,
      alerts: totals.reduce((sum, t) => sum + t.alerts, 0),
      lost: totals.reduce((sum, t) => sum + t.lost, 0),
      outputs: outputs(),
    };
  }

  *#reload(asker: Asker): Generator<unknown> {
    mustBeRoot(asker);
    try {
      this.#from.reload();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new ControlError(3, why, "mend it and reload again; the old one stays");
    }
    this.#from.console.state.audit(asker.name, "reload", {});
    yield { peers: this.#from.console.peers.length };
  }

  async *#alerts(
    request: ParsedConsoleRequest & { op: "alerts" },
    gone: AbortSignal,
  ): AsyncGenerator<unknown> {
    const { console } = this.#from;
    const { op: _, last, follow, ...filter } = request;
    let waiting: StoredAlert[] = [];
    let missed = 0;
    let wake = () => {};
    const stop = !follow ? () => {} : console.watch({
      alerts: (alerts) => {
        for (const alert of alerts) {
          if (waiting.length >= MOST_FOLLOWED) missed++;
          else if (matches(alert, filter)) waiting.push(alert);
        }
        wake();
      },
    });
    try {
      let newest = 0;
      if (last > 0) {
        const alerts = await console.store.list({ ...filter, limit: last });
        for (const alert of alerts.reverse()) yield shown(alert);
        newest = alerts.at(-1)?.id ?? 0;
      }
      gone.addEventListener("abort", () => wake());
      while (follow && !gone.aborted) {
        const alerts = waiting;
        waiting = [];
        for (const alert of alerts) if (alert.id > newest) yield shown(alert);
        if (missed > 0) yield { event_type: "missed", count: missed };
        missed = 0;
        if (waiting.length > 0) continue;
        await new Promise<void>((resolve) => wake = resolve);
      }
    } finally {
      stop();
    }
  }

  #login(request: ParsedConsoleRequest & { op: "login" }, asker: Asker): unknown {
    const { logins, console, url } = this.#from;
    const role = request.role as Role;
    // Whoever can come to this socket may look and act; who may administer, and for whom else, is root's to say.
    if (role === "administer" || (request.user ?? asker.name) !== asker.name) mustBeRoot(asker);
    const page = url();
    if (page === undefined) {
      throw new ControlError(1, "this console has no page", "set web.listen in its configuration");
    }
    const user = request.user ?? asker.name;
    const { secret, expires } = logins.link(user, role);
    console.state.audit(asker.name, "login.link", { user, role });
    return { url: `${page}/login#${secret}`, user, role, expires: new Date(expires).toISOString() };
  }

  async *#order(
    request: ParsedConsoleRequest & { op: "order" },
    asker: Asker,
    gone: AbortSignal,
  ): AsyncGenerator<unknown> {
    const { console } = this.#from;
    const { op: _, peers, wait, ...fields } = request;
    const id = crypto.randomUUID();
    const answered = Promise.withResolvers<void>();
    const open = () => console.state.orderById(id).filter((o) => o.state === "sent");
    const stop = console.watch({
      orders: () => {
        const connected = new Set(console.status().flatMap((p) => p.connected ? [p.name] : []));
        if (!open().some(({ peer }) => connected.has(peer))) answered.resolve();
      },
    });
    const timer = setTimeout(() => answered.resolve(), wait);
    gone.addEventListener("abort", () => answered.resolve());
    try {
      console.order(
        { ...fields, id, owner: asker.name, issued_at: new Date().toISOString() },
        peers,
      );
      await answered.promise;
    } catch (error) {
      if (!(error instanceof OrderRefusal)) throw error;
      throw new ControlError(5, error.message, error.next);
    } finally {
      clearTimeout(timer);
      stop();
    }
    yield* console.state.orderById(id);
  }

  async *#bundles(work: () => AsyncIterable<unknown>): AsyncGenerator<unknown> {
    try {
      yield* work();
    } catch (error) {
      if (!(error instanceof BundleError)) throw error;
      throw new ControlError(5, error.message, error.next);
    }
  }

  *#configure(
    request: ParsedConsoleRequest & { op: "configure" },
    asker: Asker,
  ): Generator<unknown> {
    const { console } = this.#from;
    const id = crypto.randomUUID();
    console.state.audit(asker.name, "config.sent", { id, peers: request.peers });
    for (const peer of request.peers) {
      const sent = console.send(peer, { op: "config", id, text: request.text });
      yield { peer, sent, id };
    }
  }
}

function mustBeRoot(asker: Asker): void {
  if (asker.uid === 0 || asker.uid === Deno.uid()) return;
  throw new ControlError(5, `${asker.name} may not do this`, "sudo does it");
}

function matches(
  alert: StoredAlert,
  f: {
    readonly ni?: string | undefined;
    readonly scanner?: string | undefined;
    readonly signature?: string | undefined;
    readonly severity?: number | undefined;
    readonly host?: string | undefined;
    readonly text?: string | undefined;
  },
): boolean {
  return (f.ni === undefined || f.ni === alert.ni) &&
    (f.scanner === undefined || f.scanner === alert.scanner) &&
    (f.signature === undefined || f.signature === alert.signature) &&
    (f.severity === undefined || alert.severity <= f.severity) &&
    (f.host === undefined || f.host === alert.src || f.host === alert.dest) &&
    (f.text === undefined ||
      JSON.stringify(alert.event).toLowerCase().includes(f.text.toLowerCase()));
}

/** An alert as scripts get it: EVE's fields, and the console's. */
function shown(alert: StoredAlert): Record<string, unknown> {
  return {
    ...alert.event,
    diaper: {
      id: alert.id,
      ni: alert.ni,
      seq: alert.seq,
      received: new Date(alert.received).toISOString(),
      capture: alert.capture,
    },
  };
}
