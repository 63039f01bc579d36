import assert from "node:assert/strict";
import { ConfigError } from "../../lib/config/yaml.ts";
import { type NiConfig, parseNiConfig, type ScannerSettings } from "../../lib/ni/config.ts";
import { libpcapVersion } from "../../lib/sys/libpcap.ts";

// Loaded here, since a test that loads a library looks like one that leaks it.
libpcapVersion();

/** What is wrong with a configuration, line by line. */
function problems(text: string): string[] {
  try {
    parseNiConfig(text, "ni.yaml");
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n");
    throw error;
  }
  return [];
}

/** Reads a configuration with a file that holds a frame, and hands over the file's path. */
function withFrame(bytes: Uint8Array, mode: number, use: (path: string) => void): void {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeFileSync(path, bytes);
    Deno.chmodSync(path, mode);
    use(path);
  } finally {
    Deno.removeSync(path);
  }
}

Deno.test("ni config: an empty file is an NI that watches nothing", () => {
  const config = parseNiConfig("", "ni.yaml");
  assert.deepEqual(
    [config.links, config.onExit, config.prevent, config.scanners.size, config.runDir],
    [undefined, "closed", [], 0, "/run/diaper"],
  );
});

Deno.test("ni config: what an administrator writes is what counts", () => {
  withFrame(new Uint8Array(60).fill(7), 0o600, (path) => {
    const config: NiConfig = parseNiConfig(
      `
links: {host: lan0, net: wan0}
on_exit: open
host_networks: [192.0.2.7, "2001:db8::/64"]
prevent:
  - {name: smb, filter: tcp dst port 445}
  - filter: udp dst port 1434
scanners:
  codered:
    cpu: 20
    options: {per_second: 5}
  mine:
    program: /usr/bin/python3
    arguments: [/opt/mine.py]
    files: [/opt/mine.py]
    contain: [tcp port 25]
    services: {clamd: /run/clamav/clamd.ctl}
    injections: [{name: reset, file: ${path}}]
    alerts_per_minute: 5
    memory: 64MiB
    queue_frames: 10
    queue_bytes: 1MiB
    hold: 5s
    on_failure: closed
`,
      "ni.yaml",
    );
    assert.deepEqual(config.links, { host: "lan0", net: "wan0" });
    assert.deepEqual(config.prevent, [
      { name: "smb", filter: "tcp dst port 445" },
      { name: "prevent 2", filter: "udp dst port 1434" },
    ]);
    const codered = config.scanners.get("codered") as ScannerSettings;
    // What it needs stays, unless it is told otherwise.
    assert.ok(codered.rights.read.includes("port 53"), "codered lost its rights");
    assert.deepEqual([codered.rights.cpu, codered.rights.options], [20, { per_second: 5 }]);
    assert.deepEqual(codered.program, { builtIn: "codered" });
    const mine = config.scanners.get("mine");
    assert.deepEqual(mine?.program, {
      path: "/usr/bin/python3",
      arguments: ["/opt/mine.py"],
      files: ["/opt/mine.py"],
    });
    assert.deepEqual({ ...mine.rights, injections: mine.rights.injections.map((i) => i.name) }, {
      ...mine.rights,
      read: [],
      contain: ["tcp port 25"],
      services: { clamd: "/run/clamav/clamd.ctl" },
      injections: ["reset"],
      alertsPerMinute: 5,
      memory: 64 * 1024 * 1024,
      queueFrames: 10,
      queueBytes: 1024 * 1024,
      holdLimit: 5000,
      onFailure: "closed",
      options: {},
    });
    assert.deepEqual(mine.rights.injections[0]?.frame, new Uint8Array(60).fill(7));
  });
});

Deno.test("ni config: every problem is told with its place", () => {
  assert.deepEqual(
    problems(`links: {host: lan0}
on_exit: maybe
prevent:
  - filter: tcp dst prot 445
scanners:
  codered:
    cpu: 200
    read: ["udp port 53", "nonsense ["]
    injections: [{name: reset, file: /nothing/here}]
  typo: {}
colour: red
`).map((line) => line.split(": ").slice(0, 2).join(": ")),
    [
      "ni.yaml:1:8: links",
      "ni.yaml:2:10: on_exit",
      "ni.yaml:4:13: prevent.0.filter",
      "ni.yaml:7:10: scanners.codered.cpu",
      "ni.yaml:8:27: scanners.codered.read.1",
      "ni.yaml:9:38: scanners.codered.injections.0.file",
      "ni.yaml:11:1: colour",
    ],
  );
  assert.match(
    problems("scanners: {typo: {}}").join(),
    /^ni\.yaml:1:18: scanners\.typo: there is no scanner of that name: .* choose from .*codered/,
  );
});

