/**
 * The data plane of `diaper controller` as a Worker.
 *
 * @module
 */
import { createEnforcer } from "../../drivers/registry.ts";
import type { PolicySource } from "./authorization.ts";
import type { Config } from "./config.ts";
import { serveAsWorker } from "./orders.ts";
import { RemoteController } from "./remote_controller.ts";

serveAsWorker(async ({ config, policy, enforcer, controlGid, gate }, tell) =>
  new RemoteController({
    config,
    policy: policy as PolicySource,
    enforcer: await createEnforcer(enforcer ?? "", enforcerOptions(enforcer ?? "", config)),
    controlGid,
    gate,
    log: (level, text) => tell({ news: "log", level, text }),
    reload: () => tell({ news: "reload" }),
  })
);

/** The options in the section `enforcer`; for filters of this host the section `perimeter` counts as well. */
function enforcerOptions(name: string, config: Config): unknown {
  const { hooks, outside, open_ports, capacity, allow_ping, table } = config.perimeter;
  if (!["nftables", "iptables", "ipset"].includes(name)) return config.enforcer;
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
