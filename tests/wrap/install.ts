/** `diaper wrap` as an administrator and as others use it; run by wrap_test.ts through namespace.ts. */
import assert from "node:assert/strict";
import { planWrapper } from "../../lib/broker/wrapper_install.ts";
import { encodeWrapperRecord, findWrapperRecord } from "../../lib/broker/wrapper_record.ts";
import { wrapperCheck } from "../../lib/cli/doctor_wrappers.ts";
import { ACCOUNTS } from "./namespace.ts";
import { cases } from "./results.ts";

const work = Deno.args[0] ?? "";
const MAIN = decodeURIComponent(new URL("../../main.ts", import.meta.url).pathname);
const LIST = "/etc/diaper/wrappers";
const ADD = ["add", "/usr/bin/id", "--delegate", "ftpclient"];

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function execute(command: string, args: readonly string[]): Promise<Outcome> {
  const output = await new Deno.Command(command, { args: [...args], stdin: "null" }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}

async function wrap(...args: string[]): Promise<Outcome> {
  return await execute(Deno.execPath(), ["run", "--quiet", "-A", MAIN, "wrap", ...args]);
}

async function fails(code: number, message: RegExp, next: RegExp, ...args: string[]) {
  const outcome = await wrap(...args);
  assert.equal(outcome.code, code, outcome.stderr);
  assert.equal(outcome.stdout, "");
  assert.match(outcome.stderr, message);
  assert.match(outcome.stderr, next);
}

async function list(): Promise<Record<string, unknown>[]> {
  const { code, stdout, stderr } = await wrap("list", "--json");
  assert.equal(code, 0, stderr);
  return stdout.trim().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

function names(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].map((e) => e.name).toSorted();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function doctor(): Promise<Record<string, unknown> | undefined> {
  const { stdout } = await execute(Deno.execPath(), ["run", "-A", MAIN, "doctor", "--json"]);
  return JSON.parse(stdout).checks.find((c: { name: string }) => c.name === "wrappers");
}

await cases({
  async "a dry run says what would be, and changes nothing"() {
    const { code, stdout } = await wrap(...ADD, "--dry-run");
    assert.deepEqual([code, stdout], [
      0,
      "/usr/local/bin/id would run /usr/bin/id in the name of ftpclient\n",
    ]);
    assert.deepEqual([names("/usr/local/bin"), names("/usr/local/lib"), names(LIST)], [[], [], []]);
    assert.deepEqual(await list(), []);
    assert.match(String((await doctor())?.["text"]), /no program of users is wrapped/);
  },
  async "add installs a file of the delegate's with its bit and nothing of root's"() {
    const { code, stdout, stderr } = await wrap(...ADD, "--json");
    assert.equal(code, 0, stderr);
    const record = JSON.parse(stdout);
    assert.equal(record.path, "/usr/local/bin/id");
    const info = await Deno.lstat(record.path);
    assert.deepEqual([info.uid, info.gid, info.mode], [ACCOUNTS.ftpclient, 0, 0o104511]);
    assert.equal((await Deno.lstat(record.agent)).mode, 0o100644);
    assert.deepEqual(names("/usr/local/bin"), ["id"], "nothing temporary is left");
    const bytes = await Deno.readFile(record.path);
    const at = findWrapperRecord(bytes);
    assert.deepEqual(bytes.slice(at, at + 1248), encodeWrapperRecord(record));
    assert.deepEqual(await list(), [{ ...record, checked: true, fault: null }]);
    assert.equal((await doctor())?.["result"], "pass");
  },
  async "adding it again changes nothing; another program takes its place"() {
    const before = await Deno.readFile("/usr/local/bin/id");
    assert.equal((await wrap(...ADD)).code, 0);
    assert.deepEqual(await Deno.readFile("/usr/local/bin/id"), before);
    const { code, stdout } = await wrap(
      ...["add", "/usr/bin/stat", "-d", "ftpclient", "--path", "/usr/local/bin/id"],
    );
    assert.deepEqual([code, stdout], [
      0,
      "/usr/local/bin/id runs /usr/bin/stat in the name of ftpclient\n",
    ]);
    assert.deepEqual((await list()).map((r) => r["target"]), ["/usr/bin/stat"]);
    assert.deepEqual(names("/usr/local/lib/diaper").map((n) => n.replace(/-[0-9a-f]{16}/, "")), [
      ...["libdiaper-agent.so", "stat"],
    ]);
    assert.equal((await wrap(...ADD)).code, 0);
  },
  async "list and doctor tell of what was changed, and how to mend it"() {
    const mounts = [{ point: "/usr/local", type: "ext4", options: new Set(["nosuid"]) }];
    const cannot = wrapperCheck(mounts);
    assert.deepEqual([cannot.result, cannot.mend?.slice(0, 35)], [
      ...["fail", "mount -o remount,suid /usr/local, o"],
    ]);
    await Deno.chmod("/usr/local/bin/id", 0o4711);
    assert.deepEqual((await list())[0]?.["fault"], "the wrapper has another owner or mode");
    const check = await doctor();
    assert.equal(check?.["result"], "warn");
    const mend = "diaper wrap add /usr/bin/id --delegate ftpclient --path /usr/local/bin/id";
    assert.equal(check?.["mend"], mend);
    assert.equal((await wrap(...mend.split(" ").slice(2))).code, 0);
    assert.equal((await list())[0]?.["fault"], null);
    assert.match((await wrap("list")).stdout, /^WRAPPER .*\n\/usr\/local\/bin\/id .* in order\n$/);
  },
  async "others see the list, and change nothing"() {
    // The binary, since the source tree may be where only root can read.
    const diaper = `${work}/build/diaper`;
    await Deno.copyFile(new URL("../../dist/diaper", import.meta.url), diaper);
    await Deno.chmod(diaper, 0o755);
    const as = (...args: string[]) =>
      execute("setpriv", [
        ...[`--reuid=${ACCOUNTS.alice}`, `--regid=${ACCOUNTS.alice}`, "--clear-groups"],
        ...["env", `HOME=${work}/alice`, diaper, "wrap", ...args],
      ]);
    const seen = await as("list");
    assert.match(seen.stdout, /not checked/, seen.stderr);
    for (const args of [ADD, ["remove", "id"]]) {
      const { code, stderr } = await as(...args);
      assert.equal(code, 5, stderr);
      assert.match(stderr, /needs root/);
      assert.match(stderr, /next: sudo diaper wrap/);
    }
  },
  async "what must not be wrapped is not, and says why"() {
    const cc = async (path: string, ...flags: string[]) => {
      const source = `${work}/empty.c`;
      await Deno.writeTextFile(source, "int main(void) { return 0; }\n");
      const { code, stderr } = await execute("cc", ["-o", path, source, ...flags]);
      assert.equal(code, 0, stderr);
    };
    const bin = "/usr/local/bin";
    await cc(`${bin}/fine`);
    await cc(`${bin}/static`, "-static");
    await cc(`${bin}/origin`, "-Wl,-rpath,$ORIGIN/../lib");
    await Deno.writeTextFile(`${bin}/script`, "#!/bin/sh\n", { mode: 0o755 });
    await Deno.copyFile(`${bin}/fine`, `${bin}/loose`);
    await Deno.chmod(`${bin}/loose`, 0o775);
    await Deno.copyFile(`${bin}/fine`, `${bin}/setuid`);
    await Deno.chmod(`${bin}/setuid`, 0o4755);
    await Deno.copyFile(`${bin}/fine`, `${bin}/secret`);
    await Deno.chmod(`${bin}/secret`, 0o750);
    await Deno.copyFile(`${bin}/fine`, `${work}/alice/fine`);
    await Deno.chown(`${work}/alice/fine`, 0, 0);
    const reasons: [string, RegExp][] = [
      [`${bin}/static`, /not a dynamically linked/],
      [`${bin}/script`, /not a dynamically linked/],
      [`${bin}/origin`, /beside itself/],
      [`${bin}/loose`, /written by others than root/],
      [`${bin}/setuid`, /rights of its own/],
      [`${bin}/secret`, /cannot be read and run/],
      [`${bin}`, /is not a file/],
      [`${bin}/none`, /There is no/],
      ["/usr/bin/env", /runs whatever its user writes/],
      ["/usr/bin/perl", /runs whatever its user writes/],
      ["/bin/sh", /runs whatever its user writes/],
      [`${work}/alice/fine`, /alice is not a directory that only root can write/],
    ];
    const order = { delegate: "ftpclient", path: `${bin}/new`, socket: "/run/diaper/agent.sock" };
    for (const [program, why] of reasons) {
      assert.throws(() => planWrapper({ ...order, program }), why);
    }
    const fine = `${bin}/fine`;
    await fails(1, /no account "nobody-such"/, /useradd/, "add", fine, "-d", "nobody-such");
    await fails(1, /root cannot be a delegate/, /system account/, "add", fine, "-d", "root");
    await fails(1, /is the program itself/, /--path/, "add", fine, "-d", "ftpclient");
    const to = (path: string) => ["add", fine, "-d", "ftpclient", "--path", path];
    await fails(1, /there already/, /--path/, ...to(`${bin}/script`));
    await fails(1, /there already/, /--path/, ...to(`${bin}/script`), "--dry-run");
    const places: [string, RegExp][] = [
      [`${work}/alice/x`, /only root can write/],
      [`${bin}/${"x".repeat(99)}`, /longer than 107/],
    ];
    for (const [path, why] of places) {
      assert.throws(() => planWrapper({ ...order, program: fine, path }), why);
    }
    await fails(2, /not an absolute path/, /begin it/, ...to("x"));
    await fails(2, /not an absolute path/, /begin it/, "add", "lftp", "-d", "ftpclient");
    await fails(2, /--delegate/, /--help/, "add", fine);
    assert.deepEqual((await list()).map((r) => r["path"]), ["/usr/local/bin/id"]);
  },
  async "an entry of the list that somebody else can write is told, not believed"() {
    await Deno.chmod(`${LIST}/usr%2Flocal%2Fbin%2Fid.json`, 0o666);
    await fails(1, /not a file that only root can write/, /mend or remove/, "list");
    assert.equal((await doctor())?.["result"], "fail");
    await Deno.chmod(`${LIST}/usr%2Flocal%2Fbin%2Fid.json`, 0o644);
  },
  async "remove takes away all of it, and nothing that is somebody else's"() {
    await fails(1, /There is no wrapper nothing/, /wrap list/, "remove", "nothing");
    const dry = await wrap("remove", "id", "--dry-run");
    assert.match(dry.stdout, /would no longer run/);
    assert.equal((await list()).length, 1);
    const { code, stdout, stderr } = await wrap("remove", "id");
    assert.equal(code, 0, stderr);
    assert.equal(
      stdout,
      "/usr/local/bin/id no longer runs /usr/bin/id in the name of ftpclient\n",
    );
    assert.ok(!names("/usr/local/bin").includes("id"));
    assert.deepEqual([names(LIST), names("/usr/local/lib/diaper")], [[], []]);
    assert.equal((await wrap(...ADD)).code, 0);
    await Deno.remove("/usr/local/bin/id");
    await Deno.writeTextFile("/usr/local/bin/id", "root's own\n");
    assert.equal((await wrap("remove", "/usr/local/bin/id")).code, 0);
    assert.equal(await Deno.readTextFile("/usr/local/bin/id"), "root's own\n");
  },
});
