/**
 * A part of the machine for wrappers alone: accounts, /etc, /usr/local and /run of its own, and processes
 * and network of its own, all of which end with the process that runs in it.
 *
 * @module
 */
import assert from "node:assert/strict";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** Accounts that exist in there only. */
export const ACCOUNTS = { ftpclient: 53001, alice: 53002, bob: 53003 } as const;

const SETUP = `
work=$1; shift
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$work"
cp -a /etc "$work/etc"
for entry in ${Object.entries(ACCOUNTS).map(([name, id]) => `${name}:${id}`).join(" ")}; do
  name=\${entry%:*}; id=\${entry#*:}
  echo "$name:x:$id:$id::/nonexistent:/usr/sbin/nologin" >> "$work/etc/passwd"
  echo "$name:x:$id:" >> "$work/etc/group"
done
mount --bind "$work/etc" /etc
mkdir -p "$work/local/bin" "$work/local/lib" "$work/run" "$work/build" "$work/tmp"
mount --bind "$work/run" /run
mkdir -p /run/diaper
for name in alice bob; do mkdir -m 755 "$work/$name"; chown $name:$name "$work/$name"; done
chmod 755 "$work"
mount --bind "$work/local" /usr/local
ip link set lo up
ip addr add 10.77.0.1/24 dev lo
ip addr add 10.77.0.9/24 dev lo
exec "$@"
`;

/**
 * Runs a module of this directory in there, with the directory for its files as argument.
 *
 * @returns the object that it prints as its last line.
 */
export async function runInside(module: string): Promise<Record<string, unknown>> {
  const work = await Deno.makeTempDir({ prefix: "diaper-wrap-" });
  // A runtime in /usr/local cannot be seen in there.
  const hidden = Deno.execPath().startsWith("/usr/local/");
  const runtime = hidden ? `${work}-runtime` : Deno.execPath();
  try {
    if (hidden) await Deno.copyFile(Deno.execPath(), runtime);
    const { code, stdout, stderr } = await new Deno.Command("timeout", {
      args: [
        ...["-k", "1", "120", "setpriv", "--pdeathsig", "KILL"],
        ...["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"],
        ...["sh", "-euc", SETUP, "sh", work],
        ...[runtime, "run", "--quiet", "--allow-all", `${ROOT}tests/wrap/${module}`, work],
      ],
      cwd: ROOT,
      // A lab in there must not take those of others for leftovers of dead processes.
      env: { TMPDIR: `${work}/tmp` },
      stdin: "null",
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert.equal(code, 0, text + new TextDecoder().decode(stderr));
    return JSON.parse(text.trim().split("\n").at(-1) ?? "null");
  } finally {
    if (hidden) await Deno.remove(runtime);
    await Deno.remove(work, { recursive: true });
  }
}
