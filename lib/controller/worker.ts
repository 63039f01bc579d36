/**
 * The data plane of `diaper up` as a Worker: it waits in the kernel, so that it has a thread of its own.
 *
 * @module
 */
import { createNftables } from "../../drivers/nftables.ts";
import type { PolicySource } from "./authorization.ts";
import { serveAsWorker } from "./orders.ts";
import { Perimeter } from "./perimeter.ts";

serveAsWorker(({ config, policy, controlGid }, tell) => {
  const { table, hooks, outside, open_ports, capacity, allow_ping } = config.perimeter;
  return new Perimeter({
    config,
    policy: policy as PolicySource,
    enforcer: createNftables({
      table,
      hooks,
      outside,
      openPorts: open_ports,
      capacity,
      allowPing: allow_ping,
      // Where nothing is forwarded, another device translates.
      ...(hooks.includes("forward") ? { nat: config.nat.addresses } : {}),
    }),
    controlGid,
    log: (level, text) => tell({ news: "log", level, text }),
    reload: () => tell({ news: "reload" }),
  });
});
