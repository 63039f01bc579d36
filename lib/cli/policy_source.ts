/**
 * A policy as a daemon takes it: checked, with the host names in it resolved.
 *
 * @module
 */
import type { PolicySource } from "../controller/authorization.ts";
import { parsePolicy } from "../pinhole/policy.ts";
import { readLimited, refuseErrors, resolveHosts } from "./policy_files.ts";

/**
 * Reads a policy for use.
 *
 * @throws {CliError} when it cannot be read or has errors, which are shown first.
 */
export async function loadPolicySource(file: string): Promise<PolicySource> {
  const bytes = await readLimited(file);
  const answers = await resolveHosts(bytes);
  const { problems } = parsePolicy(bytes, file, (name) => answers.get(name) ?? { addresses: [] });
  refuseErrors(file, problems);
  const hosts = [...answers].map(([name, a]) => [name, a.addresses.map((ip) => ip.text)] as const);
  return {
    file,
    text: new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    hosts: Object.fromEntries(hosts),
  };
}
