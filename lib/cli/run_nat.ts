/**
 * What `diaper run --nat-aware` tells the agent of the addresses that the outside knows this host by.
 *
 * @module
 */
import type { Config } from "../controller/config.ts";
import { CliError, EXIT } from "./exit.ts";
import type { Way } from "./run_trace.ts";

const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
/** As in agent/preload/nat.c. */
const MOST_ADDRESSES = 16;
const MOST_PREFIXES = 32;

/**
 * The agent's variables.
 *
 * @throws {CliError} when nothing is configured, too much, or no agent would be there.
 */
export function natVariables(nat: Config["nat"], way: Way, file: string): Record<string, string> {
  const pairs = Object.entries(nat.addresses);
  const local = nat.local.length === 0 ? PRIVATE : nat.local;
  if (way !== "preload") {
    throw new CliError(
      EXIT.FAILED,
      "--nat-aware needs the agent: a supervisor does not see what the program asks for its address",
      "leave --nat-aware away, and set the address that the program announces in its own configuration",
    );
  }
  if (pairs.length === 0) {
    throw new CliError(
      EXIT.INVALID,
      `${file}: nat.addresses says no outside address`,
      "set it, such as nat: {addresses: {10.0.0.5: 203.0.113.1}}; see diaper.yaml(5)",
    );
  }
  if (pairs.length > MOST_ADDRESSES || local.length > MOST_PREFIXES) {
    throw new CliError(
      EXIT.INVALID,
      `${file}: nat has ${pairs.length} addresses and ${local.length} prefixes; a program can be told ` +
        `${MOST_ADDRESSES} and ${MOST_PREFIXES}`,
      "leave the addresses of other hosts out of this host's configuration",
    );
  }
  return {
    DIAPER_NAT: pairs.map(([inside, outside]) => `${inside}=${outside}`).join(","),
    DIAPER_NAT_LOCAL: local.join(","),
  };
}
