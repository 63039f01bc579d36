/**
 * A real FTPS server behind address translation: the perimeter translates pinhole by pinhole, and the server
 * announces, inside TLS, an address that is right outside.
 */
import assert from "node:assert/strict";
import type { DiaperHost } from "../lab/diaper.ts";
import { type FtpsSite, hasVsftpd, makeFtpsSite, sha256File } from "../lab/ftps.ts";
import type { Host, RunResult } from "../lab/host.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { RemoteSite } from "../lab/remote.ts";

const OUTSIDE = "203.0.113.1";
const INSIDE = "192.0.2.10";
const LAN = "192.0.2.20";
const NAT = [
  "nat:",
  `  addresses: { ${INSIDE}: ${OUTSIDE}, ${LAN}: ${OUTSIDE} }`,
  "  local: [192.0.2.0/24]",
];

/** The router's own rules: only what it translates gets in, and the control port is translated. */
const SITE_RULES = [
  "add table ip site",
  "add chain ip site raw { type filter hook prerouting priority raw; }",
  `add rule ip site raw iifname { "alice", "mallory" } ip daddr 192.0.2.0/24 drop`,
  "add chain ip site nat { type nat hook prerouting priority dstnat; }",
  `add rule ip site nat ip daddr ${OUTSIDE} tcp dport 21 dnat to ${INSIDE}`,
  "add chain ip site source { type nat hook postrouting priority srcnat; }",
  `add rule ip site source oifname { "alice", "mallory" } ip saddr 192.0.2.0/24 snat to ${OUTSIDE}`,
].join("; ");

interface Scene extends AsyncDisposable {
  readonly lab: Lab;
  readonly site: RemoteSite;
  readonly broker: DiaperHost;
  readonly ftps: FtpsSite;
}

