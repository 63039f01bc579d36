import assert from "node:assert/strict";
import { chooseWay } from "../../lib/cli/run_trace.ts";
import { type ProgramKind, programKind } from "../../lib/sys/program_file.ts";
import { diaper } from "./fake_daemon.ts";

const ROOT = { uid: 0, gid: 0 };
const USER = { uid: 1000, gid: 1000 };

/** A note as Go's linker writes it. */
const GO_NOTE = `
  __asm__(".section .note.go.buildid,\\"a\\",@note\\n.balign 4\\n.long 4\\n.long 4\\n.long 4\\n"
    ".ascii \\"Go\\\\0\\\\0\\"\\n.ascii \\"abcd\\"\\n.text");`;

async function withPrograms(work: (at: string) => Promise<void> | void): Promise<void> {
  const at = await Deno.makeTempDir({ prefix: "diaper-run-" });
  try {
    await Deno.writeTextFile(`${at}/plain.c`, "int main(void) { return 0; }\n");
    await Deno.writeTextFile(`${at}/go.c`, `${GO_NOTE}\nint main(void) { return 0; }\n`);
    const build = async (...args: string[]) => {
      const { code, stderr } = await new Deno.Command("gcc", { args, cwd: at }).output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
    };
    await Promise.all([
      build("-o", "dynamic", "plain.c"),
      build("-static", "-o", "static", "plain.c"),
      build("-static", "-o", "go", "go.c"),
      build("-o", "go-dynamic", "go.c"),
    ]);
    await work(at);
  } finally {
    await Deno.remove(at, { recursive: true });
  }
}

function find(at: string): (name: string) => string | undefined {
  return (name) => `${at}/${name}`;
}

Deno.test("programKind() tells static, dynamic, Go and scripts by their files", () =>
  withPrograms((at) => {
    const kind = (name: string) => {
      const { linking, go } = programKind(`${at}/${name}`, USER, find(at));
      return [linking, go];
    };
    assert.deepEqual(kind("dynamic"), ["dynamic", false]);
    assert.deepEqual(kind("static"), ["static", false]);
    assert.deepEqual(kind("go"), ["static", true]);
    assert.deepEqual(kind("go-dynamic"), ["dynamic", true]);
    assert.deepEqual(kind("plain.c"), ["unknown", false]);
    assert.deepEqual(kind("nothing"), ["unknown", false]);
    Deno.writeTextFileSync(`${at}/script`, `#!${at}/static -x\n`);
    Deno.writeTextFileSync(`${at}/by-env`, `#!/usr/bin/env -S A=1 go\n`);
    Deno.writeTextFileSync(`${at}/endless`, `#!${at}/endless\n`);
    assert.deepEqual(kind("script"), ["static", false]);
    assert.deepEqual(kind("by-env"), ["static", true]);
    assert.deepEqual(kind("endless"), ["unknown", false]);
    const foreign = Deno.readFileSync(`${at}/static`);
    foreign[4] = 1; // ELFCLASS32
    Deno.writeFileSync(`${at}/small`, foreign);
    assert.deepEqual(kind("small"), ["foreign", false]);
    for (let length = 0; length < 200; length++) {
      Deno.writeFileSync(`${at}/cut`, Deno.readFileSync(`${at}/go`).subarray(0, length));
      kind("cut"); // does not throw
    }
  }));

Deno.test("programKind() tells rights that a program gains, for whom it gains them", () =>
  withPrograms((at) => {
    const owner = { uid: Deno.uid() ?? 0, gid: Deno.gid() ?? 0 };
    const gains = (user: typeof USER) => programKind(`${at}/dynamic`, user, find(at)).gains;
    assert.equal(gains(USER), undefined);
    Deno.chmodSync(`${at}/dynamic`, 0o4755);
    assert.equal(gains({ uid: owner.uid + 1, gid: owner.gid }), "set-user-ID");
    assert.equal(gains(owner), undefined);
    Deno.chmodSync(`${at}/dynamic`, 0o2755);
    assert.equal(gains({ uid: owner.uid + 1, gid: owner.gid + 1 }), "set-group-ID");
    Deno.chmodSync(`${at}/dynamic`, 0o2745); // without execution by the group: mandatory locking
    assert.equal(gains({ uid: owner.uid + 1, gid: owner.gid + 1 }), undefined);
  }));

const KIND: ProgramKind = { path: "/p", linking: "dynamic", go: false, gains: undefined };

Deno.test("chooseWay() takes the agent where it works, and says what to do where not", () => {
  assert.equal(chooseWay(undefined, KIND, USER), "preload");
  assert.equal(chooseWay("auto", KIND, USER), "preload");
  assert.equal(chooseWay("auto", { ...KIND, linking: "unknown" }, USER), "preload");
  assert.equal(chooseWay("seccomp", KIND, USER), "seccomp");
  for (const other of [{ linking: "static" }, { go: true }] as const) {
    const kind = { ...KIND, ...other };
    assert.equal(chooseWay("auto", kind, USER), "seccomp");
    assert.equal(chooseWay("preload", kind, USER), "preload");
    assert.throws(() => chooseWay(undefined, kind, USER), { code: 1, next: /--trace seccomp/ });
  }
  const setuid = { ...KIND, gains: "set-user-ID" } as const;
  assert.throws(() => chooseWay("auto", setuid, USER), { code: 1, next: /as root/ });
  assert.equal(chooseWay("auto", setuid, ROOT), "seccomp");
  assert.throws(() => chooseWay(undefined, setuid, ROOT), { next: /--trace seccomp/ });
  assert.throws(() => chooseWay("auto", { ...KIND, linking: "foreign" }, ROOT), /64-bit/);
});

Deno.test("diaper run does not run a static program without pinholes unasked", () =>
  withPrograms(async (at) => {
    const refused = await diaper("run", "--", `${at}/static`);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /is linked statically/);
    assert.match(refused.stderr, /next: diaper run --trace seccomp/);
    const chosen = await diaper("run", "--dry-run", "--trace", "auto", "--", `${at}/static`, "-x");
    assert.equal(chosen.code, 0, chosen.stderr);
    assert.match(chosen.stdout, /^\S*diaper-trace --socket \S+ -- \S+\/static -x\n$/);
    const agent = await diaper("run", "--dry-run", "--trace", "auto", "--", `${at}/dynamic`);
    assert.match(agent.stdout, /LD_PRELOAD=/);
  }));
