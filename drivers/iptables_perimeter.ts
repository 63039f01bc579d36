/**
 * Makes the chains of a perimeter what they should be, and takes them away.
 *
 * @module
 */
import type { OwnChain } from "./iptables_rules.ts";
import type { SavedTable } from "./iptables_text.ts";
import type { FilterTable } from "./iptables_tools.ts";

const HOOKS = ["INPUT", "FORWARD"] as const;

/**
 * The lines that make a perimeter of what was found; none when all is right. In one transaction there
 * is no moment without it.
 *
 * @param unwanted names of chains of ours that must not be there.
 */
export function perimeterLines(
  found: SavedTable,
  wanted: readonly OwnChain[],
  unwanted: readonly string[],
): string[] {
  const specs = (chain: string) => found.rules.filter((r) => r.chain === chain).map((r) => r.spec);
  const wrong = wanted.filter(({ name, rules }) =>
    !found.chains.has(name) || !same(specs(name), rules)
  );
  const lines = [
    ...wrong.map(({ name }) => `:${name} - [0:0]`),
    ...wrong.flatMap(({ name, rules }) => rules.map((rule) => `-A ${name} ${rule}`)),
  ];
  for (const hook of HOOKS) {
    const own = wanted.filter((chain) => chain.hook === hook).map((chain) => chain.name);
    const others = unwanted.filter((name) => found.chains.has(name));
    const rules = specs(hook);
    const right = own.every((name, i) => rules[i] === `-j ${name}`) &&
      rules.slice(own.length).every((rule) => ![...own, ...others].some((n) => jumpsTo(rule, n)));
    if (right) continue;
    for (const rule of rules) {
      if ([...own, ...others].some((name) => jumpsTo(rule, name))) lines.push(`-D ${hook} ${rule}`);
    }
    own.forEach((name, i) => lines.push(`-I ${hook} ${i + 1} -j ${name}`));
  }
  return [...lines, ...removalLines(found, unwanted)];
}

/** The lines that take chains away, those that are there; nothing but these may jump to them. */
export function removalLines(found: SavedTable, chains: readonly string[]): string[] {
  const present = chains.filter((name) => found.chains.has(name));
  return [...present.map((name) => `-F ${name}`), ...present.map((name) => `-X ${name}`)];
}

/** The lines that take jumps from the built-in chains away. */
export function unhookLines(found: SavedTable, chains: readonly string[]): string[] {
  return found.rules.filter((rule) =>
    HOOKS.some((hook) => hook === rule.chain) && chains.some((name) => jumpsTo(rule.spec, name))
  ).map((rule) => `-D ${rule.chain} ${rule.spec}`);
}

/** True when the chains and the jumps to them are what they should be; quick, since it reads only these. */
export function perimeterIntact(table: FilterTable, wanted: readonly OwnChain[]): boolean {
  const specs = (chain: string) => table.chain(chain)?.map((rule) => rule.spec);
  return wanted.every(({ name, hook, rules }) => {
    const found = specs(name);
    return found !== undefined && same(found, rules) &&
      (hook === undefined || specs(hook)?.[0] === `-j ${name}`);
  });
}

function jumpsTo(spec: string, chain: string): boolean {
  return spec === `-j ${chain}` || spec.endsWith(` -j ${chain}`) ||
    spec.endsWith(` -g ${chain}`);
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, i) => text === b[i]);
}
