/**
 * Doctor's checks of the network: other filters beside ours, interfaces, and the way in for the administrator.
 *
 * @module
 */
import type { Config } from "../controller/config.ts";
import { Libnftables } from "../sys/libnftables.ts";
import { type Check, fail, messageOf, notLooked, pass, warn } from "./doctor_check.ts";

interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook: string | undefined;
  readonly type: string | undefined;
  readonly policy: string | undefined;
}

/** Hooks that a packet passes before or beside ours. */
const EARLIER_HOOKS: readonly string[] = ["ingress", "prerouting"];
const SSH_PORT = 22;

/** Other filters that stand in the way of what we let in, or let past what we do not see. */
export function firewallCheck(config: Config): Check {
  const name = "other-filters";
  if (Deno.uid() !== 0) return notLooked(name, "other packet filters");
  let ruleset: string;
  try {
    const nft = new Libnftables();
    try {
      const { ok, output, error } = nft.run("list ruleset", { json: true });
      if (!ok) return warn(name, `cannot be listed: ${error}`, "nft list ruleset");
      ruleset = output;
    } finally {
      nft.close();
    }
  } catch (error) {
    return warn(name, `cannot be listed: ${messageOf(error)}`, "see libraries");
  }
  const found = [
    ...conflicts(ruleset, config.perimeter.table, config.perimeter.hooks),
    ...legacyTables(),
  ];
  if (found.length === 0) return pass(name, "no other filter on this host drops packets");
  return warn(
    name,
    found.join("; "),
    "a packet must pass every filter: let them accept what pinholes and open_ports let in, or leave " +
      "the perimeter to diaper alone",
  );
}

/**
 * What in a ruleset (as `nft -j list ruleset` prints it) would drop packets that we accept, or let packets
 * past us.
 *
 * @param own name of our own table, in the family inet.
 * @param hooks where our own chains are.
 */
export function conflicts(ruleset: string, own: string, hooks: readonly string[]): string[] {
  const chains: Chain[] = [];
  const verdicts = new Map<string, { drops: boolean; jumps: string[] }>();
  const found: string[] = [];
  for (const object of objectsOf(ruleset)) {
    const [kind, value] = Object.entries(object)[0] ?? [];
    if (kind === undefined || !isRecord(value)) continue;
    const [family, table] = [String(value["family"]), String(value["table"])];
    if (family === "inet" && table === own) continue;
    if (kind === "chain") chains.push(readChain(value));
    if (kind === "flowtable" && hooks.includes("forward")) {
      found.push(
        `flowtable ${value["name"]} of table ${family} ${table} lets connections past all filters`,
      );
    }
    if (kind !== "rule") continue;
    const key = `${family} ${table} ${value["chain"]}`;
    const known = verdicts.get(key) ?? { drops: false, jumps: [] };
    verdicts.set(key, known);
    const { drops, jumps } = readExpressions(value["expr"]);
    known.drops ||= drops;
    known.jumps.push(...jumps.map((target) => `${family} ${table} ${target}`));
  }
  for (const chain of chains) {
    const { hook } = chain;
    if (hook === undefined || chain.type === "nat") continue;
    if (!EARLIER_HOOKS.includes(hook) && !hooks.includes(hook)) continue;
    const where = `table ${chain.family} ${chain.table}, chain ${chain.name} (${hook})`;
    if (chain.policy === "drop") found.push(`${where} drops what it does not accept`);
    else if (canDrop(`${chain.family} ${chain.table} ${chain.name}`, verdicts)) {
      found.push(`${where} has rules that drop`);
    }
  }
  return found;
}

function canDrop(
  start: string,
  verdicts: ReadonlyMap<string, { readonly drops: boolean; readonly jumps: readonly string[] }>,
): boolean {
  const seen = new Set([start]);
  for (const key of seen) {
    const chain = verdicts.get(key);
    if (chain?.drops === true) return true;
    for (const target of chain?.jumps ?? []) seen.add(target);
  }
  return false;
}

