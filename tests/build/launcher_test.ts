/**
 * The launcher: where it unpacks, what it trusts, and what it does when there is no safe place. The
 * runtime is a small probe that says how it was started.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { BUNDLE, LauncherLab, parseReport } from "./launcher_lab.ts";

const ignore = Deno.uid() !== 0;

function test(name: string, fn: (lab: LauncherLab, t: Deno.TestContext) => Promise<void>): void {
  Deno.test({
    name: `launcher: ${name} (needs root)`,
    ignore,
    fn: async (t) => {
      await using lab = await LauncherLab.make();
      await fn(lab, t);
    },
  });
}

const SEALED = 1 | 2 | 4 | 8; // F_SEAL_SEAL, SHRINK, GROW, WRITE

test("root's runtime is unpacked once, below /var/cache/diaper", async (lab) => {
  const { stdout, stderr, code } = await lab.run(`
    umask 077
    "$L" one >/dev/null
    find /var/cache/diaper -printf '%P %y %m %U %n\\n' | sort
    find /var/cache/diaper -type f -printf '%i %T@\\n' | sort >/mnt/before
    "$L" two >/dev/null
    find /var/cache/diaper -type f -printf '%i %T@\\n' | sort | cmp - /mnt/before
  `);
  assert.equal(code, 0, stderr);
  const hex = (data: Uint8Array | string) => createHash("sha256").update(data).digest("hex");
  const runtime = hex(lab.runtime);
  const bundle = hex(BUNDLE);
  const expected = [
    " d 755 0 4",
    `${runtime} d 755 0 2`,
    `${runtime}/.lock f 600 0 1`,
    `${runtime}/diaper f 755 0 1`,
    `${bundle} d 755 0 3`,
    `${bundle}/.lock f 600 0 1`,
    `${bundle}/diaper.mjs f 644 0 1`,
    `${bundle}/runtime d 700 0 2`,
  ];
  assert.deepEqual(stdout.split("\n").filter((line) => line !== "").sort(), expected.sort());
});

test("arguments, exit code, umask and descriptors are the caller's", async (lab) => {
  const args = ["--help", "--", "-A", "", "a b", "--v8-flags=--help", "x\\y"];
  const { code, stdout } = await lab.run(
    `umask 027; "$L" ${args.map((a) => `'${a}'`).join(" ")}`,
    { PROBE_EXIT: "5" },
  );
  const report = parseReport(stdout);
  assert.equal(code, 5);
  const at = report.args.findIndex((a) => a.startsWith("/"));
  assert.deepEqual(report.args.slice(at + 1), args);
  assert.deepEqual(report.args.slice(0, 3), ["diaper", "run", "--allow-all"]);
  assert.ok(report.args[at]?.endsWith("/diaper.mjs"));
  for (const flag of ["--no-config", "--no-lock", "--no-npm", "--no-remote", "--no-prompt"]) {
    assert.ok(report.args.slice(0, at).includes(flag), flag);
  }
  assert.equal(report.umask, "027");
  const direct = await lab.probe(`${lab.directory}/probe`);
  assert.deepEqual(report.fds, direct.fds);
  assert.equal(report.bundle, BUNDLE.trimEnd());
});

test("closed standard descriptors are not taken for files", async (lab) => {
  for (const place of ["", "mount -o remount,ro /var/cache;"]) {
    const { code, stdout, stderr } = await lab.run(`
      ${place}
      "$L" <&- 2>&-
      "$L" >&- && "$L" >&- 2>&- <&-
    `);
    assert.equal(code, 0, stderr);
    const { fds, bundle, inMemory } = parseReport(stdout);
    assert.equal(bundle, BUNDLE.trimEnd());
    assert.ok(!inMemory || fds.length > 0);
  }
});

test("root's environment decides nothing, and comes back to programs", async (lab) => {
  const hostile = {
    HOME: "/mnt/evil",
    XDG_CACHE_HOME: "/mnt/evil",
    TMPDIR: "/mnt/evil",
    DENO_DIR: "/mnt/evil",
    DENO_V8_FLAGS: "--help",
    NODE_OPTIONS: "--require /mnt/evil/x.js",
    NPM_CONFIG_REGISTRY: "http://127.0.0.1:1",
    npm_config_registry: "http://127.0.0.1:1",
    OTEL_DENO: "true",
    LD_PRELOAD: "/mnt/evil/x.so",
    LD_LIBRARY_PATH: "/mnt/evil",
    GCONV_PATH: "/mnt/evil",
    DIAPER_LAUNCHER: "/mnt/evil/diaper",
    DIAPER_CALLER_PATH: "/mnt/evil",
    HARMLESS: "yes",
  };
  const assignments = Object.entries(hostile).map(([k, v]) => `${k}='${v}'`).join(" ");
  const report = await lab.probe(`
    mkdir -m 777 /mnt/evil
    env ${assignments} "$L"
    test -z "$(ls -A /mnt/evil)"
  `);
  assert.ok(report.exe.startsWith("/var/cache/diaper/"), report.exe);
  const { env } = report;
  assert.ok(env.get("DENO_DIR")?.startsWith("/var/cache/diaper/"));
  assert.equal(env.get("DIAPER_LAUNCHER"), lab.launcher);
  assert.equal(env.get("HARMLESS"), "yes");
  assert.equal(env.get("DIAPER_CALLER_PATH"), undefined);
  for (const name of Object.keys(hostile)) {
    if (!/^(DENO_V8|NODE|NPM|npm|OTEL|LD|GCONV)_/.test(name)) continue;
    assert.equal(env.get(name), undefined, name);
    assert.equal(env.get(`DIAPER_CALLER_${name}`), hostile[name as keyof typeof hostile], name);
  }
});

// Places that somebody else could change: never used, memory instead, and nothing in them is touched.
const UNSAFE: Record<string, string> = {
  "owned by another user": "mkdir $C; chown $S $C",
  "writable by the group": "mkdir $C; chmod 775 $C",
  "writable by all": "mkdir $C; chmod 777 $C",
  "sticky like /tmp": "mkdir $C; chmod 1777 $C",
  "a link to a directory of root's": "mkdir /mnt/real; ln -s /mnt/real $C",
  "a link to a stranger's directory": "mkdir /mnt/real; chown $S /mnt/real; ln -s /mnt/real $C",
  "below a sticky directory": "chmod 1777 /var/cache",
  "below a stranger's directory": "chown $S /var/cache",
  "a file": "touch $C",
  "given to a stranger's group": "mkdir $C; chgrp $S $C; chmod 2775 $C",
};

for (const [name, setup] of Object.entries(UNSAFE)) {
  test(`a cache directory that is ${name} is not used`, async (lab) => {
    const report = await lab.probe(`
      ${setup}
      find -L /var/cache /mnt -printf '%p %m %U\\n' | sort >/tmp/before.$$
      trap 'rm -f /tmp/before.$$' EXIT
      "$L" hello
      find -L /var/cache /mnt -printf '%p %m %U\\n' | sort | cmp - /tmp/before.$$ >&2
    `);
    assert.ok(report.inMemory, report.exe);
    assert.equal(report.args.at(-1), "hello");
    assert.equal(report.bundle, BUNDLE.trimEnd());
    assert.deepEqual(report.seals.map((seals) => seals & SEALED), [SEALED]);
    assert.ok(report.args.includes("--no-code-cache"));
    assert.ok(report.env.get("DENO_DIR")?.startsWith("/dev/null/"));
  });
}

test("a stranger who was first in each of the directories gains nothing", async (lab) => {
  for (const which of ["*", "*/diaper", "*/runtime"]) {
    const report = await lab.probe(`"$L" >/dev/null; chown $S $C/${which}; "$L"`);
    // The file alone is replaced; a directory is not trusted any more.
    assert.equal(report.inMemory, which !== "*/diaper", which);
  }
});

