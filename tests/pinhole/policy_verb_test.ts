import assert from "node:assert/strict";
import { readPolicy } from "../../lib/cli/policy_files.ts";
import { formatRule, problemText } from "../../lib/pinhole/policy.ts";

const ROOT = new URL("../../", import.meta.url);
const PROGRAM = new URL("./policy_program.ts", import.meta.url).pathname;

/** Runs `diaper policy ARGS` in a new directory that holds the given files. */
async function run(files: Record<string, string>, ...args: string[]) {
  const cwd = await Deno.makeTempDir({ prefix: "policy-verb-" });
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${cwd}/${name}`, text);
    }
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        "--config",
        `${ROOT.pathname}deno.json`,
        PROGRAM,
        "policy",
        ...args,
      ],
      cwd,
      env: { NO_COLOR: "1" },
    }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { code, out: text(stdout), err: text(stderr) };
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
}

const POLICY = `# site
allow ftp * tcp * * 10.0.0.1 1024-65535 id=ftp ttl=1h max=2
allow ftp * tcp * * 10.0.0.1,2001:db8::1 2000-3000
deny * mallory * * * * *
`;
const WHO = ["--delegate", "ftp", "--proto", "tcp", "--source", "192.0.2.1"];

Deno.test("policy check: a good file", async () => {
  const { code, out, err } = await run(
    { "a.policy": POLICY, "b.policy": "" },
    "check",
    "a.policy",
    "b.policy",
  );
  assert.deepEqual([code, out, err], [
    0,
    "a.policy: 3 rules, no problems\nb.policy: 0 rules, no problems\n",
    "",
  ]);
});

Deno.test("policy check: problems with place and caret, exit 3", async () => {
  const bad = POLICY + "allow * * tcp * 99999 * * hors=1\n";
  const { code, out, err } = await run({ "a.policy": bad }, "check", "a.policy");
  assert.deepEqual([code, out], [3, ""]);
  const lines = err.split("\n");
  assert.match(lines[0] ?? "", /^a\.policy:5:17: Bad port "99999"/);
  assert.equal((lines[2] ?? "").indexOf("^"), (lines[1] ?? "").indexOf("99999"));
  assert.match(lines[3] ?? "", /^a\.policy:5:27: Unknown key "hors"/);
  assert.match(err, /diaper: a\.policy: 2 problems\n {2}next: /);
});

Deno.test("policy check: warnings pass, unless strict", async () => {
  const files = { "a.policy": "allow * * * * * * *\nallow a * * * * * *\n" };
  const lax = await run(files, "check", "a.policy");
  assert.deepEqual([lax.code, lax.out], [0, "a.policy: 2 rules, 1 warning\n"]);
  assert.match(lax.err, /^a\.policy:2:1: warning: Not needed: line 1 allows all of it/);
  const strict = await run(files, "check", "--strict", "--json", "a.policy");
  assert.equal(strict.code, 3);
  assert.deepEqual(JSON.parse(strict.out), {
    ok: false,
    files: [{
      file: "a.policy",
      ok: false,
      rules: 2,
      problems: [
        { line: 2, column: 1, severity: "warning", message: "Not needed: line 1 allows all of it" },
      ],
    }],
  });
});

Deno.test("policy explain --json: permitted", async () => {
  const { code, out } = await run(
    { "a.policy": POLICY },
    ...["explain", "a.policy", ...WHO, "--user", "bob", "--destination", "10.0.0.1:5000", "--json"],
  );
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(out), {
    permitted: true,
    why: "allowed by a.policy:2 (ftp)",
    ttl: 3600,
    rules: [
      { line: 2, effect: "allow", matched: true, text: POLICY.split("\n")[1], id: "ftp" },
      {
        line: 3,
        effect: "allow",
        matched: false,
        text: POLICY.split("\n")[2],
        missed: ["destination-port"],
      },
      { line: 4, effect: "deny", matched: false, text: POLICY.split("\n")[3], missed: ["user"] },
    ],
  });
});

Deno.test("policy explain: refused, exit 5", async () => {
  const open = await run(
    { "a.policy": POLICY },
    ...[
      "explain",
      "a.policy",
      ...WHO,
      "--user",
      "bob",
      "--destination",
      "10.0.0.1:5000",
      "--open",
      "2",
    ],
  );
  assert.equal(open.code, 5);
  assert.match(
    open.out,
    /^not permitted\n {2}refused: a\.policy:2 \(ftp\) would allow it, but the user has 2 open/,
  );
  assert.match(open.out, /a\.policy:3: no match: destination-port/);
  assert.equal(open.err, "");
  const v6 = await run(
    { "a.policy": POLICY },
    ...["explain", "a.policy", "--delegate", "ftp", "--user", "mallory", "--proto", "tcp"],
    ...["--source", "[2001:db8:9::9]:20", "--destination", "[2001:db8::1]:2500", "--json"],
  );
  assert.equal(v6.code, 5);
  const answer = JSON.parse(v6.out);
  assert.deepEqual([answer.permitted, answer.why], [false, "denied by a.policy:4"]);
});

Deno.test("policy explain: usage errors and broken policies", async () => {
  const ask = (...args: string[]) =>
    run({ "a.policy": POLICY, "bad.policy": "allow\n" }, "explain", ...args);
  const noPort = await ask("a.policy", ...WHO, "--user", "bob", "--destination", "10.0.0.1");
  assert.deepEqual([noPort.code, noPort.out], [2, ""]);
  assert.match(noPort.err, /--destination.*10\.0\.0\.1.*port is missing/);
  const bad = await ask("bad.policy", ...WHO, "--user", "bob", "--destination", "10.0.0.1:5000");
  assert.deepEqual([bad.code, bad.out], [3, ""]);
  assert.match(bad.err, /^bad\.policy:1:6: /);
});

Deno.test("policy test: cases beside the policy", async () => {
  const cases =
    "permit ftp bob tcp 192.0.2.1 10.0.0.1:5000\n# x\nrefuse ftp bob tcp 192.0.2.1 10.0.0.1:5000\n";
  const failing = await run({ "a.policy": POLICY, "a.policy.test": cases }, "test", "a.policy");
  assert.equal(failing.code, 1);
  assert.equal(
    failing.out,
    "a.policy.test:3: Expected refuse, but it is allowed by a.policy:2 (ftp)\n" +
      "  refuse ftp bob tcp 192.0.2.1 10.0.0.1:5000\na.policy.test: 1 passed, 1 failed\n",
  );
  const named = { "a.policy": POLICY, "c": cases.split("#")[0] ?? "" };
  const passing = await run(named, "test", "a.policy", "c", "--json");
  assert.equal(passing.code, 0);
  assert.deepEqual(JSON.parse(passing.out), { ok: true, passed: 1, failed: 0, failures: [] });
  const missing = await run({ "a.policy": POLICY }, "test", "a.policy");
  assert.equal(missing.code, 1);
  assert.match(missing.err, /cannot read "a\.policy\.test"/);
  const empty = await run({ "a.policy": POLICY, "c": "# none\n" }, "test", "a.policy", "c");
  assert.equal(empty.code, 3);
});

Deno.test("the sample policy passes its own check and cases", async () => {
  const sample = `${ROOT.pathname}docs/examples/site.policy`;
  const check = await run({}, "check", "--strict", sample);
  assert.deepEqual([check.code, check.err], [0, ""]);
  assert.deepEqual((await run({}, "test", sample)).code, 0);
});

Deno.test("host names are looked up; a failure is an error of the rule", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(
      file,
      "allow * * * host:a.test * host:b.test,host:a.test *\nallow * * * host:no.test * * *\n",
    );
    const asked: string[] = [];
    const { rules, problems } = await readPolicy(file, (name) => {
      asked.push(name);
      if (name === "no.test") return Promise.reject(new Error("ENOTFOUND"));
      return Promise.resolve(name === "a.test" ? ["192.0.2.1", "2001:db8::1"] : ["192.0.2.9"]);
    });
    assert.deepEqual(asked, ["a.test", "b.test", "no.test"]);
    assert.deepEqual(rules.map(formatRule), [
      "allow * * * 192.0.2.1,2001:db8::1 * 192.0.2.1,192.0.2.9,2001:db8::1 *",
    ]);
    assert.match(
      problems.map(problemText).join(),
      /:2:18: Host name "no\.test" cannot be resolved \(ENOTFOUND\)/,
    );
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("a file without end is read no further than the limit", async () => {
  const { problems } = await readPolicy("/dev/zero");
  assert.match(problems.map(problemText).join(), /^\/dev\/zero:1:1: File is larger than/);
});
