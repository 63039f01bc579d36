/**
 * Measures the iptables and ipset drivers in a network namespace of its own, against the plain programs that
 * are fed the same batches in the same run, taking turns. Needs root.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { Enforcer, EnforcerChange } from "../../drivers/enforcer.ts";
import { createIpset } from "../../drivers/ipset.ts";
import { createIptables } from "../../drivers/iptables.ts";
import { parseIp } from "../../lib/net/ip.ts";
import { enterOwnNetwork } from "../../lib/sys/namespace.ts";
import { runTool } from "../../lib/sys/tool.ts";
import { median, report } from "./report.ts";

const ROUNDS = 60;
/** Code is compiled as it is used: a controller that has served for a while is what is measured. */
const WARM_UP = 60;
const TARGET = 0.9;
const BATCHES = [1, 200, 1000];

/** A driver, and the program that it stands against. */
interface Contest {
  readonly title: string;
  readonly driver: Enforcer;
  readonly program: string;
  readonly args: readonly string[];
  readonly batches: readonly number[];
}

function changes(from: number, count: number, action: "open" | "close"): EnforcerChange[] {
  return Array.from({ length: count }, (_, j) => {
    const i = from + j;
    return {
      action,
      id: i + 1,
      lease: 600,
      tuple: {
        protocol: "tcp",
        source: address(`198.18.${(i >> 8) & 255}.${i & 255}`),
        sourcePort: 0,
        destination: address("192.0.2.1"),
        destinationPort: 32_768 + (i * 7919) % 28_232,
      },
    };
  });
}

function address(text: string): NonNullable<ReturnType<typeof parseIp>> {
  return parseIp(text) as NonNullable<ReturnType<typeof parseIp>>;
}

async function contest({ title, driver, program, args, batches }: Contest): Promise<void> {
  await driver.connect();
  const apply = async (batch: readonly EnforcerChange[]) => {
    const start = performance.now();
    const results = await driver.apply(batch);
    const took = performance.now() - start;
    for (const result of results) if (!result.ok) throw new Error(result.message);
    return took;
  };
  const feed = async (batch: readonly EnforcerChange[]) => {
    const text = driver.plan(batch);
    const start = performance.now();
    const { code, stderr } = await runTool(program, args, text);
    const took = performance.now() - start;
    if (code !== 0) throw new Error(`${program}: ${stderr}`);
    return took;
  };
  try {
    for (const size of batches) {
      const [open, close] = [changes(0, size, "open"), changes(0, size, "close")];
      // The chains of the tree are made by the first batch, and stay.
      await apply(open);
      const plainClose = driver.plan(close);
      await apply(close);
      const mine = async () => {
        const took = await apply(open);
        await apply(close);
        return took;
      };
      const theirs = async () => {
        const took = await feed(open);
        const { code, stderr } = await runTool(program, args, plainClose);
        if (code !== 0) throw new Error(`${program}: ${stderr}`);
        return took;
      };
      const [ratios, plain]: [number[], number[]] = [[], []];
      for (let round = 0; round < WARM_UP; round++) await mine();
      for (let round = 0; round < ROUNDS; round++) {
        // They take turns, also in being first: what else the machine does meets both.
        const first = round % 2 === 0 ? await mine() : await theirs();
        const second = round % 2 === 0 ? await theirs() : await mine();
        const [own, other] = round % 2 === 0 ? [first, second] : [second, first];
        ratios.push(other / own);
        plain.push(size / other * 1000);
      }
      const baseline = median(plain);
      const rate = baseline * median(ratios);
      report(title, `adds in batches of ${size}`, rate, "1/s", {
        baseline,
        target: `at least ${TARGET} of ${program} fed the same`,
        met: rate >= TARGET * baseline,
      });
    }
  } finally {
    await driver.remove();
    await driver.close();
  }
}

const CONTESTS: Readonly<Record<string, () => Contest>> = {
  nft: () => iptables("nft"),
  legacy: () => iptables("legacy"),
  ipset: () => ({
    title: "ipset",
    driver: createIpset(),
    program: "ipset",
    args: ["-exist", "restore"],
    batches: BATCHES,
  }),
};

function iptables(backend: "nft" | "legacy"): Contest {
  return {
    title: `iptables (${backend})`,
    driver: createIptables({ backend }),
    program: `iptables-${backend}-restore`,
    args: ["--noflush", "-w", "10"],
    batches: BATCHES,
  };
}

const [option, name = ""] = Deno.args;
if (option === "--inside") {
  enterOwnNetwork();
  const wanted = CONTESTS[name];
  if (wanted === undefined) throw new Error(`There is no contest named ${name}`);
  await contest(wanted());
} else {
  // Each in a process of its own, since a controller has one driver; its namespace ends with it.
  for (const wanted of Object.keys(CONTESTS)) {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", fileURLToPath(import.meta.url), "--inside", wanted, ...Deno.args],
      stdin: "null",
    }).spawn();
    const { code } = await child.status;
    if (code !== 0) Deno.exit(code);
  }
}
