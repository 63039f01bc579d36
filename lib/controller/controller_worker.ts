/**
 * The data plane of `diaper controller` as a Worker.
 *
 * @module
 */
import { createDryRun } from "../../drivers/dry_run.ts";
import type { Enforcer } from "../../drivers/enforcer.ts";
import { createEnforcer, driverEntry } from "../../drivers/registry.ts";
import type { PolicySource } from "./authorization.ts";
import type { Config } from "./config.ts";
import { parsePrefix } from "../config/values.ts";
import { enforcerOptions } from "./enforcer_options.ts";
import { serveAsWorker } from "./orders.ts";
import { RemoteController } from "./remote_controller.ts";
import { SEVERAL, SeveralEnforcers } from "./several_enforcers.ts";

serveAsWorker(async ({ config, policy, enforcer, dryRun, controlGid, gate }, tell) =>
  new RemoteController({
    config,
    policy: policy as PolicySource,
    enforcer: await enforcerOf(enforcer ?? "", dryRun === true, config),
    controlGid,
    gate,
    log: (level, text) => tell({ news: "log", level, text }),
    reload: () => tell({ news: "reload" }),
    standby: () => tell({ news: "standby" }),
  })
);

async function enforcerOf(name: string, dryRun: boolean, config: Config): Promise<Enforcer> {
  if (name === SEVERAL) {
    return new SeveralEnforcers(
      await Promise.all(config.enforcers.map(async ({ driver, destinations, options }) => ({
        enforcer: await enforcerOf(driver, dryRun, { ...config, enforcer: options }),
        destinations: destinations?.flatMap((text) => parsePrefix(text) ?? []),
      }))),
    );
  }
  const enforcer = await createEnforcer(name, enforcerOptions(name, config));
  if (!dryRun) return enforcer;
  const encoder = new TextEncoder();
  return createDryRun(enforcer, {
    check: driverEntry(name).kind === "host",
    say: (text) => {
      const bytes = encoder.encode(text);
      for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
    },
  });
}
