/**
 * Hosts that get no pinholes for a time, by a reaction to a scanner's finding or by an administrator's order. They are
 * kept as deny lines of the policy's own language, behind those of the site: so `policy explain` names them like any
 * other rule, what they deny is closed when they are loaded, and they end by themselves.
 *
 * @module
 */
import { type IpAddress, parseIp } from "../net/ip.ts";
import { parsePolicy } from "../pinhole/policy.ts";
import { existsSync } from "node:fs";

/** One host that gets none. */
export interface Denial {
  readonly host: IpAddress;
  /** Milliseconds since the epoch. */
  readonly until: number;
  /** Who wants it: shown in the rule's id, before the host. */
  readonly id: string;
  readonly why: string;
}

/** Characters of a rule's id. */
const LONGEST_ID = 64;

/** Where they are kept. */
export function denialsFile(stateDir: string): string {
  return `${stateDir}/denials.policy`;
}

/** Lines that hold now; nothing when there are none. */
export function denialLines(file: string): string {
  return existsSync(file) ? Deno.readTextFileSync(file) : "";
}

/** The hosts that get no pinholes now, in a file. */
export class Denials {
  readonly #file: string;
  readonly #hosts = new Map<string, { readonly line: string; readonly until: number }>();

  /**
   * Reads the file. Lines that are over, or that nobody can have written here, are left out.
   *
   * @param now milliseconds since the epoch.
   */
  constructor(file: string, now: number) {
    this.#file = file;
    for (const rule of parsePolicy(denialLines(file), file).rules) {
      const [range] = rule.destinations === "*" ? [] : rule.destinations;
      const { until } = rule.keys;
      if (range === undefined || until === undefined || until <= now) continue;
      this.#hosts.set(range.first.text, { line: rule.text, until });
    }
  }

  /** Until when a host gets none, in milliseconds since the epoch; undefined: it gets some. */
  until(host: IpAddress): number | undefined {
    return this.#hosts.get(host.text)?.until;
  }

  /** A host gets none from now on. The policy is to be loaded anew. */
  add(denial: Denial, now: number): void {
    const { host, until, id, why } = denial;
    const comment = why.replace(/[^ !#-[\]-~]/g, "?").slice(0, 180);
    const end = new Date(until).toISOString();
    // One name, one line: several hosts may be there by one rule.
    const name = `${id.slice(0, LONGEST_ID - host.text.length - 1)}:${host.text}`;
    const line = `deny * * * * * ${host.text} * until=${end} id=${name} comment="${comment}"`;
    this.#hosts.set(host.text, { line, until });
    this.#write(now);
  }

  /** A host gets pinholes again. False when it did. */
  remove(host: string, now: number): boolean {
    const known = this.#hosts.delete(parseIp(host)?.text ?? host);
    if (known) this.#write(now);
    return known;
  }

  #write(now: number): void {
    for (const [host, { until }] of this.#hosts) if (until <= now) this.#hosts.delete(host);
    const text = [...this.#hosts.values()].map(({ line }) => `${line}\n`).join("");
    const draft = `${this.#file}.new`;
    Deno.writeTextFileSync(draft, text, { mode: 0o600 });
    Deno.renameSync(draft, this.#file);
  }
}
