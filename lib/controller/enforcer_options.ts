/**
 * What drivers are set up with, of the configuration; and what is wrong with that, before anything starts.
 *
 * @module
 */
import { DRIVERS, optionProblems } from "../../drivers/registry.ts";
import type { Misfit } from "../config/yaml.ts";
import type { Config } from "./config.ts";
import { SEVERAL } from "./several_enforcers.ts";

/** Filters of this host, for which the section `perimeter` counts as well. */
const OF_THIS_HOST: readonly string[] = ["nftables", "iptables", "ipset"];

/** The options of an enforcer: the section `enforcer`, and what is said elsewhere. */
export function enforcerOptions(name: string, config: Config): Record<string, unknown> {
  if (!OF_THIS_HOST.includes(name)) return config.enforcer;
  const { hooks, outside, open_ports, capacity, allow_ping, table } = config.perimeter;
  return {
    hooks,
    ...(outside.length === 0 ? {} : { outside }),
    open_ports,
    capacity,
    allow_ping,
    ...(name === "nftables" ? { table } : {}),
    // Where nothing is forwarded, another device translates.
    ...(name === "nftables" && hooks.includes("forward") ? { nat: config.nat.addresses } : {}),
    ...config.enforcer,
  };
}

/**
 * What in a configuration does not fit the enforcers that it is used with.
 *
 * @param name of the enforcer, or {@link SEVERAL}.
 */
export async function enforcerMisfits(name: string, config: Config): Promise<Misfit[]> {
  if (name !== SEVERAL) return await misfits(name, config, ["enforcer"]);
  const found: Misfit[] = [];
  for (const [i, { driver, options }] of config.enforcers.entries()) {
    const own = { ...config, enforcer: options };
    if (DRIVERS.some((d) => d.name === driver)) {
      found.push(...await misfits(driver, own, ["enforcers", i, "options"]));
    } else {
      const known = DRIVERS.map((d) => d.name).join(", ");
      const message = `there is no enforcer of this name; choose from ${known}`;
      found.push({ path: ["enforcers", i, "driver"], key: false, message });
    }
  }
  return found;
}

/** @param section where the enforcer's own options stand. */
async function misfits(
  name: string,
  config: Config,
  section: readonly PropertyKey[],
): Promise<Misfit[]> {
  const problems = await optionProblems(name, enforcerOptions(name, config));
  return problems.map(({ path, key, message }) => {
    const [first] = path;
    const elsewhere = OF_THIS_HOST.includes(name) && first !== undefined &&
      !Object.hasOwn(config.enforcer, first);
    return { path: [...(elsewhere ? ["perimeter"] : section), ...path], key, message };
  });
}
