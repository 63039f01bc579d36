/**
 * The running kernel's version.
 *
 * @module
 */

/** The kernel's release as it names itself, such as `6.1.0-18-amd64`. */
export function kernelRelease(): string {
  return Deno.readTextFileSync("/proc/sys/kernel/osrelease").trim();
}

/** True when the kernel is of this version or a later one. */
export function kernelAtLeast(major: number, minor: number): boolean {
  const [a = 0, b = 0] = kernelRelease().split(".").map((part) => parseInt(part, 10));
  return a > major || (a === major && b >= minor);
}
