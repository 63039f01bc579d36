/** `diaper ni --read`: real captures, known answers. */
import assert from "node:assert/strict";
import { CaptureError } from "../../lib/net/capture.ts";
import { scannerCommand, usualRights } from "../../lib/ni/catalogue.ts";
import { type OfflineResult, runOffline } from "../../lib/ni/offline.ts";
import type { ScannerRights } from "../../lib/ni/rights.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";
import { cagePossible } from "./support.ts";

interface Run {
  readonly result: OfflineResult;
  readonly alerts: { signature: string; detail: Record<string, unknown> }[];
}

function codered(read: string, hostNetworks: string[], write?: string): Run {
  const rights = usualRights("codered") as ScannerRights;
  const alerts: Run["alerts"] = [];
  const result = runOffline({
    read,
    write,
    prevent: [],
    scanners: new Map([["codered", { rights, command: scannerCommand("codered", rights, 0) }]]),
    hostNetworks,
    events: new Set(["alert"]),
    event: (event) => {
      const { signature } = event["alert"] as { signature: string };
      alerts.push({ signature, detail: event["detail"] as Record<string, unknown> });
    },
    log: (line) => assert.fail(line),
  });
  return { result, alerts };
}

if (!cagePossible) {
  Deno.test({
    name: "offline: the Code-Red scanner (skipped: needs root)",
    ignore: true,
    fn: () => {},
  });
} else {
  sharedTest(
    "offline: codered flags exactly the hosts that the reference flags",
    "ni",
    (directory) => {
      const lines = Deno.readTextFileSync(`${directory}/REFERENCE-fanout.tsv`).trim().split("\n");
      let compared = 0;
      for (const line of lines.filter((text) => !text.startsWith("#")).slice(1)) {
        const [file = "", source = "", , , , second, minute] = line.split("\t");
        const { alerts, result } = codered(`${directory}/${file}`, [source]);
        const flagged = alerts.some(({ signature }) =>
          signature.includes("no name was translated")
        );
        assert.equal(flagged, Number(second) > 2 || Number(minute) > 10, line);
        assert.deepEqual(result.failures, []);
        compared++;
      }
      assert.ok(compared >= 5);
    },
  );

  sharedTest(
    "offline: the same capture gives the same answer each time",
    "ni/ndpi",
    (directory) => {
      const run = () => {
        const write = Deno.makeTempFileSync();
        const { result, alerts } = codered(`${directory}/ethereum.pcap`, ["192.168.1.184"], write);
        const bytes = Deno.readFileSync(write);
        Deno.removeSync(write);
        return { counters: result.counters, alerts, bytes };
      };
      assert.deepEqual(run(), run());
    },
  );
}

sharedTest(
  "offline: without scanners every frame of every capture leaves as it came",
  "ni",
  (directory) => {
    const write = Deno.makeTempFileSync();
    const again = Deno.makeTempFileSync();
    try {
      let frames = 0;
      for (const read of filesBelow(directory, [".pcap", ".pcapng"])) {
        const options = {
          prevent: [],
          scanners: new Map(),
          hostNetworks: [],
          events: new Set<never>(),
          event: () => assert.fail(),
          log: () => assert.fail(),
        };
        let first: OfflineResult;
        try {
          first = runOffline({ ...options, read, write });
        } catch (error) {
          if (error instanceof CaptureError) continue; // a damaged file: see capture_test.ts
          throw error;
        }
        assert.equal(first.counters.forwarded, first.counters.received, read);
        runOffline({ ...options, read: write, write: again });
        assert.deepEqual(Deno.readFileSync(again), Deno.readFileSync(write), read);
        frames += first.counters.received;
      }
      assert.ok(frames > 15_000, `only ${frames} frames`);
    } finally {
      Deno.removeSync(write);
      Deno.removeSync(again);
    }
  },
);