// Files that are not what they should be: replaced before anything is executed.
const CHANGED: Record<string, string> = {
  "another content of the same size": `
    printf 'X' | dd of=$F bs=1 seek=700 conv=notrunc status=none`,
  "one more byte": "printf 'X' >>$F",
  "a byte less": "truncate -s -1 $F",
  "another owner": "chown $S $F",
  "a mode that lets others write": "chmod 777 $F",
  "a setuid bit": "chmod u+s $F",
  "a second name": "ln $F /var/cache/second",
  "a link in its place": "mv $F /var/cache/moved; ln -s /var/cache/moved $F",
  "a FIFO in its place": "rm $F; mkfifo $F",
  "nothing in its place": "rm $F",
};

for (const [name, change] of Object.entries(CHANGED)) {
  test(`a runtime with ${name} is replaced`, async (lab) => {
    const report = await lab.probe(`
      "$L" >/dev/null
      F=$(echo $C/*/diaper)
      cp -p $F /mnt/good
      ${change}
      "$L"
      cmp $F /mnt/good >&2
      test "$(stat -c '%F %a %u %h' $F)" = 'regular file 755 0 1'
    `);
    assert.ok(report.exe.startsWith("/var/cache/diaper/"), report.exe);
  });
}

test("a changed bundle is replaced", async (lab) => {
  const report = await lab.probe(`
    "$L" >/dev/null
    F=$(echo $C/*/diaper.mjs)
    printf 'X' | dd of=$F bs=1 conv=notrunc status=none
    "$L"
  `);
  assert.equal(report.bundle, BUNDLE.trimEnd());
  assert.ok(!report.inMemory);
});

