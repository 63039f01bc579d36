/**
 * Capabilities of this process (capabilities(7)).
 *
 * @module
 */

/** Numbers of the capabilities that Diaper asks about (linux/capability.h). */
export const CAPABILITY = {
  CAP_CHOWN: 0,
  CAP_DAC_OVERRIDE: 1,
  CAP_NET_ADMIN: 12,
  CAP_SYS_PTRACE: 19,
} as const;

/** One of {@link CAPABILITY}'s names. */
export type CapabilityName = keyof typeof CAPABILITY;

/**
 * Those of the named capabilities that are not effective.
 *
 * @param status text of a /proc/PID/status.
 */
export function missingCapabilities(
  names: readonly CapabilityName[],
  status: string = Deno.readTextFileSync("/proc/self/status"),
): CapabilityName[] {
  const effective = BigInt(`0x${/^CapEff:\t([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  return names.filter((name) => (effective >> BigInt(CAPABILITY[name]) & 1n) === 0n);
}
