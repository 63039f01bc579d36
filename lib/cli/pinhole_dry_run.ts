/**
 * What `pinhole open --dry-run` finds out: whether the policy file would permit the pinhole.
 *
 * @module
 */
import { OPERATOR } from "../controller/authorization.ts";
import type { Config } from "../controller/config.ts";
import { type Endpoint } from "../pinhole/endpoint.ts";
import { type Protocol, tupleText } from "../pinhole/pinhole.ts";
import { compilePolicy, IDLE_STATE } from "../pinhole/policy.ts";
import { userName } from "../sys/accounts.ts";
import { EXIT } from "./exit.ts";
import { printJson, printLine, style, visible } from "./output.ts";
import { readValidPolicy } from "./policy_files.ts";

/** The pinhole that is asked about. */
export interface WantedPinhole {
  readonly proto: Protocol;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly ttl: number;
  readonly json?: boolean;
}

/**
 * Says whether the policy permits a pinhole opened by hand; sets the exit code when it does not. How many
 * the user has open already is not taken into account.
 *
 * @throws {CliError} when the policy cannot be read or is not valid.
 */
export async function explainOpen(config: Config, wanted: WantedPinhole): Promise<void> {
  const uid = Deno.uid() ?? -1;
  const policy = compilePolicy((await readValidPolicy(config.policy)).rules);
  const tuple = {
    protocol: wanted.proto,
    source: wanted.source.address,
    sourcePort: wanted.source.port,
    destination: wanted.destination.address,
    destinationPort: wanted.destination.port,
  };
  const asker = { delegate: OPERATOR, user: userName(uid) ?? `uid ${uid}` };
  const decision = policy.decide({ ...asker, ...tuple, at: Date.now() }, IDLE_STATE);
  const ordered = !decision.permitted && decision.rule === undefined && uid === 0;
  const permitted = decision.permitted || ordered;
  const rule = decision.rule === undefined ? null : `${decision.rule.file}:${decision.rule.line}`;
  const why = ordered ? "by order of root, since no rule denies it" : decision.why;
  const ttl = Math.min(wanted.ttl, decision.ttlSeconds ?? Infinity);
  if (wanted.json === true) {
    printJson({ permitted, why, rule, ...(permitted ? { ttl } : {}) });
  } else {
    const verdict = permitted ? "would be opened" : "would be refused";
    printLine(`${tupleText(tuple)} ${style(permitted ? "green" : "red", verdict)}`);
    printLine(`  ${visible(why)}`);
    if (permitted) printLine(`  for ${ttl} s`);
  }
  if (!permitted) Deno.exitCode = EXIT.NOT_PERMITTED;
}
