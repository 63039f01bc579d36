/**
 * What controllers may have done to hosts at their NIs: within what the registry says of them, never over the head of
 * somebody else, and of no host that is never to be contained.
 *
 * @module
 */
import { inRange, parseIp } from "../net/ip.ts";
import type { ContainmentOrder, ContainRequest } from "./messages.ts";
import { niOfHost, type Peer } from "./registry.ts";
import type { OrderRecord } from "./state.ts";

/** What is looked at before a controller's wish becomes an order. */
export interface ControllerOrderFacts {
  readonly peers: readonly Peer[];
  /** Why an address is never to be contained. */
  readonly neverBlock: (host: string) => string | undefined;
  /** Orders about a host that hold. */
  readonly holding: (host: string) => readonly OrderRecord[];
}

/** The order, and the NIs that it is for; or why there is none. */
export type ControllerOrder =
  | { readonly order: ContainmentOrder; readonly peers: readonly string[] }
  | { readonly why: string };

/** Whose orders those of a controller are: no person's account has a colon in its name. */
export function controllerOwner(name: string): string {
  return `controller:${name}`;
}

/**
 * Judges what a controller asks for.
 *
 * @param now milliseconds since the epoch.
 */
export function controllerOrder(
  controller: Peer,
  request: ContainRequest,
  facts: ControllerOrderFacts,
  now: number,
): ControllerOrder {
  const host = parseIp(request.host);
  if (host === undefined) return { why: `"${request.host}" is not an address` };
  const { verb, lifetime } = request;
  const letsGo = verb === "allow";
  const never = letsGo ? undefined : facts.neverBlock(host.text);
  if (never !== undefined) return { why: `${host.text} is never to be contained: ${never}` };
  if (controller.orders.length === 0) return { why: `${controller.name} may give no orders` };
  if (!letsGo && !controller.orders.includes(verb)) {
    return { why: `${controller.name} may only ${controller.orders.join(", ")}` };
  }
  if (!controller.hosts.some((range) => inRange(host, range))) {
    return { why: `${host.text} is none of the hosts that ${controller.name} may order about` };
  }
  if (lifetime > controller.longest) {
    return { why: `${controller.name} may order for ${controller.longest} seconds at most` };
  }
  const owner = controllerOwner(controller.name);
  const others = facts.holding(host.text).find(({ order }) => order.owner !== owner);
  if (others !== undefined) {
    const { order, until } = others;
    const end = new Date(until).toISOString();
    return { why: `${order.owner} has ordered ${order.verb} until ${end}: ${order.reason}` };
  }
  const peers = niOfHost(facts.peers, host).map(({ name }) => name);
  if (peers.length === 0) return { why: `no NI is known to stand before ${host.text}` };
  const { dry_run: _, ...fields } = request;
  const issued_at = new Date(now).toISOString();
  return { order: { ...fields, host: host.text, owner, issued_at }, peers };
}