async function makeScene(): Promise<Scene> {
  const lab = await Lab.create({
    outside: [
      { name: "alice", addresses: ["198.51.100.10"] },
      { name: "mallory", addresses: ["203.0.113.66"] },
    ],
    inside: [
      { name: "server", addresses: [INSIDE] },
      { name: "lan", addresses: [LAN] },
    ],
  });
  try {
    const { perimeter } = lab;
    await perimeter.must("ip", ["address", "add", `${OUTSIDE}/32`, "dev", "lo"]);
    await perimeter.must("nft", [SITE_RULES]);
    const site = await RemoteSite.start(lab, {
      server: "embedded",
      policy: [
        `allow host1 * tcp * * ${INSIDE} 1024-65535`,
        `allow host2 * tcp * * ${LAN} 1024-65535`,
      ],
      delegates: ["host1", "host2"],
      settings: NAT,
    }, ["alice", "mallory"]);
    const server = lab.host("server");
    const broker = await site.broker(server, "host1", NAT);
    const ftps = await makeFtpsSite(lab, server, { bigBytes: 5_000_000 });
    return { lab, site, broker, ftps, [Symbol.asyncDispose]: () => lab.close() };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

async function serve({ broker, lab, ftps }: Scene, options: string[]): Promise<LabProcess> {
  const vsftpd = broker.run("ftpd", "vsftpd", [ftps.config], options);
  await lab.host("server").waitForListener("tcp", ftps.port);
  return vsftpd;
}

/** PASV, and the address that the server names is the one that is used. */
function curl(from: Host, to: string, file: string, ...options: string[]): LabProcess {
  return from.spawn("curl", [
    ...["--silent", "--show-error", "--verbose", "--insecure", "--ssl-reqd", "--output", file],
    ...["--disable-epsv", "--no-ftp-skip-pasv-ip", "--connect-timeout", "15", ...options],
    `ftp://${to}/big.bin`,
  ]);
}

function lftp(from: Host, to: string, file: string): Promise<RunResult> {
  const settings = ["ftp:fix-pasv-address no", "ftp:prefer-epsv no", "ssl:verify-certificate no"];
  const more = ["ftp:ssl-force yes", "ftp:ssl-protect-data yes", "net:max-retries 1"];
  return from.run("lftp", [
    "-d",
    "-c",
    [
      ...[...settings, ...more, "net:timeout 15"].map((setting) => `set ${setting}`),
      `open -u anonymous,lab@ ftp://${to}`,
      `get big.bin -o ${file}`,
    ].join("; "),
  ]);
}

/** Active: the server comes to the client. Sends what the client announces. */
const ACTIVE = [
  ...["ftp:passive-mode off", "ssl:verify-certificate no", "ftp:ssl-force yes"],
  ...["ftp:ssl-protect-data yes", "net:max-retries 1", "net:timeout 15"],
];

const announced = (address: string) => new RegExp(`227 .*\\(${address.replaceAll(".", ",")},`);

Deno.test({
  name: "scenario: an FTPS server behind address translation serves curl and lftp, and announces " +
    "an address that is right for each (needs root, vsftpd)",
  ignore: !labPossible || !hasVsftpd(),
  fn: async () => {
    await using scene = await makeScene();
    const { lab, site, ftps } = scene;
    const [alice, mallory] = [lab.host("alice"), lab.host("mallory")];
    const vsftpd = await serve(scene, ["--nat-aware"]);

    const slow = curl(alice, OUTSIDE, lab.path("slow"), "--limit-rate", "3M");
    const opened = await site.controller.waitForEvent((e) => e.event_type === "pinhole.opened");
    assert.deepEqual(
      [opened["source"], opened["destination"]],
      [alice.address(4), INSIDE],
      "policy and pinholes have inside addresses",
    );
    const port = Number(opened["destination_port"]);
    await slow.waitForLine(announced(OUTSIDE));
    // Not translated for others: the router itself has that address, and nobody listens there.
    assert.equal(await mallory.tryConnect(OUTSIDE, port), "refused");
    assert.equal(await mallory.tryConnect(INSIDE, port), "unanswered");
    assert.equal((await slow.status).code, 0, slow.output().join("\n"));
    assert.equal(await sha256File(lab.path("slow")), ftps.bigSha256);

    const got = await lftp(mallory, OUTSIDE, lab.path("lftp"));
    assert.equal(got.code, 0, got.stderr);
    assert.match(got.stderr + got.stdout, announced(OUTSIDE));
    assert.equal(await sha256File(lab.path("lftp")), ftps.bigSha256);

    const near = curl(lab.host("lan"), INSIDE, lab.path("near"));
    await near.waitForLine(announced(INSIDE));
    assert.equal((await near.status).code, 0, near.output().join("\n"));

    const count = (type: string) =>
      site.controller.events().filter((e) => e.event_type === type).length;
    await site.controller.waitForEvent(() => count("pinhole.closed") === count("pinhole.opened"));
    assert.deepEqual(await site.controller.kernelPinholes(), []);
    const map = await lab.perimeter.must("nft", ["list", "map", "inet", "diaper", "nat4"]);
    assert.doesNotMatch(map, /elements/);
    await vsftpd.stop("SIGKILL");
  },
});

Deno.test({
  name: "scenario: control experiment: without --nat-aware the same server announces an address " +
    "that nobody outside can reach (needs root, vsftpd)",
  ignore: !labPossible || !hasVsftpd(),
  fn: async () => {
    await using scene = await makeScene();
    await serve(scene, []);
    const client = curl(
      scene.lab.host("alice"),
      OUTSIDE,
      scene.lab.path("none"),
      "--connect-timeout",
      "3",
    );
    assert.notEqual((await client.status).code, 0);
    assert.match(client.output().join("\n"), announced(INSIDE));
  },
});

Deno.test({
  name:
    "scenario: lftp in active mode behind address translation is reached by the server that it " +
    "asked, through TLS (needs root, vsftpd)",
  ignore: !labPossible || !hasVsftpd(),
  fn: async () => {
    await using scene = await makeScene();
    const { lab, site } = scene;
    const [alice, lan] = [lab.host("alice"), lab.host("lan")];
    const remote = await makeFtpsSite(lab, alice, { bigBytes: 3_000_000 });
    const config = Deno.readTextFileSync(remote.config).replace(
      "port_enable=NO",
      "port_enable=YES",
    );
    Deno.writeTextFileSync(remote.config, config);
    alice.spawn("vsftpd", [remote.config]);
    await alice.waitForListener("tcp", remote.port);
    const broker = await site.broker(lan, "host2", NAT);
    const commands = (file: string) =>
      [
        ...ACTIVE.map((setting) => `set ${setting}`),
        `open -u anonymous,lab@ ftp://${alice.address(4)}`,
        `get big.bin -o ${lab.path(file)}`,
      ].join("; ");
    const client = broker.run("lftp", "lftp", ["-d", "-c", commands("active")], ["--nat-aware"]);
    assert.equal((await client.status).code, 0, client.output().join("\n"));
    assert.equal(await sha256File(lab.path("active")), remote.bigSha256);
    const port = /---> (?:EPRT \|1\|203\.0\.113\.1\||PORT 203,0,113,1,)/;
    assert.match(client.output().join("\n"), port);
    const opened = site.controller.events().filter((e) => e.event_type === "pinhole.opened");
    assert.ok(opened.length >= 1);
    assert.ok(opened.every((e) => e["source"] === alice.address(4) && e["destination"] === LAN));
  },
});