function readChain(value: Record<string, unknown>): Chain {
  const text = (name: string) => typeof value[name] === "string" ? value[name] : undefined;
  return {
    family: String(value["family"]),
    table: String(value["table"]),
    name: String(value["name"]),
    hook: text("hook"),
    type: text("type"),
    policy: text("policy"),
  };
}

/** Verdicts anywhere in a rule, those of verdict maps included. */
function readExpressions(value: unknown): { drops: boolean; jumps: string[] } {
  const result = { drops: false, jumps: [] as string[] };
  const visit = (item: unknown): void => {
    if (Array.isArray(item)) return item.forEach(visit);
    if (!isRecord(item)) return;
    for (const [key, inner] of Object.entries(item)) {
      if (key === "drop" || key === "reject") result.drops = true;
      else if ((key === "jump" || key === "goto") && isRecord(inner)) {
        result.jumps.push(String(inner["target"]));
      } else if (key === "xt" && isRecord(inner) && inner["name"] === "REJECT") {
        result.drops = true;
      } else visit(inner);
    }
  };
  visit(value);
  return result;
}

function objectsOf(ruleset: string): Record<string, unknown>[] {
  const value: unknown = JSON.parse(ruleset === "" ? '{"nftables":[]}' : ruleset);
  const list = isRecord(value) ? value["nftables"] : undefined;
  return Array.isArray(list) ? list.filter(isRecord) : [];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** iptables of the old kind, whose rules nft does not show. */
function legacyTables(): string[] {
  return ["ip_tables", "ip6_tables"].flatMap((kind) => {
    const text = readIfThere(`/proc/net/${kind}_names`) ?? "";
    const names = text.split("\n").filter((name) => name !== "" && name !== "nat");
    return names.length === 0 ? [] : [`${kind} (iptables-legacy) has rules in ${names.join(", ")}`];
  });
}

/** Interfaces that the configuration names. */
export function interfaceChecks(config: Config): Check[] {
  const { hooks, outside } = config.perimeter;
  if (outside.length === 0) {
    return hooks.includes("forward")
      ? [fail(
        "interfaces",
        "forward is among perimeter.hooks, but nothing says which interfaces lead outside",
        "name them in perimeter.outside",
      )]
      : [];
  }
  const missing = outside.filter((name) =>
    readIfThere(`/sys/class/net/${name}/ifindex`) === undefined
  );
  const name = "interfaces";
  return [
    missing.length === 0 ? pass(name, `outside: ${outside.join(", ")}`) : warn(
      name,
      `there is no interface ${missing.join(", ")} now`,
      "see ip link, and perimeter.outside in diaper.yaml(5)",
    ),
  ];
}

/** Whoever administers this host over SSH must still get in once the perimeter is closed. */
export function sshCheck(config: Config): Check[] {
  const { hooks, open_ports } = config.perimeter;
  if (!hooks.includes("input") || !listensOn(SSH_PORT)) return [];
  const open = open_ports.some((p) => p.protocol === "tcp" && p.port === SSH_PORT);
  return [
    open ? pass("ssh", "tcp/22 stays open") : warn(
      "ssh",
      "a server listens at tcp/22, which the perimeter closes: no new SSH session gets in",
      "add tcp/22 to perimeter.open_ports, unless that is meant",
    ),
  ];
}

/** Some socket listens at the TCP port (proc_net(5): state 0A, ports in hexadecimal). */
function listensOn(port: number): boolean {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return ["/proc/net/tcp", "/proc/net/tcp6"].some((file) =>
    (readIfThere(file) ?? "").split("\n").some((line) => {
      const fields = line.trim().split(/\s+/);
      return fields[3] === "0A" && fields[1]?.endsWith(wanted) === true;
    })
  );
}

function readIfThere(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) {
      return undefined;
    }
    throw error;
  }
}
