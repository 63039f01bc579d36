/**
 * 10,000 queued pinholes carried out by execution, with ledger and audit trail, on nftables; beside it the
 * same batches given to libnftables directly, in the same run, in a network namespace of its own. Needs root.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { createNftables } from "../../drivers/nftables.ts";
import { AuditTrail } from "../../lib/controller/audit.ts";
import { Execution } from "../../lib/controller/execution.ts";
import { Ledger } from "../../lib/controller/ledger.ts";
import { PinholeTable } from "../../lib/controller/pinhole_table.ts";
import { type IpAddress, parseIp } from "../../lib/net/ip.ts";
import type { Pinhole } from "../../lib/pinhole/pinhole.ts";
import { Libnftables } from "../../lib/sys/libnftables.ts";
import { median, report } from "./report.ts";

const TABLE = "diaper_bench";
const COUNT = 10_000;
const ROUNDS = 15;
const LEASE = 3600;
const SOURCE = parseIp("198.51.100.7") as IpAddress;
const DESTINATION = parseIp("192.0.2.1") as IpAddress;

async function main(): Promise<number> {
  if (Deno.args.includes("--inside")) {
    await measure();
    return 0;
  }
  const child = new Deno.Command("unshare", {
    args: [
      ...["--net", Deno.execPath(), "run", "-A", fileURLToPath(import.meta.url), "--inside"],
      ...Deno.args,
    ],
    stdin: "null",
  }).spawn();
  return (await child.status).code;
}

async function measure(): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "diaper-queue-" });
  const enforcer = createNftables({ table: TABLE });
  const nft = new Libnftables();
  const ledger = new Ledger(`${directory}/ledger.db`);
  const audit = new AuditTrail(`${directory}/audit.jsonl`);
  const table = new PinholeTable();
  const execution = new Execution(enforcer, ledger, table, audit, LEASE);
  try {
    await enforcer.connect();
    const ratios: number[] = [];
    const direct: number[] = [];
    for (let round = 0; round <= ROUNDS; round++) {
      const one = await throughExecution(execution, ledger);
      const two = byLibrary(nft, enforcer.capabilities.optimalBatch);
      // As a data plane does in quiet moments.
      audit.flush();
      execution.settle();
      ledger.tidy();
      if (round === 0) continue; // compiled code, memory of the kernel
      ratios.push(two / one);
      direct.push(COUNT / two);
    }
    // Of rounds, so that what else the machine does meets both.
    const baseline = median(direct);
    const queued = baseline * median(ratios);
    report("queue", `${COUNT} queued pinholes opened, with ledger`, queued, "1/s", {
      baseline,
      target: "at least 0.9 of libnftables with the same batches",
      met: queued >= 0.9 * baseline,
    });
  } finally {
    nft.close();
    audit.close();
    ledger.close();
    await enforcer.remove();
    await enforcer.close();
    await Deno.remove(directory, { recursive: true });
  }
}

/** Seconds from the first request to the last answer; all are closed again. */
async function throughExecution(execution: Execution, ledger: Ledger): Promise<number> {
  const pinholes: Pinhole[] = [];
  let answers = 0;
  const start = performance.now();
  for (let i = 0; i < COUNT; i++) {
    const p = pinhole(ledger.nextId(), i);
    pinholes.push(p);
    execution.open(p, undefined, (verdict) => {
      if (verdict.kind !== "open") throw new Error(verdict.why);
      answers++;
    });
  }
  await execution.flush();
  const seconds = (performance.now() - start) / 1000;
  if (answers !== COUNT) throw new Error(`${answers} answers`);
  for (const p of pinholes) execution.close(p, "by-hand");
  await execution.flush();
  return seconds;
}

function byLibrary(nft: Libnftables, batch: number): number {
  const run = (verb: string, from: number, lease: string) => {
    const elements = Array.from(
      { length: batch },
      (_, i) => `tcp . ${SOURCE.text} . ${DESTINATION.text} . ${1024 + from + i}${lease}`,
    );
    const result = nft.run(`${verb} element inet ${TABLE} ph4 { ${elements.join(", ")} }`);
    if (!result.ok) throw new Error(result.error);
  };
  const start = performance.now();
  for (let from = 0; from < COUNT; from += batch) run("add", from, ` timeout ${LEASE}s`);
  const seconds = (performance.now() - start) / 1000;
  for (let from = 0; from < COUNT; from += batch) run("delete", from, "");
  return seconds;
}

function pinhole(id: number, i: number): Pinhole {
  return {
    id,
    tuple: {
      protocol: "tcp",
      source: SOURCE,
      sourcePort: 0,
      destination: DESTINATION,
      destinationPort: 1024 + i,
    },
    requester: {
      ...{ delegate: "bench", user: "root", uid: 0, pid: 1, pidStart: 1n, program: "/bin/bench" },
    },
    cookie: BigInt(i + 1),
    rule: "site.policy:1",
    state: "opening",
    requestedAt: Date.now(),
    openedAt: undefined,
    expiresAt: undefined,
    idle: undefined,
    packets: 0,
    bytes: 0,
    activeAt: performance.now(),
    leasedUntil: 0,
  };
}

Deno.exit(await main());
