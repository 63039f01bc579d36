/**
 * Authorization (paper, section 4.2): judges proven requests by the site policy.
 *
 * @module
 */
import { parseIp } from "../net/ip.ts";
import {
  compilePolicy,
  type HostResolver,
  IDLE_STATE,
  parsePolicy,
  type Policy,
  type PolicyDecision,
  problemText,
} from "../pinhole/policy.ts";
import type { Pinhole } from "../pinhole/pinhole.ts";
import type { PinholeRequest } from "../pinhole/request.ts";
import { endUserKey, type PinholeTable } from "./pinhole_table.ts";
import { RateCounter } from "./rate_counter.ts";

/** A site policy as text, with the names in it already resolved: what crosses to the data plane. */
export interface PolicySource {
  readonly file: string;
  readonly text: string;
  /** Addresses of each host named in it. */
  readonly hosts: Readonly<Record<string, readonly string[]>>;
  /** Hosts that get no pinholes for a time: rules of a file of their own, behind those of the site. */
  readonly denials?: { readonly file: string; readonly text: string } | undefined;
}

/** The account and delegate of pinholes that are opened by hand. */
export const OPERATOR = "operator";

/** The policy in force, with what it needs to know of the past. */
export class Authorization {
  #policy: Policy;
  readonly #table: PinholeTable;
  readonly #requests = new RateCounter();

  constructor(policy: Policy, table: PinholeTable) {
    this.#policy = policy;
    this.#table = table;
  }

  /** Judges a request and counts it. */
  judge(request: PinholeRequest): PolicyDecision {
    const now = Date.now();
    // How often somebody asks must not depend on a clock that can be set.
    const steady = performance.now();
    const { requester: { delegate, user }, tuple } = request;
    const { protocol, source, sourcePort, destination, destinationPort } = tuple;
    const decision = this.#policy.decide(
      { delegate, user, protocol, source, sourcePort, destination, destinationPort, at: now },
      {
        openPinholes: (d, u) => this.#table.openOf(d, u),
        recentRequests: (d, u) => this.#requests.count(endUserKey(d, u), steady),
      },
    );
    this.#requests.add(endUserKey(delegate, user), steady);
    return decision;
  }

  /** Puts another policy in force. */
  replace(policy: Policy): void {
    this.#policy = policy;
  }

  /**
   * The living pinholes that the policy in force does not permit. How many a user has open and how often
   * they ask does not count here: that limits new ones.
   */
  denied(): Pinhole[] {
    const at = Date.now();
    const denied: Pinhole[] = [];
    for (const p of this.#table.all()) {
      const { delegate, user } = p.requester;
      const decision = this.#policy.decide({ delegate, user, ...p.tuple, at }, IDLE_STATE);
      // What root ordered stands without an allow rule, but not against a deny rule.
      const byHand = p.cookie === 0n && p.origin === undefined;
      const ordered = byHand && decision.rule === undefined;
      if (!decision.permitted && !ordered) denied.push(p);
    }
    return denied;
  }
}

/**
 * Reads a policy that was loaded before.
 *
 * @throws {Error} with every problem, when it has any.
 */
export function readPolicy(source: PolicySource): Policy {
  const resolve: HostResolver = (name) => {
    const addresses = (source.hosts[name] ?? []).flatMap((text) => parseIp(text) ?? []);
    return addresses.length === 0 ? { addresses, failure: "was not resolved" } : { addresses };
  };
  const { denials } = source;
  const site = parsePolicy(source.text, source.file, resolve);
  const behind = denials === undefined ? undefined : parsePolicy(denials.text, denials.file);
  const errors = [...site.problems, ...behind?.problems ?? []].filter((p) =>
    p.severity === "error"
  );
  if (errors.length > 0) {
    throw new Error(errors.map(problemText).join("\n"));
  }
  return compilePolicy([...site.rules, ...behind?.rules ?? []]);
}
