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
  const site = await readLimited(file);
  // The site's last line need not have an end.
  const behind = denialLines(denials);
  const bytes = behind === "" ? site : joined(site, new TextEncoder().encode(`\n${behind}`));
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

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
