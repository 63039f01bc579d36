import assert from "node:assert/strict";
import { startTransfer } from "./ftp_clients.ts";
import { hasVsftpd, makeFtpsSite, sha256File } from "./ftps.ts";
import { Lab, labPossible } from "./lab.ts";
import { closePerimeter } from "./perimeter.ts";

const SPEC = {
  outside: [
    { name: "alice", addresses: ["198.51.100.10", "2001:db8:1::10"] },
    { name: "mallory", addresses: ["203.0.113.66", "2001:db8:2::66"] },
  ],
  inside: [{ name: "server", addresses: ["192.0.2.10", "2001:db8:3::10"] }],
};
const BYTES = 3_000_000;
const CLIENTS = ["curl", "lftp"] as const;

Deno.test({
  name:
    "lab: an FTPS server serves curl and lftp, passive, over IPv4 and IPv6 (needs root, vsftpd)",
  ignore: !labPossible || !hasVsftpd(),
  fn: async () => {
    await using lab = await Lab.create(SPEC);
    const [alice, server] = [lab.host("alice"), lab.host("server")];
    const site = await makeFtpsSite(lab, server, { bigBytes: BYTES });
    server.spawn("vsftpd", [site.config]);
    await server.waitForListener("tcp", site.port);
    const capture = await server.capture("eth0", "tcp");
    for (const family of [4, 6] as const) {
      for (const client of CLIENTS) {
        const common = { client, server: server.address(family) };
        const got = lab.path(`${client}-${family}`);
        const fetch = startTransfer(alice, site, {
          ...common,
          ...{ direction: "fetch", remote: "big.bin", local: got },
        });
        assert.equal((await fetch.status).code, 0, fetch.output().join("\n"));
        assert.equal(await sha256File(got), site.bigSha256);
        const store = startTransfer(alice, site, {
          ...common,
          ...{ direction: "store", remote: `upload/${client}-${family}`, local: got },
        });
        assert.equal((await store.status).code, 0, store.output().join("\n"));
        assert.equal(await sha256File(`${site.uploads}/${client}-${family}`), site.bigSha256);
      }
    }
    const opened = (await capture.stop()).filter((p) =>
      p.flags === "S" && p.destinationPort !== 21
    );
    assert.equal(opened.length, 8, "a data connection of its own for each transfer");
    assert.ok(opened.every((p) => p.destinationPort > 1024));
  },
});

Deno.test({
  name: "lab: the FTPS server takes no login and no data without TLS (needs root, vsftpd)",
  ignore: !labPossible || !hasVsftpd(),
  fn: async () => {
    await using lab = await Lab.create(SPEC);
    const [alice, server] = [lab.host("alice"), lab.host("server")];
    const site = await makeFtpsSite(lab, server, { bigBytes: 1_000 });
    server.spawn("vsftpd", [site.config]);
    await server.waitForListener("tcp", site.port);
    const target = `ftp://${server.address(4)}/big.bin`;
    const common = ["--silent", "--show-error", "--output", "/dev/null", "--max-time", "10"];
    const plain = await alice.run("curl", [...common, target]);
    assert.match(plain.stderr, /530|Access denied/);
    const control = ["--ftp-ssl-control", "--cacert", site.certificate];
    const data = await alice.run("curl", [...common, ...control, "--verbose", target]);
    assert.notEqual(data.code, 0);
    assert.match(data.stderr, /522|must be encrypted/);
    const unverified = await alice.run("curl", [...common, "--ssl-reqd", target]);
    assert.match(unverified.stderr, /self.signed certificate/);
  },
});

Deno.test({
  name: "lab: control experiment: who reaches a data port depends on the perimeter alone " +
    "(needs root, vsftpd)",
  ignore: !labPossible || !hasVsftpd(),
  fn: async () => {
    await using lab = await Lab.create(SPEC);
    const [alice, mallory] = [lab.host("alice"), lab.host("mallory")];
    const server = lab.host("server");
    const site = await makeFtpsSite(lab, server, { bigBytes: BYTES });
    server.spawn("vsftpd", [site.config]);
    await server.waitForListener("tcp", site.port);
    const capture = await server.capture("eth0", "tcp and not port 21");
    for (const client of CLIENTS) {
      await closePerimeter(server, ["21", "1025-65535"]);
      const transfer = {
        ...{ client, direction: "fetch", remote: "big.bin" } as const,
        ...{ server: server.address(4), local: lab.path(client), connectTimeout: 2 },
      };
      const started = Date.now();
      const slow = startTransfer(alice, site, { ...transfer, rate: 2_500_000 });
      const syn = await capture.waitFor((p) =>
        p.time >= started && p.source === alice.address(4) && p.flags === "S"
      );
      const port = syn.destinationPort;
      assert.equal(await mallory.tryConnect(server.address(4), port), "connected");
      assert.ok(slow.running, "the transfer is still going on");
      assert.equal((await slow.status).code, 0, slow.output().join("\n"));

      await closePerimeter(server, ["21"]);
      const denied = startTransfer(alice, site, {
        ...transfer,
        local: lab.path(`${client}-denied`),
      });
      assert.notEqual((await denied.status).code, 0);
      assert.match(denied.output().join("\n"), /230 Login successful[^]*22[79] Entering/);
    }
  },
});
