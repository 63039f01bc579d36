import assert from "node:assert/strict";
import { hasVsftpd } from "../lab/ftps.ts";
import { labPossible } from "../lab/lab.ts";
import { hasSshd } from "../lab/remote.ts";
import { FtpsScenario, type Transfer } from "./ftps_behind_perimeter.ts";

Deno.test({
  name: "scenario: an FTPS server behind a closed perimeter serves its clients and nobody else " +
    "(needs root, vsftpd)",
  ignore: !labPossible || !hasVsftpd(),
  fn: async (t) => {
    await using scenario = await FtpsScenario.create({ bytes: 24_000_000, smallFiles: 10 });

    await t.step("without the agent every data connection is denied", async () => {
      for (const denial of await scenario.withoutDiaper()) {
        assert.ok(denial.denied, JSON.stringify(denial));
      }
      assert.deepEqual(scenario.openTimes(), [], "nobody asked for a pinhole");
    });

    await scenario.serve();
    const transfers: [Transfer["client"], Transfer["direction"], 4 | 6][] = [
      ["curl", "fetch", 4],
      ["lftp", "fetch", 6],
      ["curl", "store", 6],
      ["lftp", "store", 4],
    ];
    for (const [client, direction, family] of transfers) {
      await t.step(`${client} ${direction} over IPv${family}`, async () => {
        const transfer = await scenario.transfer(client, direction, family);
        assert.ok(transfer.sha256_match, transfer.failure.join("\n"));
        checkTimeline(transfer);
        if (direction === "store") return;
        assert.deepEqual(transfer.held, { listed: 1, kernel: 1 }, "exactly one pinhole, meanwhile");
        for (const attempt of [transfer.third, transfer.after]) {
          assert.ok(attempt?.valid, JSON.stringify(attempt));
          assert.notEqual(attempt.outcome, "connected", JSON.stringify(attempt));
        }
      });
    }

    await t.step("one pinhole for each data connection, and none is left", async () => {
      await scenario.fetchSmall();
      assert.equal(await scenario.leaked(), 0);
      // 4 transfers, 10 small files and the listing that lftp needs to find them.
      assert.equal(scenario.openTimes().length, 15);
    });
  },
});

for (const ssh of ["embedded", "sshd"] as const) {
  Deno.test({
    name: `scenario: broker, controller and perimeter on hosts of their own, over ${ssh} ` +
      "(needs root, vsftpd, sshd)",
    ignore: !labPossible || !hasVsftpd() || (ssh === "sshd" && !hasSshd),
    fn: async () => {
      const spec = { bytes: 12_000_000, smallFiles: 0 };
      await using scenario = await FtpsScenario.create(spec, undefined, ssh);
      for (const denial of await scenario.withoutDiaper()) {
        assert.ok(denial.denied, JSON.stringify(denial));
      }
      assert.deepEqual(scenario.openTimes(), [], "nobody asked for a pinhole");
      await scenario.serve();
      const transfers: [Transfer["client"], Transfer["direction"], 4 | 6][] = [
        ["curl", "fetch", 4],
        ["lftp", "store", 6],
      ];
      for (const [client, direction, family] of transfers) {
        const transfer = await scenario.transfer(client, direction, family);
        assert.ok(transfer.sha256_match, transfer.failure.join("\n"));
        checkTimeline(transfer);
        if (direction === "store") continue;
        assert.deepEqual(transfer.held, { listed: 1, kernel: 1 }, "exactly one pinhole, meanwhile");
        for (const attempt of [transfer.third, transfer.after]) {
          assert.ok(attempt?.valid, JSON.stringify(attempt));
          assert.notEqual(attempt.outcome, "connected", JSON.stringify(attempt));
        }
      }
      assert.equal(await scenario.leaked(), 0);
    },
  });
}

function checkTimeline({ timeline }: Transfer): void {
  const { bound, asked, allowed, opened, firstPacket, closed } = timeline;
  const times = [bound, asked, allowed, opened, firstPacket, closed];
  assert.ok(times.every((time) => time !== undefined), JSON.stringify(timeline));
  assert.deepEqual(times, times.toSorted((a, b) => (a ?? 0) - (b ?? 0)), JSON.stringify(timeline));
  assert.match(timeline.rule ?? "", /site\.policy:[23]$/);
  assert.equal(timeline.user, "nobody");
  assert.match(timeline.program ?? "", /\/vsftpd$/);
}
