/** Hostile scanners inline: what they use up is bounded, while another scanner and unscanned traffic go on. */
import assert from "node:assert/strict";
import { labPossible } from "../lab/lab.ts";
import { NiLab } from "./inline_lab.ts";
import { compileScanner } from "./support.ts";

Deno.test({
  name: `ni inline: hostile scanners harm only themselves${
    labPossible ? "" : " (skipped: labs need root)"
  }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await NiLab.create();
    const program = await compileScanner("hostile", lab.lab.path(""));
    const scanner = (name: string, deed: string, more: string) =>
      `  ${name}: {program: ${program}, arguments: [${deed}], ${more}}\n`;
    const ni = await lab.startWith(
      "scanners:\n" +
        scanner("spinner", "spin", "read: [udp], cpu: 5") +
        scanner("hoarder", "hoard", "read: [udp], memory: 16MiB") +
        scanner("stuffed", "stuffed", "read: [udp], queue_bytes: 1KiB") +
        scanner("dying", "die", "read: [udp]") +
        scanner("silent", "never", "contain: [udp port 9], hold: 1s, on_failure: open") +
        scanner("good", "contain", "contain: [icmp]"),
    );
    await ready(lab, ["spinner", "stuffed", "dying", "silent", "good"]);
    const load = lab.host.spawn("python3", ["-c", LOAD, lab.netAddress]);
    const events: [scanner: string, signature: string, why: RegExp][] = [
      ["spinner", "scanner ended", /s of processor time in 10 s, 0\.5 s allowed/],
      ["hoarder", "scanner ended", /2\d\d MiB of memory, 16 MiB allowed/],
      ["silent", "scanner ended", /no verdict for frame \d+ in 1000 ms/],
      ["dying", "scanner ended", /signal 6/],
      // Five ends within a minute, each after a longer wait: it is not started any more.
      ["dying", "scanner stopped", /signal 6; ended 5 times within a minute/],
    ];
    for (const [name, signature, why] of events) {
      await ni.find(
        (line) => {
          if (!line.includes('"event_type":"alert"')) return undefined;
          const event = JSON.parse(line);
          return event.scanner === name && event.alert.signature === signature &&
              why.test(event.detail.why)
            ? event
            : undefined;
        },
        `${name}: ${signature}`,
        30_000,
      );
    }
    // All the while: scanned by the good one, and not scanned at all.
    assert.deepEqual(await lab.ping(500, "-f", lab.netAddress), { answered: 500, twice: 0 });
    assert.equal(await lab.host.tryConnect(lab.netAddress, 446, 500), "refused");
    const { scanners } = await lab.status() as {
      scanners: Record<string, { pid: number | null; lost: number; passed: number }>;
    };
    assert.ok((scanners["stuffed"]?.lost ?? 0) > 0, JSON.stringify(scanners));
    assert.ok((scanners["good"]?.passed ?? 0) >= 1000, JSON.stringify(scanners));
    assert.equal(scanners["dying"]?.pid, null);
    await load.stop();
    // Reading the configuration anew tries again what was given up.
    ni.kill("SIGHUP");
    await ni.waitForLine(/configuration loaded/);
    await ready(lab, ["dying", "good"]);
  },
});

/** Waits until scanners have subscribed. */
async function ready(lab: NiLab, names: readonly string[]): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const { rules } = await lab.status() as { rules: { scanner?: string }[] };
    if (names.every((name) => rules.some((rule) => rule.scanner === name))) return;
  }
  assert.fail(`not all of ${names.join()} subscribe: ${JSON.stringify(await lab.status())}`);
}

/** Sends a datagram every ten milliseconds to two ports, for a minute at most. */
const LOAD = `
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(6000):
    for port in (9, 10): s.sendto(bytes(1400), (sys.argv[1], port))
    time.sleep(0.01)
`;
