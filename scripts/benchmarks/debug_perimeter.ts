/**
 * A perimeter whose enforcer only remembers, with broker, policy, ledger and audit trail as in `diaper up`.
 * Argument: the configuration. Runs until it is killed.
 *
 * @module
 */
import { createDebug } from "../../drivers/debug.ts";
import { loadPolicySource } from "../../lib/cli/policy_source.ts";
import { loadConfig } from "../../lib/controller/config.ts";
import { denialsFile } from "../../lib/controller/denials.ts";
import { Perimeter } from "../../lib/controller/perimeter.ts";

const { config } = loadConfig(Deno.args[0]);
const perimeter = new Perimeter({
  config,
  policy: await loadPolicySource(config.policy, denialsFile(config.state_dir)),
  enforcer: createDebug(),
  controlGid: undefined,
  log: (level, text) => Deno.stderr.writeSync(new TextEncoder().encode(`${level}: ${text}\n`)),
  reload: () => {},
});
await perimeter.start();
// Standard input: readable when whoever started it is gone.
await perimeter.run(0, () => perimeter.stop());
await perimeter.close();
