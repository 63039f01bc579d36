import assert from "node:assert/strict";
import { startTransfer } from "../lab/ftp_clients.ts";
import { hasVsftpd } from "../lab/ftps.ts";
import type { Host } from "../lab/host.ts";
import { labPossible } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { FtpsScenario } from "./ftps_behind_perimeter.ts";

Deno.test({
  name: "scenario: after kill -9 of diaper up and a restart, exactly the pinholes of living " +
    "programs are open (needs root, vsftpd)",
  ignore: !labPossible || !hasVsftpd(),
  fn: async () => {
    await using scenario = await FtpsScenario.create({ bytes: 24_000_000, smallFiles: 0 });
    const { diaper, server, site } = scenario;
    await scenario.serve();
    // Both are allowed. One goes on over the daemon's death, the other ends while there is no daemon.
    const [staying, leaving] = [scenario.client, scenario.neighbour];
    const goesOn = fetchSlowly(staying, 4_000_000);
    const isOpened = (host: Host) => (e: Record<string, unknown>) =>
      e["event_type"] === "pinhole.opened" && e["source"] === host.address(4);
    await diaper.waitForEvent(isOpened(staying));
    const ends = fetchSlowly(leaving, 1_000_000);
    const doomed = await diaper.waitForEvent(isOpened(leaving));
    assert.equal((await diaper.kernelPinholes()).length, 2);

    assert.equal((await diaper.stop("SIGKILL")).signal, "SIGKILL");
    assert.equal((await diaper.kernelPinholes()).length, 2, "the perimeter stays as it was");
    await ends.stop("SIGKILL");
    const port = Number(doomed["destination_port"]);
    for (let round = 0; await listens(port); round++) { // until its server side has ended too
      assert.ok(round < 500, `vsftpd still listens on ${port} after its client was killed`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.ok(goesOn.running);

    await diaper.restart();
    await diaper.waitForEvent((e) =>
      e.event_type === "pinhole.closed" && e["source"] === leaving.address(4)
    );
    assert.deepEqual((await diaper.pinholes()).map((p) => p["source"]), [staying.address(4)]);
    assert.equal((await diaper.kernelPinholes()).length, 1);
    assert.ok(goesOn.running, "the transfer outlived the daemon");
    assert.equal((await goesOn.status).code, 0, goesOn.output().slice(-5).join("\n"));
    assert.equal(await scenario.leaked(), 0);

    // A server that was started before goes on asking: its session is new, the daemon is new.
    const next = await scenario.transfer("curl", "store", 4);
    assert.ok(next.sha256_match, next.failure.join("\n"));

    async function listens(port: number): Promise<boolean> {
      return (await server.sockets("tcp")).some((s) => s.listening && s.localPort === port);
    }

    function fetchSlowly(host: Host, rate: number): LabProcess {
      return startTransfer(host, site, {
        ...{ client: "curl", direction: "fetch", remote: "big.bin", local: "/dev/null", rate },
        server: server.address(4),
      });
    }
  },
});
