/**
 * What an administrator does by hand over the control socket: look, open, close, sweep, reload.
 *
 * @module
 */
import type { Counters, Enforcer } from "../../drivers/enforcer.ts";
import { type IpAddress, ipKind, parseIp } from "../net/ip.ts";
import type { Pinhole, Requester } from "../pinhole/pinhole.ts";
import type { PinholeRequest, Verdict } from "../pinhole/request.ts";
import { userName } from "../sys/accounts.ts";
import type { Credentials } from "../sys/unix_socket.ts";
import { type AuditTrail, pinholeFields, requestFields } from "./audit.ts";
import { OPERATOR } from "./authorization.ts";
import type { ControlRequest } from "./control_protocol.ts";
import { ControlRefusal } from "./control_server.ts";
import type { Controller } from "./controller.ts";

/** What an operator's requests are answered with. */
export interface OperatorOptions {
  readonly enforcer: Enforcer;
  readonly audit: AuditTrail;
  /** What `status` shows. */
  readonly status: () => unknown;
  /** The address may be a pinhole's destination. */
  readonly guards: (address: IpAddress) => boolean;
  /** Compares pinholes with sockets, where there are any to compare with. */
  readonly compare: () => void;
  /** Has the policy loaded anew. */
  readonly reload: () => void;
}

const LIST_SLICE = 250;

/** Answers the command line. */
export class Operator {
  readonly #controller: Controller;
  readonly #options: OperatorOptions;

  constructor(controller: Controller, options: OperatorOptions) {
    this.#controller = controller;
    this.#options = options;
  }

  /** Answers a request of the command line. */
  answer(request: ControlRequest, peer: Credentials): AsyncIterable<unknown> | "watch" {
    switch (request.op) {
      case "status":
        return one(this.#options.status());
      case "list":
        return this.#list();
      case "watch":
        return "watch";
      case "open":
        return this.#openByHand(request, peer);
      case "close":
        return this.#closeByHand(request.id, peer);
      case "sweep":
        this.#mustBeRoot(peer, "sweep");
        this.#options.compare();
        this.#controller.sweep.start();
        return this.#afterSweep();
      case "reload":
        this.#mustBeRoot(peer, "load the policy anew");
        this.#options.reload();
        return one({ reloading: true });
    }
  }

  #mustBeRoot(peer: Credentials, what: string): void {
    if (peer.uid === 0) return;
    throw new ControlRefusal({
      code: 5,
      message: `only root may ${what}`,
      next: "run it with sudo",
    });
  }

  async *#afterSweep(): AsyncGenerator<unknown> {
    while (this.#controller.sweep.running) await this.#controller.sweep.step();
    yield this.#controller.sweep.last ?? {};
  }

  async *#list(): AsyncGenerator<unknown> {
    let slice: Pinhole[] = [];
    const show = async () => {
      const counters = await this.#options.enforcer.counters(slice.map((p) => p.tuple));
      return slice.map((p, i) => withCounters(p, counters[i]));
    };
    for (const p of this.#controller.table.all()) {
      slice.push(p);
      if (slice.length < LIST_SLICE) continue;
      yield* await show();
      slice = [];
    }
    if (slice.length > 0) yield* await show();
  }

  #openByHand(
    request: ControlRequest & { op: "open" },
    peer: Credentials,
  ): AsyncIterable<unknown> {
    const source = parseIp(request.source);
    const destination = parseIp(request.destination);
    const refuse = (message: string, next: string): never => {
      this.#options.audit.refusal(peer.uid, "request.refused", { pid: peer.pid, why: message });
      throw new ControlRefusal({ code: 5, message, next });
    };
    if (source === undefined || ipKind(source) !== "host") {
      return refuse(`source ${request.source} is not one host's address`, "give one address");
    }
    if (destination === undefined || destination.family !== source.family) {
      return refuse(
        `destination ${request.destination} is not an address of the source's family`,
        "give two addresses of one family",
      );
    }
    if (!this.#options.guards(destination)) {
      return refuse(
        `${destination.text} is not an address of this host`,
        "this perimeter guards its own host alone; see perimeter.hooks in diaper.yaml(5)",
      );
    }
    const user = userName(peer.uid);
    if (user === undefined) {
      return refuse(`uid ${peer.uid} has no account on this host`, "use an account with a name");
    }
    const requester: Requester = {
      delegate: OPERATOR,
      user,
      uid: peer.uid,
      pid: 0,
      pidStart: 0n,
      program: "",
    };
    const tuple = {
      protocol: request.proto,
      source,
      sourcePort: request.source_port,
      destination,
      destinationPort: request.destination_port,
    };
    return this.#grantByHand({
      tuple,
      requester,
      cookie: 0n,
      boundAt: undefined,
      ttl: request.ttl,
    });
  }

  async *#grantByHand(request: PinholeRequest): AsyncGenerator<unknown> {
    this.#options.audit.add("pinhole.requested", requestFields(request));
    const decision = this.#controller.judge(request);
    // Root holds the enforcer anyway: its order needs no allow rule, but no deny rule is broken for it.
    const ordered = !decision.permitted && decision.rule === undefined &&
      request.requester.uid === 0;
    if (!decision.permitted && !ordered) {
      this.#options.audit.refusal(request.requester.uid, "pinhole.refused", {
        ...requestFields(request),
        why: decision.why,
      });
      throw new ControlRefusal({
        code: 5,
        message: `refused: ${decision.why}`,
        next: "diaper policy explain shows what each rule says",
      });
    }
    const rule = ordered || decision.rule === undefined
      ? "by order of root"
      : `${decision.rule.file}:${decision.rule.line}`;
    this.#options.audit.add("pinhole.allowed", { ...requestFields(request), rule });
    let verdict: Verdict | undefined;
    const p = this.#controller.open(request, rule, decision, (v) => verdict = v, false);
    await this.#controller.execution.flush();
    if (p === undefined || verdict?.kind !== "open") {
      throw new ControlRefusal({
        code: 1,
        message: `not opened: ${verdict?.why ?? "no answer"}`,
        next: "diaper status and diaper doctor show what is wrong",
      });
    }
    yield pinholeFields(p);
  }

  #closeByHand(id: number, peer: Credentials): AsyncIterable<unknown> {
    const p = this.#controller.table.get(id);
    if (p === undefined) {
      throw new ControlRefusal({
        code: 1,
        message: `there is no pinhole ${id}`,
        next: "diaper pinhole list shows those that are open",
      });
    }
    if (peer.uid !== 0 && peer.uid !== p.requester.uid) {
      throw new ControlRefusal({
        code: 5,
        message: `pinhole ${id} belongs to ${p.requester.user}`,
        next: "run it with sudo",
      });
    }
    return this.#endByHand(p);
  }

  async *#endByHand(p: Pinhole): AsyncGenerator<unknown> {
    this.#controller.execution.close(p, "by-hand");
    await this.#controller.execution.flush();
    if (p.state !== "closed") {
      throw new ControlRefusal({
        code: 1,
        message: `pinhole ${p.id} is not closed yet: ${
          this.#controller.execution.enforcerFailed ?? "the enforcer did not confirm it"
        }`,
        next: "it is tried again every second; diaper status shows the enforcer's state",
      });
    }
    yield pinholeFields(p);
  }
}

async function* one(value: unknown): AsyncGenerator<unknown> {
  yield value;
}

function withCounters(p: Pinhole, c: Counters | undefined): Record<string, unknown> {
  if (c !== undefined) [p.packets, p.bytes] = [c.packets, c.bytes];
  return pinholeFields(p);
}