Deno.test("ni config: a frame that others can write, or that is none, is no injection", () => {
  const told = (path: string) =>
    problems(
      `scanners: {mine: {program: /bin/true, injections: [{name: x, file: ${path}}]}}`,
    ).join();
  withFrame(new Uint8Array(60), 0o622, (path) => assert.match(told(path), /written by others/));
  withFrame(new Uint8Array(70_000), 0o600, (path) => assert.match(told(path), /more than 65535/));
  withFrame(new Uint8Array(0), 0o600, (path) => assert.match(told(path), /is empty/));
  assert.match(told("/dev"), /is not a file/);
});

Deno.test("ni config: options in files of their own are read with it, and their mistakes are told", () => {
  const directory = Deno.makeTempDirSync();
  try {
    const digest = "0".repeat(32);
    Deno.writeTextFileSync(`${directory}/digests`, `# known\n${digest}:3:one\n\n${digest} # 2\n`);
    Deno.writeTextFileSync(`${directory}/wrong`, `${digest}\n\n  abc # three\nx\n`);
    Deno.writeTextFileSync(`${directory}/rules.yaml`, "- {name: x, target: '^/admin'}\n");
    Deno.writeTextFileSync(`${directory}/bad.yaml`, "- {name: x\n- [");
    const read = (options: string) =>
      parseNiConfig(`scanners: {mine: {program: /bin/true, options: ${options}}}`, "ni.yaml")
        .scanners.get("mine")?.rights;
    const file = `${directory}/digests`;
    const table = read(`{digests: [zero], digests_file: ${file}}`);
    assert.deepEqual(table?.options, { digests: ["zero"] });
    const [first, ...more] = table?.optionTables ?? [];
    assert.deepEqual([first?.option, first?.path, more.length], ["digests", file, 0]);
    Deno.writeTextFileSync(file, `${digest}:3:one\n`);
    const changed = read(`{digests: [zero], digests_file: ${file}}`)?.optionTables?.[0];
    assert.notEqual(changed?.version, first?.version);
    assert.throws(
      () => read(`{digests_file: ${directory}/wrong}`),
      /scanners\.mine\.options: .*wrong:3:3: expected an MD5 .*"abc"\n.*wrong:4:1: /,
    );
    assert.deepEqual(read(`{rules_file: ${directory}/rules.yaml}`)?.options, {
      rules: [{ name: "x", target: "^/admin" }],
    });
    assert.throws(
      () => read(`{rules_file: ${directory}/bad.yaml}`),
      /ni\.yaml:1:\d+: scanners\.mine\.options: .*bad\.yaml:2:1: /,
    );
    const rules = `${directory}/rules.yaml`;
    for (
      const [text, problem] of [
        ["- {name: x, target: '/a'}\n- {name: y, target: '('}\n", /rules\.yaml:2:21: .*expression/],
        ["- {name: x, target: '/a'}\n- {name: y, path: z}\n", /rules\.yaml:2:13: .*unknown key/],
        ["- {name: x}\n", /rules\.yaml:1:3: .*says nothing about a request/],
        ["- {name: x, query_longer: -1}\n", /rules\.yaml:1:27: /],
      ] as const
    ) {
      Deno.writeTextFileSync(rules, text);
      assert.throws(() => read(`{rules_file: ${rules}}`), problem);
    }
    assert.throws(() => read("{digests_file: /nothing/here}"), /here:1:1: cannot be read/);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("ni config: the example in the documentation is one", () => {
  const path = new URL("../../docs/examples/ni.yaml", import.meta.url);
  const config = parseNiConfig(Deno.readTextFileSync(path), "ni.yaml");
  assert.deepEqual([...config.scanners.keys()], ["codered", "email", "mine"]);
});
