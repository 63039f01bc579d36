/**
 * Two controllers of one perimeter, with a real etcd between them, and a broker that knows both.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { newKeyPair } from "../../lib/sys/ssh.ts";
import { DIAPER_BINARY, type DiaperHost } from "./diaper.ts";
import type { Host } from "./host.ts";
import { Lab, labPossible } from "./lab.ts";
import { RemoteSite, SSH_PORT } from "./remote.ts";

/** The outside host that pinholes are for. */
export const SOURCE = "198.51.100.7";
const INSIDE = "192.0.2.1";
/** Addresses of etcd and router: each controller knows them by one of its own. */
export const ETCD = ["192.0.2.9", "192.0.2.10"] as const;
/** There is what it takes. */
export const clusterPossible: boolean = labPossible && existsSync("/usr/bin/etcd");

/** All that belongs to it. */
export interface Cluster {
  readonly lab: Lab;
  /** The first leads at the beginning; each knows etcd by an address of its own. */
  readonly sites: readonly [RemoteSite, RemoteSite];
  readonly broker: DiaperHost;
  readonly etcd: Host;
}

/** A router that stands beside etcd, which each controller knows by the same addresses as etcd. */
export const ROUTER = { port: 2022, enforcer: "eos" } as const;

/** What a cluster is made with. */
export interface ClusterSpec {
  /** Default: nftables. */
  readonly enforcer?: "nftables" | "router" | undefined;
  /** As in the configuration. */
  readonly patience: string;
  /** Seconds that the router may take for an answer. */
  readonly timeout?: number;
}

/** Starts a cluster, works with it, and takes it down. */
export async function withCluster(
  spec: ClusterSpec,
  work: (c: Cluster) => Promise<void>,
): Promise<void> {
  await using lab = await Lab.create({
    outside: [{ name: "out", addresses: [SOURCE] }],
    inside: [{ name: "in", addresses: [INSIDE] }, { name: "etcd", addresses: [ETCD[0]] }],
  });
  const etcd = lab.host("etcd");
  await etcd.must("ip", ["addr", "add", `${ETCD[1]}/32`, "dev", "eth0"]);
  await lab.perimeter.must("ip", ["route", "add", ETCD[1], "dev", "etcd"]);
  etcd.spawn("etcd", [
    ...["--data-dir", lab.path("etcd"), "--listen-peer-urls", "http://127.0.0.1:2380"],
    ...["--listen-client-urls", ETCD.map((a) => `http://${a}:2379`).join(",")],
    ...["--advertise-client-urls", `http://${ETCD[0]}:2379`, "--log-level", "error"],
  ]);
  await etcd.waitForListener("tcp", 2379);
  const router = spec.enforcer === "router"
    ? await startRouter(lab, etcd, spec.timeout ?? 2)
    : undefined;
  const start = (i: 0 | 1, like?: RemoteSite) =>
    RemoteSite.start(lab, {
      server: "embedded",
      enforcer: router === undefined ? "nftables" : ROUTER.enforcer,
      policy: [`allow host1 root tcp ${SOURCE} * ${INSIDE} 1024-65535`],
      delegates: ["host1"],
      name: `controller${i}`,
      port: SSH_PORT + i,
      ...(like === undefined ? {} : { like, ready: /standing by/ }),
      settings: [
        "metrics: off",
        "cluster:",
        `  etcd: ["http://${ETCD[i]}:2379"]`,
        `  patience: ${spec.patience}`,
        ...(router === undefined ? [] : ["enforcer:", `  host: "${ETCD[i]}"`, ...router]),
      ],
    }, router === undefined ? ["out"] : []);
  const first = await start(0);
  const second = await start(1, first);
  const broker = await first.broker(lab.host("in"), "host1", ["  wait: 60s"], [second]);
  await work({ lab, sites: [first, second], broker, etcd });
}

/** Starts it; returns what is said of it in configurations, without its address. */
async function startRouter(lab: Lab, host: Host, timeout: number): Promise<string[]> {
  const [key, password] = [lab.path("router-key"), lab.path("router-password")];
  const pair = newKeyPair("router");
  Deno.writeTextFileSync(key, pair.privateKey, { mode: 0o600 });
  Deno.writeTextFileSync(password, "diaper\n", { mode: 0o600 });
  const router = host.spawn(DIAPER_BINARY, [
    ...["lab", "device", ROUTER.enforcer, "--listen", "0.0.0.0", "--port", String(ROUTER.port)],
    ...["--speed", "0", "--capacity", "4000", "--host-key", key],
  ]);
  await router.waitForLine(/host_key/);
  return [
    `  port: ${ROUTER.port}`,
    "  user: diaper",
    `  password_file: ${password}`,
    `  host_key: "ssh-ed25519 ${pair.publicKey}"`,
    `  timeout: ${timeout}`,
    "  connect_timeout: 3",
    "  optimal_batch: 50",
  ];
}

/** Cuts a host off from what comes to it, by rules that drop it. */
export async function cut(host: Host, ...rules: string[]): Promise<void> {
  await host.must("nft", ["add table ip cut"]);
  await host.must("nft", ["add chain ip cut in { type filter hook input priority 0; }"]);
  for (const rule of rules) await host.must("nft", [`add rule ip cut in ${rule} drop`]);
}
