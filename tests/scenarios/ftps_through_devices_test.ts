/**
 * An FTPS transfer behind each kind of network device: the controller opens and closes at the simulated device,
 * and the lab's perimeter forwards what the device lets in, and nothing else.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { DEVICE_NAMES, type DeviceName } from "../../lib/devices/mod.ts";
import { hasVsftpd, makeFtpsSite, sha256File } from "../lab/ftps.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { RemoteSite } from "../lab/remote.ts";

const INSIDE = "192.0.2.10";

async function transfer(name: DeviceName): Promise<void> {
  await using lab = await Lab.create({
    outside: [
      { name: "alice", addresses: ["198.51.100.10"] },
      { name: "mallory", addresses: ["203.0.113.66"] },
    ],
    inside: [{ name: "server", addresses: [INSIDE] }],
  });
  const { perimeter } = lab;
  const [alice, mallory, server] = [lab.host("alice"), lab.host("mallory"), lab.host("server")];
  const program = decodeURIComponent(
    new URL("../programs/mirrored_device.ts", import.meta.url).pathname,
  );
  const device = perimeter.spawn(Deno.execPath(), [
    ...["run", "--quiet", "--allow-all", program, name, "server", lab.path("mirror.nft")],
  ]);
  const [found] = await device.waitForLine(/^\{.*\}$/);
  const { port, host_key } = JSON.parse(found as string) as { port: number; host_key: string };
  const password = lab.path("device-password");
  writeFileSync(password, "diaper\n", { mode: 0o600 });
  const site = await RemoteSite.start(lab, {
    server: "embedded",
    enforcer: name,
    policy: [`allow host1 * tcp * * ${INSIDE} 1024-65535`],
    delegates: ["host1"],
    settings: [
      "enforcer:",
      "  host: 127.0.0.1",
      `  port: ${port}`,
      "  user: diaper",
      `  password_file: ${password}`,
      `  host_key: ${host_key}`,
    ],
  }, []);
  const broker = await site.broker(server, "host1");
  const ftps = await makeFtpsSite(lab, server, { bigBytes: 3_000_000 });
  const vsftpd = broker.run("ftpd", "vsftpd", [ftps.config]);
  await server.waitForListener("tcp", ftps.port);
  const file = lab.path("got");
  const client = alice.spawn("curl", [
    ...["--silent", "--show-error", "--insecure", "--ssl-reqd", "--output", file],
    ...["--limit-rate", "3M", "--connect-timeout", "20", `ftp://${INSIDE}/big.bin`],
  ]);
  const opened = await site.controller.waitForEvent(
    (e) => e.event_type === "pinhole.opened",
    30_000,
  );
  assert.deepEqual([opened["source"], opened["destination"]], [alice.address(4), INSIDE]);
  const data = Number(opened["destination_port"]);
  assert.equal(await mallory.tryConnect(INSIDE, data, 500), "unanswered", "mallory");
  assert.equal((await client.status).code, 0, client.output().join("\n"));
  assert.equal(await sha256File(file), ftps.bigSha256);
  await site.controller.waitForEvent((e) => e.event_type === "pinhole.closed", 30_000);
  assert.equal(await alice.tryConnect(INSIDE, data, 500), "unanswered", "after the transfer");
  await vsftpd.stop("SIGTERM");
  await device.stop("SIGTERM");
}

for (const name of DEVICE_NAMES) {
  Deno.test({
    name: `scenario: an FTPS transfer behind a simulated ${name} (needs root, vsftpd)`,
    ignore: !labPossible || !hasVsftpd(),
    fn: () => transfer(name),
  });
}