test("a directory in the runtime's place is not entered", async (lab) => {
  const report = await lab.probe(`"$L" >/dev/null; F=$(echo $C/*/diaper); rm $F; mkdir $F; "$L"`);
  assert.ok(report.inMemory);
});

test("what a start that was killed left behind does no harm", async (lab) => {
  const report = await lab.probe(`
    "$L" >/dev/null
    D=$(dirname $C/*/diaper)
    rm $D/diaper; ln -s /mnt/victim $D/.diaper.new
    "$L"
    test ! -e /mnt/victim
    test ! -e $D/.diaper.new
  `);
  assert.ok(!report.inMemory);
});

const NO_ROOM: Record<string, string> = {
  "is read-only": "mount -o remount,ro /var/cache",
  "is mounted noexec": "mount -o remount,noexec /var/cache",
  "is full": "mount -o remount,size=64k /var/cache",
  "does not exist and cannot be made": "umount /var/cache; mount -t proc none /var",
};

for (const [name, setup] of Object.entries(NO_ROOM)) {
  test(`a cache that ${name} is not needed`, async (lab) => {
    const report = await lab.probe(`
      ${setup}
      "$L" hello
      test -z "$(find /var/cache -name '.*.new' 2>/dev/null)"
    `);
    assert.ok(report.inMemory, report.exe);
    assert.equal(report.args.at(-1), "hello");
    assert.equal(report.bundle, BUNDLE.trimEnd());
  });
}

test("a damaged file says so and executes nothing", async (lab, t) => {
  const image = Buffer.from(lab.image);
  const runtimeAt = image.indexOf(lab.runtime);
  const bundleAt = image.indexOf(BUNDLE);
  assert.ok(runtimeAt > 0 && bundleAt > runtimeAt);
  const cases: Record<string, (image: Uint8Array<ArrayBuffer>) => Uint8Array> = {
    "cut by one byte": (image) => image.subarray(0, -1),
    "cut in the middle": (image) => image.subarray(0, image.length / 2),
    "without payload": (image) => image.subarray(0, 63 * 1024),
    "one byte longer": (image) => new Uint8Array([...image, 0]),
    "changed in the runtime": (image) => flip(image, runtimeAt + 5000),
    "changed in the bundle": (image) => flip(image, bundleAt),
    "changed in the trailer's table": (image) => flip(image, image.length - 100),
    "changed in the trailer's size": (image) => flip(image, image.length - 150 + 16),
  };
  for (const [name, damage] of Object.entries(cases)) {
    for (const place of ["", "chmod 1777 /var/cache;"]) {
      await t.step(`${name}${place === "" ? "" : ", from memory"}`, async () => {
        await lab.install(damage(lab.image.slice()));
        const { code, stdout, stderr } = await lab.run(`${place} "$L"`);
        assert.equal(code, 1, stdout);
        assert.equal(stdout, "");
        assert.match(
          stderr,
          /^diaper: .*diaper: the file is damaged.*\n {2}next: install diaper again\n$/,
        );
      });
    }
  }
});

