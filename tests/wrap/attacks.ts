/** The attacks on local authentication, one by one; run by wrap_test.ts through namespace.ts. */
import assert from "node:assert/strict";
import { Machine, SOCKET, TARGET, WRAPPER } from "./inside.ts";
import { findWrapperRecord } from "../../lib/broker/wrapper_record.ts";
import { ACCOUNTS } from "./namespace.ts";
import { cases } from "./results.ts";

const work = Deno.args[0] ?? "";
const m = await Machine.create(work);
const alice = ACCOUNTS.alice;

/** Nothing was asked for, and exactly these refusals were reported. */
async function refused(...expected: RegExp[]): Promise<void> {
  const found = await m.refusals();
  assert.deepEqual(await m.asked(), []);
  assert.equal(found.length, expected.length, found.join("\n"));
  expected.forEach((pattern, i) => assert.match(found[i] ?? "", pattern));
}

/** Nothing was refused, and these were asked for, as `delegate user program`. */
async function asked(...expected: string[]): Promise<void> {
  assert.deepEqual(await m.refusals(), []);
  const found = (await m.asked()).map(({ requester: r }) => `${r.delegate} ${r.user} ${r.program}`);
  assert.deepEqual(found, expected);
}

const attacks: Record<string, () => Promise<void>> = {
  async "a wrapped client asks in the delegate's name for its user"() {
    const { code, lines, stderr } = await m.run("alice", [WRAPPER, "ask"]);
    assert.equal(code, 0, stderr);
    assert.match(lines[1] ?? "", /^bind 0 port [1-9]/);
    await asked(`ftpclient alice ${TARGET}`);
  },
  async "so does one that was built with musl"() {
    m.install("libdiaper-agent.so", `${WRAPPER}-musl`, `${TARGET}-musl`);
    const { lines, stderr } = await m.run("alice", [`${WRAPPER}-musl`, "ask"]);
    assert.match(lines[1] ?? "", /^bind 0 port [1-9]/, stderr);
    await asked(`ftpclient alice ${TARGET}-musl`);
  },
  async "so does a process that it forks"() {
    const { lines } = await m.run("bob", [WRAPPER, "fork"]);
    assert.match(lines[1] ?? "", /^bind 0 port/);
    await asked(`ftpclient bob ${TARGET}`);
  },
  async "all rights are dropped for good, io_uring is off"() {
    const { lines } = await m.run("alice", [WRAPPER, "rights"]);
    assert.deepEqual(lines.slice(1, 5), [
      `uids ${alice} ${alice} ${alice} gids ${alice} ${alice} ${alice}`,
      "dumpable 0 no_new_privs 1",
      "io_uring -1 ENOSYS",
      "readable -1",
    ]);
    await asked();
  },
  async "without a broker the client runs, without agent"() {
    await Deno.rename(SOCKET, `${SOCKET}-away`);
    const { lines, stderr } = await m.run("alice", [WRAPPER, "ask"]);
    await Deno.rename(`${SOCKET}-away`, SOCKET);
    assert.match(lines[1] ?? "", /^bind 0/);
    assert.match(stderr, /runs without pinholes/);
    await asked();
  },
  async "LD_PRELOAD, LD_LIBRARY_PATH, LD_AUDIT and DIAPER_ variables of the user do nothing, and are told"() {
    const thief = `${work}/build/thief.so`;
    const variables = {
      LD_PRELOAD: thief,
      LD_AUDIT: thief,
      LD_LIBRARY_PATH: `${work}/alice`,
      LD_DEBUG: "all",
      DIAPER_SOCKET: `${work}/alice/sock`,
      DIAPER_WRAPPER_FD: "0",
      GCONV_PATH: work,
      BASH_ENV: `${work}/alice/env`,
      TERM: "dumb",
    };
    const hostile = [
      "env",
      ...Object.entries(variables).map(([name, value]) => `${name}=${value}`),
    ];
    const { lines, stderr } = await m.run("alice", [...hostile, WRAPPER, "environment"]);
    assert.equal(stderr, "");
    const names = lines.slice(1).map((line) => line.split("=")[0]);
    assert.ok(names.includes("TERM") && names.includes("PATH"));
    assert.deepEqual(names.filter((n) => /^(LD_|DIAPER_|GCONV|BASH)/.test(n ?? "")), []);
    const told = Object.keys(variables).filter((name) => !/TERM|BASH/.test(name));
    const line = new RegExp(`started with ${told.join(", ")}: without effect`);
    await refused(line);
    await m.run("alice", [...hostile, WRAPPER, "ask"]);
    assert.match((await m.refusals()).join(), line);
    await asked(`ftpclient alice ${TARGET}`);
  },
  async "a library of the user's, by whatever name, is not loaded into the client"() {
    const library = `${work}/alice/thief.so`;
    await Deno.copyFile(`${work}/build/thief.so`, library);
    await Deno.symlink("/usr/local/lib/thief.so", `${work}/alice/link.so`); // may change its aim
    await Deno.copyFile(`${work}/build/thief.so`, "/usr/local/lib/writable.so");
    await Deno.chmod("/usr/local/lib/writable.so", 0o775);
    await Deno.symlink(library, "/usr/local/lib/aside.so");
    const names = [
      ...[library, `${work}/alice/link.so`, "./thief.so", `/usr/../${library}`],
      ...["/usr/local/lib/writable.so", "/usr/local/lib/aside.so", "/proc/self/cwd/thief.so"],
    ];
    const { lines, stderr } = await m.run("alice", [WRAPPER, "load", ...names]);
    const why = "load diaper: only libraries that root alone can change are loaded here";
    assert.deepEqual(lines.slice(1).map((line) => line.split(": ").slice(0, 2).join(": ")), [
      ...names.map(() => why),
    ]);
    assert.equal(stderr, "");
    await refused(...names.map(() => new RegExp(`^${alice} wrapper: a library that others`)));
    const good = ["libm.so.6", "/lib/x86_64-linux-gnu/libm.so.6"];
    assert.deepEqual((await m.run("alice", [WRAPPER, "load", ...good])).lines.slice(1), [
      "load done",
      "load done",
    ]);
    // Without a wrapper a program loads what it likes, with the agent as well.
    const agent = [`LD_PRELOAD=${work}/build/libdiaper-agent.so`, `DIAPER_SOCKET=${SOCKET}`];
    const free = await m.run("alice", ["env", ...agent, TARGET, "load", library]);
    assert.deepEqual([free.lines[1], free.stderr], ["load done", "thief inside\n"]);
    await Deno.remove(library);
    await Deno.remove(`${work}/alice/link.so`);
    await asked();
  },
  async "a client whose agent its user keeps away does not run"() {
    // As by taking its descriptors away with prlimit(2) while the loader looks for the agent, but at
    // every run: the broker does not answer until the agent is gone.
    const { agent } = m.install();
    const client = m.start("alice", [WRAPPER, "ask"]);
    await waitsForAnswer(client.pid);
    await Deno.rename(agent, `${agent}-away`);
    const { code, lines, stderr } = await client.end();
    await Deno.rename(`${agent}-away`, agent);
    assert.deepEqual([code, lines], [127, []]);
    assert.match(stderr, /libdiaper-agent-.*cannot open shared object/);
    await asked();
  },
  async "a changed copy of the program"() {
    const { program } = m.install();
    await Deno.writeFile(program, new Uint8Array([0]), { append: true });
    assert.equal((await m.run("alice", [WRAPPER, "ask"])).code, 126);
    await refused(/wrapper: the program is not the one that was authorized/);
    m.install(); // puts it back
  },
  async "a library of the user's that has root's path in a mount namespace of the user's"() {
    const path = "/usr/local/lib/fine.so";
    await Deno.writeFile(path, new Uint8Array(1), { mode: 0o644 }); // root's, at the same path
    const script = `mount -t tmpfs tmpfs /usr/local/lib && cp ${work}/build/thief.so ${path} && ` +
      "echo ready && cat";
    const other = m.start("alice", [
      ...["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
    ]);
    await other.line(/^ready/);
    const command = `exec ${WRAPPER} load /proc/self/fd/0 </proc/${other.pid}/root${path}`;
    const { lines, stderr } = await m.run("alice", ["sh", "-c", command]);
    assert.match(lines[1] ?? "", /^load diaper: only libraries/);
    assert.equal(stderr, "");
    await other.end();
    await refused(new RegExp(`^${alice} wrapper: a library that others`));
  },
  async "a shell out of the client inherits nothing"() {
    const shell = `ls -l /proc/self/fd | grep -c socket; env | grep -E '^(LD_|DIAPER_)'; ` +
      `${m.attacker} hello ${SOCKET} ftpclient; ${m.attacker} wrap ${SOCKET}`;
    const { lines } = await m.run("alice", [WRAPPER, "shell", shell]);
    assert.deepEqual(lines.slice(1, 4), [
      "0",
      "verdict 1 alice may not ask in the name of ftpclient",
      "verdict 1 wrapper: not run with a delegate's rights",
    ]);
    await refused(
      new RegExp(`^${alice} alice may not ask`),
      new RegExp(`^${alice} wrapper: not run with a delegate's rights`),
    );
  },
  async "a program that takes the client's place inherits nothing"() {
    const { lines } = await m.run("alice", [WRAPPER, "replace", m.attacker, "wrap", SOCKET]);
    assert.match(lines[1] ?? "", /^verdict 1 wrapper/);
    await refused(/not run with a delegate's rights/);
  },
  async "setuid programs give the client's children nothing"() {
    const { lines } = await m.run("alice", [WRAPPER, "shell", `${WRAPPER} ask`]);
    assert.ok(!lines.some((line) => line.startsWith("bind")));
    await refused(new RegExp(`^${alice} wrapper: without its delegate's rights`));
  },
  async "a forged wrapper, and a HELLO in the delegate's name"() {
    await m.run("bob", [m.attacker, "wrap", SOCKET]);
    await m.run("bob", [m.attacker, "hello", SOCKET, "ftpclient"]);
    await refused(/wrapper: not run with/, /bob may not ask in the name of ftpclient/);
  },
  async "ptrace, memory, environment, descriptors of a running client"() {
    const client = m.start("alice", [WRAPPER, "ask"]);
    await client.line(/^bind/);
    const { lines } = await m.run("alice", [m.attacker, "process", String(client.pid)]);
    assert.deepEqual(lines, [
      "ptrace -1 EPERM",
      ...["mem", "environ", "maps", "fd", "exe"].map((name) => `${name} EACCES`),
      "pidfd_getfd EPERM",
    ]);
    await client.end();
    await asked(`ftpclient alice ${TARGET}`);
  },
  async "a wrapper started under a debugger"() {
    const { code, stderr } = await m.run("alice", [m.attacker, "trace", WRAPPER, "ask"]);
    assert.equal(code, 126, stderr);
    await refused(new RegExp(`^${alice} wrapper: without its delegate's rights`));
  },
  async "a user namespace"() {
    const command = ["unshare", "--user", "--map-root-user", WRAPPER, "ask"];
    const { code, lines } = await m.run("alice", command);
    assert.notEqual(code, 0);
    assert.deepEqual(lines, []);
    // Where users may make no namespace, there is no wrapper to be refused.
    const found = await m.refusals();
    assert.ok(found.every((line) => /wrapper: without its delegate's rights/.test(line)));
    assert.deepEqual(await m.asked(), []);
  },
  async "a core file"() {
    const shell = `ulimit -c unlimited; exec ${WRAPPER} crash`;
    const { code } = await m.run("alice", ["sh", "-c", shell]);
    assert.equal(code, 134);
    assert.deepEqual([...Deno.readDirSync(`${work}/alice`)].map((e) => e.name), []);
    await asked();
  },
  async "a copied wrapper, with and without its bit"() {
    const copy = `${work}/alice/client`;
    await Deno.copyFile(WRAPPER, copy); // users cannot read it; root made the copy
    await Deno.chown(copy, alice, alice);
    await Deno.chmod(copy, 0o4755);
    assert.equal((await m.run("bob", [copy, "ask"])).code, 126);
    await refused(new RegExp(`^${ACCOUNTS.bob} wrapper: without its delegate's rights`));
    assert.match((await m.run("alice", ["cat", WRAPPER])).stderr, /Permission denied/);
    await Deno.chown(copy, ACCOUNTS.ftpclient, 0);
    await Deno.chmod(copy, 0o4511);
    assert.equal((await m.run("alice", [copy, "ask"])).code, 126);
    await refused(new RegExp(`^${alice} wrapper: moved or changed`));
    await Deno.remove(copy);
  },
  async "a wrapper that its owner changed, and one that is not on the list"() {
    const { code } = await tampered(WRAPPER, async (bytes) => {
      bytes[findWrapperRecord(bytes) + 1247] = 0x41; // in the padding: it runs all the same
      await Promise.resolve();
    });
    assert.equal(code, 126);
    await refused(new RegExp(`^${alice} wrapper: ${WRAPPER} is not installed`));
  },
  async "a wrapper with another name or another mode"() {
    await Deno.rename(WRAPPER, `${WRAPPER}-2`);
    assert.equal((await m.run("alice", [`${WRAPPER}-2`, "ask"])).code, 126);
    await Deno.rename(`${WRAPPER}-2`, WRAPPER);
    await Deno.chmod(WRAPPER, 0o4711);
    assert.equal((await m.run("alice", [WRAPPER, "ask"])).code, 126);
    await Deno.chmod(WRAPPER, 0o4511);
    await Deno.link(WRAPPER, `${WRAPPER}-link`);
    assert.equal((await m.run("alice", [`${WRAPPER}-link`, "ask"])).code, 126);
    await Deno.remove(`${WRAPPER}-link`);
    const moved = new RegExp(`^${alice} wrapper: moved or changed`);
    await refused(moved, moved, moved);
  },
  async "a symbolic link to the wrapper is the wrapper, whatever it calls itself"() {
    await Deno.symlink(WRAPPER, `${work}/alice/other`);
    const { lines } = await m.run("alice", [`${work}/alice/other`, "ask"]);
    assert.match(lines[1] ?? "", /^bind 0/);
    await Deno.remove(`${work}/alice/other`);
    await asked(`ftpclient alice ${TARGET}`);
  },
  async "a changed, renamed, linked or foreign target"() {
    const good = await Deno.readFile(TARGET);
    const bad = /wrapper: the program is not the one that was authorized/;
    const attempt = async () => {
      const { code, lines } = await m.run("alice", [WRAPPER, "ask"]);
      assert.deepEqual([code, lines], [126, []]);
      await refused(bad);
    };
    await Deno.writeFile(TARGET, new Uint8Array([...good, 0])); // changed
    await attempt();
    await Deno.writeFile(TARGET, good);
    await Deno.rename(TARGET, `${TARGET}-2`); // renamed
    await attempt();
    await Deno.symlink(`${TARGET}-2`, TARGET); // a link to the same
    await attempt();
    await Deno.remove(TARGET);
    await Deno.rename(`${TARGET}-2`, TARGET);
    await Deno.chown(TARGET, alice, alice); // another's
    await attempt();
    await Deno.chown(TARGET, 0, 0);
    await Deno.chmod(TARGET, 0o757);
    await attempt();
    await Deno.chmod(TARGET, 0o755);
    await m.run("alice", [WRAPPER, "ask"]);
    await asked(`ftpclient alice ${TARGET}`);
  },
  async "a changed agent"() {
    const { agent } = m.install();
    await Deno.writeFile(agent, new Uint8Array([0]), { append: true });
    assert.equal((await m.run("alice", [WRAPPER, "ask"])).code, 126);
    await refused(/wrapper: the agent is not the one/);
    m.install(); // puts it back
    assert.equal((await m.run("alice", [WRAPPER, "ask"])).code, 0);
    await asked(`ftpclient alice ${TARGET}`);
  },
  async "a stolen ticket, by another process, another user, and once more"() {
    m.install("thief.so", `${WRAPPER}-thief`);
    for (const user of ["alice", "bob"] as const) {
      const victim = m.start("alice", [`${WRAPPER}-thief`, "ask"]);
      const [, ticket = ""] = await victim.line(/^ticket ([0-9a-f]{64})$/);
      const first = await m.run(user, [m.attacker, "join", SOCKET, ticket]);
      assert.match(first.lines[0] ?? "", /^verdict 1 ticket: of/);
      const again = await m.run(user, [m.attacker, "join", SOCKET, ticket]);
      assert.match(again.lines[0] ?? "", /^verdict 1 ticket: not given, or presented before/);
      await victim.end();
      await refused(
        user === "alice" ? /ticket: of process/ : /ticket: of uid 53002, presented by uid 53003/,
        /presented before/,
      );
    }
    const late = m.start("alice", [`${WRAPPER}-thief`, "replace", "/bin/true"]);
    const [, ticket = ""] = await late.line(/^ticket ([0-9a-f]{64})$/);
    await late.end();
    await m.run("alice", [m.attacker, "join", SOCKET, ticket]);
    await refused(/ticket: not given, or presented before/);
  },
  async "the process of the ticket, when it has become another program"() {
    // It keeps its number, its start time, and the wrapper's channel.
    const script = `read ticket; exec ${m.attacker} join ${SOCKET} "$ticket"`;
    const thief = m.start("alice", [`${WRAPPER}-thief`, "replace", "/bin/sh", "-c", script]);
    const [, ticket = ""] = await thief.line(/^ticket ([0-9a-f]{64})$/);
    await thief.write(ticket);
    await thief.line(/^verdict 1 ticket: for/);
    await thief.end();
    await refused(new RegExp(`ticket: for ${TARGET}, presented by ${m.attacker}`));
  },
  async "a channel passed to a friend, asking over it or making another of it"() {
    for (
      const [how, why] of [["ask", /is not \/usr|speaks over/], [
        "channel",
        /is not \/usr/,
      ]] as const
    ) {
      const path = `${work}/bob/${how}`;
      const friend = m.start("bob", [m.attacker, "friend", path, how]);
      await friend.line(/^ready/);
      await Deno.chmod(path, 0o777);
      const client = m.start("alice", [WRAPPER, "leak", path]);
      await friend.line(/^got 1/);
      await friend.line(/^closed/);
      await friend.end();
      await client.end();
      await refused(why);
    }
  },
  async "a second user who races for the port gets none in the delegate's name"() {
    const client = m.start("alice", [WRAPPER, "ask"]);
    const [, port = ""] = await client.line(/^bind 0 port (\d+)/);
    await asked(`ftpclient alice ${TARGET}`);
    const race = await m.run("bob", [m.attacker, "bind", port]);
    assert.deepEqual(race.lines, ["bind EADDRINUSE"]);
    await client.end();
    const after = await m.run("bob", [m.attacker, "own", SOCKET, port]);
    assert.match(after.lines[0] ?? "", /^verdict 0/);
    const [request] = await m.asked();
    assert.deepEqual([request?.requester.delegate, request?.requester.user], ["bob", "bob"]);
  },
  async "root and the delegate itself are sent away"() {
    assert.equal((await m.run("ftpclient", [WRAPPER, "ask"])).code, 126);
    const root = await new Deno.Command(WRAPPER, { stdin: "null" }).output();
    assert.equal(root.code, 126);
    const found = await m.refusals();
    assert.ok(found.every((line) => /without its delegate's rights/.test(line)), found.join("\n"));
    assert.equal(found.length, 2);
  },
};

/** Waits until a wrapper has asked the broker, which does not work meanwhile. */
async function waitsForAnswer(pid: number): Promise<void> {
  const RECVFROM = "45 ";
  for (const end = Date.now() + 10_000; Date.now() < end;) {
    if (Deno.readTextFileSync(`/proc/${pid}/syscall`).startsWith(RECVFROM)) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error("the wrapper asks nothing");
}

/** Runs a wrapper whose file was changed with its owner and mode kept, and puts it back. */
async function tampered(path: string, change: (bytes: Uint8Array) => Promise<void>) {
  const good = await Deno.readFile(path);
  const bytes = good.slice();
  await change(bytes);
  const put = async (content: Uint8Array) => {
    await Deno.writeFile(path, content);
    await Deno.chown(path, ACCOUNTS.ftpclient, 0);
    await Deno.chmod(path, 0o4511);
  };
  await put(bytes);
  const outcome = await m.run("alice", [path, "ask"]);
  await put(good);
  return outcome;
}

await cases(attacks, async () => {
  await m.refusals();
  await m.asked();
});
m.close();
Deno.exit(0); // whatever of a failed case is still running ends with this namespace
