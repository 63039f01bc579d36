/**
 * A policy as a daemon takes it: checked, with the host names in it resolved.
 *
 * @module
 */
import type { PolicySource } from "../controller/authorization.ts";
import { denialLines } from "../controller/denials.ts";
import { parsePolicy } from "../pinhole/policy.ts";
import { readLimited, refuseErrors, resolveHosts } from "./policy_files.ts";

/**
 * Reads a policy for use.
 *
 * @param denials file of hosts that get no pinholes for a time; its lines stand behind those of the site.
 * @throws {CliError} when it cannot be read or has errors, which are shown first.
 */
export async function loadPolicySource(file: string, denials: string): Promise<PolicySource> {
  const bytes = await readLimited(file);
  const answers = await resolveHosts(bytes);
  const { problems } = parsePolicy(bytes, file, (name) => answers.get(name) ?? { addresses: [] });
  refuseErrors(file, problems);
  const behind = denialLines(denials);
  refuseErrors(denials, parsePolicy(behind, denials).problems);
  const hosts = [...answers].map(([name, a]) => [name, a.addresses.map((ip) => ip.text)] as const);
  return {
    file,
    text: new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    hosts: Object.fromEntries(hosts),
    denials: behind === "" ? undefined : { file: denials, text: behind },
  };
}