test("twenty first starts at once all work, and leave one copy", async (lab) => {
  const { code, stdout, stderr } = await lab.run(`
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
      "$L" >/mnt/out.$i 2>/mnt/err.$i &
      pids="\${pids-} $!"
    done
    for pid in $pids; do wait $pid; done
    cat /mnt/err.* >&2
    grep -h '^exe' /mnt/out.* | sort | uniq -c
    find $C -name '.*.new'
  `);
  assert.equal(code, 0, stderr);
  assert.equal(stderr, "");
  assert.match(stdout, /^ +20 exe\t\/var\/cache\/diaper\/[0-9a-f]{64}\/diaper\n$/);
});

test("rights that the caller does not have are refused", async (lab) => {
  const { code, stdout, stderr } = await lab.run(`
    cp "$L" /mnt/setuid; chmod 4755 /mnt/setuid
    as $S /mnt/setuid
  `);
  assert.equal(code, 5);
  assert.equal(stdout, "");
  assert.match(
    stderr,
    /^diaper: refusing to run with rights that the caller does not have\n {2}next: /,
  );
});

test("other users have their own cache", async (lab) => {
  const home = "mkdir /mnt/home; chown $S:$S /mnt/home;";
  const byHome = await lab.probe(`${home} as $S env HOME=/mnt/home "$L"`);
  assert.ok(byHome.exe.startsWith("/mnt/home/.cache/diaper/"), byHome.exe);
  const byXdg = await lab.probe(`${home} as $S env HOME=/ XDG_CACHE_HOME=/mnt/home/x "$L"`);
  assert.ok(byXdg.exe.startsWith("/mnt/home/x/diaper/"), byXdg.exe);
  assert.ok(byXdg.env.get("DENO_DIR")?.startsWith("/mnt/home/x/diaper/"));
});

test("other users do not use a directory of another user", async (lab) => {
  for (
    const setup of [
      "mkdir /mnt/home; chown $O /mnt/home; chmod 777 /mnt/home",
      "mkdir /mnt/home; chown $O /mnt/home; mkdir /mnt/home/.cache; chown $S /mnt/home/.cache",
      "mkdir -m 1777 /mnt/home",
      "mkdir -p /mnt/home/.cache/diaper; chown $S /mnt/home /mnt/home/.cache; chown $O /mnt/home/.cache/diaper",
      "mkdir -p /mnt/home/.cache/diaper; chown $S /mnt/home /mnt/home/.cache", // root's: not writable
    ]
  ) {
    const report = await lab.probe(`${setup}; as $S env HOME=/mnt/home "$L"`);
    assert.ok(report.inMemory, setup);
  }
});

test("a home that is not a path is not used", async (lab) => {
  for (const home of ["", "relative", "/mnt/home/../home", "/" + "x".repeat(5000)]) {
    const report = await lab.probe(
      `mkdir /mnt/home; chown $S /mnt/home; cd /mnt/home; as $S env HOME='${home}' "$L"`,
    );
    assert.ok(report.inMemory, home);
  }
});

function flip(image: Uint8Array<ArrayBuffer>, at: number): Uint8Array {
  image[at] = (image[at] ?? 0) ^ 1;
  return image;
}
