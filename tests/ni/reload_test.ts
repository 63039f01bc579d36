/** An NI with a configuration: it is read anew under load, and shows what it counts. */
import assert from "node:assert/strict";
import { DIAPER_BINARY } from "../lab/diaper.ts";
import { labPossible } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { NiLab } from "./inline_lab.ts";
import { compileScanner } from "./support.ts";

function caseOf(name: string, run: (lab: NiLab) => Promise<void>): void {
  Deno.test({
    name: `ni configuration: ${name}${labPossible ? "" : " (skipped: labs need root)"}`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await NiLab.create();
      await run(lab);
    },
  });
}

/** Has the configuration read anew, and waits for the `count`th answer to that. */
async function reload(ni: LabProcess, count: number): Promise<string> {
  ni.kill("SIGHUP");
  let seen = 0;
  return await ni.find((line) => {
    if (!/configuration loaded|nothing was changed/.test(line)) return undefined;
    return ++seen === count ? line : undefined;
  }, `answer ${count} to SIGHUP`);
}

/** Resolves when there is a process for every scanner that is configured, and frames are its business. */
async function settled(lab: NiLab, scanners: readonly string[]): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const { rules } = await lab.status() as { rules: { scanner?: string }[] };
    const there = rules.flatMap((rule) => rule.scanner ?? []).sort();
    if (scanners.every((name) => there.includes(name))) return;
  }
  assert.fail(`no ${scanners.join()} in ${JSON.stringify(await lab.status())}`);
}

caseOf("rules and scanners change under load without a frame lost or doubled", async (lab) => {
  const hostile = await compileScanner("hostile", lab.lab.path(""));
  const watch = (name: string, more = "") =>
    `  ${name}: {program: ${hostile}, arguments: [contain], contain: [udp port 9000], on_failure: closed${more}}\n`;
  const configs = [
    "scanners:\n" + watch("one"),
    // Another prevent rule, another scanner.
    "prevent: [{filter: tcp dst port 445}]\nscanners:\n" + watch("one") + watch("two"),
    // The first one is gone, the second is started anew.
    "prevent: [{filter: tcp dst port 446}]\nscanners:\n" + watch("two", ", options: {other: 1}"),
    // Other rights, while it runs.
    "scanners:\n" + watch("two", ", options: {other: 1}, queue_frames: 100"),
    "",
  ];
  const scanners = [["one"], ["one", "two"], ["two"], ["two"], []];
  const ni = await lab.startWith(configs[0] as string);
  await settled(lab, ["one"]);
  const echo = await lab.echo();
  for (const [i, config] of [...configs.entries()].slice(1)) {
    await lab.configure(config);
    assert.match(await reload(ni, i), /configuration loaded/);
    await settled(lab, scanners[i] as string[]);
  }
  const { sent, lost, twice } = await echo.stop();
  assert.deepEqual([lost, twice], [0, 0], `of ${sent}`);
  const said = ni.output().filter((line) => /"event_type":"alert"/.test(line));
  assert.deepEqual(said, []);
});

caseOf("a bad file changes nothing, and tells where it is bad", async (lab) => {
  const ni = await lab.startWith("prevent: [{name: smb, filter: tcp dst port 445}]\n");
  await lab.configure("prevent:\n  - {name: smb, filter: tcp dst prot 445}\n");
  assert.match(await reload(ni, 1), /nothing was changed: .*ni\.yaml:4:25: prevent\.0\.filter/);
  assert.equal(await lab.host.tryConnect(lab.netAddress, 445, 300), "unanswered");
  const { rules } = await lab.status() as { rules: { name: string; frames: number }[] };
  assert.ok(rules[0]?.name === "smb" && rules[0].frames >= 1, JSON.stringify(rules));
  // Counters of rules that stay go on; "--check" tells of the mistake too.
  await lab.configure(
    "prevent: [{filter: udp dst port 9}, {name: smb, filter: tcp dst port 445}]\n",
  );
  assert.match(await reload(ni, 2), /configuration loaded/);
  const after = await lab.status() as { rules: { name: string; frames: number }[] };
  assert.equal(after.rules.find(({ name }) => name === "smb")?.frames, rules[0].frames);
  await Deno.writeTextFile(lab.config, "links: {host: porth}\n");
  const { code, stderr } = await lab.box.run(DIAPER_BINARY, ["ni", "--check", "-c", lab.config]);
  assert.equal(code, 3);
  assert.match(stderr, /ni\.yaml:1:8: links: expected host and net/);
});

caseOf(
  "status shows links, rules and scanners, to root alone; the end tells as tcpdump does",
  async (lab) => {
    const ni = await lab.startWith("scanners: {codered: {on_failure: closed}}\n");
    await settled(lab, ["codered"]);
    await lab.host.tryConnect(lab.netAddress, 80, 500);
    const status = await lab.status() as {
      ports: { interface: string; running: boolean; scanned: { frames: number } }[];
      rules: { kind: string; scanner: string; right: string; frames: number }[];
      scanners: Record<string, { pid: number; passed: number }>;
    };
    assert.deepEqual(status.ports.map((port) => [port.interface, port.running]), [
      ["porth", true],
      ["portn", true],
    ]);
    const syns = status.rules.find((rule) => rule.right === "contain" && rule.frames > 0);
    assert.equal(syns?.scanner, "codered", JSON.stringify(status.rules));
    assert.ok((status.scanners["codered"]?.passed ?? 0) >= 1, JSON.stringify(status));
    const { mode } = await Deno.stat(`${lab.runDir}/ni-porth.sock`);
    assert.equal((mode ?? 0) & 0o777, 0o600);
    const text = await lab.box.must(DIAPER_BINARY, [
      "status",
      "--config",
      lab.lab.path("diaper.yaml"),
    ]);
    assert.match(text, /frames .* from the host, porth, forwarded by the kernel/);
    assert.equal((await ni.stop()).code, 0);
    const end = ni.output("stderr").join("\n");
    assert.match(end, /\d+ frames .* from the network, portn, scanned/);
    assert.match(end, /scanner codered: .*\d+ frames seen, \d+ passed/);
    await assert.rejects(Deno.stat(`${lab.runDir}/ni-porth.sock`), Deno.errors.NotFound);
  },
);

caseOf("on_exit open: nothing is lost when it is killed, and when it is back", async (lab) => {
  const config = "on_exit: open\nprevent: [{filter: tcp dst port 445}]\n";
  const first = await lab.startWith(config);
  const echo = await lab.echo();
  await first.stop("SIGKILL");
  const second = await lab.startWith(config);
  const { sent, lost, twice } = await echo.stop();
  assert.deepEqual([lost, twice], [0, 0], `of ${sent}`);
  await second.stop();
});
