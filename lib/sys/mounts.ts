/**
 * What is mounted where (proc_pid_mountinfo(5)).
 *
 * @module
 */

/** A mounted file system. */
export interface Mount {
  readonly point: string;
  readonly type: string;
  /** Options of the mount, such as `ro` and `noexec`. */
  readonly options: ReadonlySet<string>;
}

/** Reads a mountinfo file's text; lines that make no sense are left out. */
export function parseMounts(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const fields = line.split(" ");
    const separator = fields.indexOf("-");
    const [point, options, type] = [fields[4], fields[5], fields[separator + 1]];
    if (separator < 6 || point === undefined || options === undefined || type === undefined) {
      return [];
    }
    return [{ point: unescape(point), type, options: new Set(options.split(",")) }];
  });
}

/** The mount that a path lies on; the newest where several are on top of one another. */
export function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  let best: Mount | undefined;
  for (const mount of mounts) {
    const inside = mount.point === "/" || path === mount.point ||
      path.startsWith(`${mount.point}/`);
    if (inside && mount.point.length >= (best?.point.length ?? 0)) best = mount;
  }
  return best;
}

/** The mounts that this process sees. */
export function ownMounts(): Mount[] {
  return parseMounts(Deno.readTextFileSync("/proc/self/mountinfo"));
}

/** Space, tab, newline and backslash are written as octal numbers. */
function unescape(text: string): string {
  return text.replace(
    /\\([0-7]{3})/g,
    (_, octal: string) => String.fromCharCode(parseInt(octal, 8)),
  );
}
