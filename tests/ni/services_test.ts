/** Scanners and services: a real one at a real Unix socket, one that is not given, one that is gone. */
import assert from "node:assert/strict";
import { scannerCounters, ScannerSession } from "../../lib/ni/scanner_session.ts";
import { RightsChecker } from "../../lib/ni/rights.ts";
import { ServiceConnections } from "../../lib/ni/services.ts";
import { Poller } from "../../lib/sys/epoll.ts";
import type { ServiceConnection } from "../../niapp/sdk/mod.ts";
import { Session } from "../../niapp/sdk/session.ts";
import { frame } from "../niapp/frames.ts";
import { caged, cagePossible, rights as usualScannerRights, runFrames } from "./support.ts";

const HERE = decodeURIComponent(new URL("scanners", import.meta.url).pathname);

const udp = (mark: number) =>
  frame({
    source: "192.0.2.10",
    destination: "198.51.100.1",
    destinationPort: 9,
    payload: Uint8Array.of(mark),
  });

/** Runs a test with a service that listens at `path`. */
async function withService(args: string[], run: (path: string) => void): Promise<void> {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/clamd.ctl`;
  const child = new Deno.Command("python3", {
    args: [`${HERE}/clamd.py`, path, ...args],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  try {
    await reader.read(); // it says that it listens
    run(path);
  } finally {
    child.kill("SIGKILL");
    await child.stdin.close();
    await child.status;
    await reader.cancel();
    await Deno.remove(directory, { recursive: true });
  }
}

/** Five frames through the scanner that asks a service. */
function ask(
  services: Record<string, string>,
  service: string,
  deed = "",
): ReturnType<typeof runFrames> {
  const script = `${HERE}/served.py`;
  const paths = ["/usr/bin/python3", script];
  return runFrames([1, 2, 4, 9, 5].map(udp), {
    served: {
      rights: usualScannerRights({ contain: ["udp"], services, onFailure: "closed" }),
      command: caged([...paths, service, deed], paths),
    },
  });
}

function caseOf(name: string, run: () => Promise<void> | void): void {
  Deno.test({
    name: `services: ${name}${cagePossible ? "" : " (skipped: cages need root)"}`,
    ignore: !cagePossible,
    fn: run,
  });
}

caseOf("a scanner in a cage asks one about each frame, and the answer counts", async () => {
  await withService([], (path) => {
    const { left, failures, scanners, signatures } = ask({ clamd: path }, "clamd");
    // 4 is the virus; at 9 the service hangs up without an answer.
    assert.deepEqual([left, failures, signatures], [[1, 2, 5], [], []]);
    assert.deepEqual(scanners["served"]?.services, { connected: 5, refused: 0 });
  });
});

caseOf("one that is not given to the scanner is refused with the reason", async () => {
  await withService([], (path) => {
    const { left, failures, scanners, signatures } = ask({ clamd: path }, "other");
    assert.deepEqual([left, failures], [[], []]);
    assert.deepEqual(
      [...new Set(signatures)],
      ["the administrator gives this scanner no such service"],
    );
    assert.deepEqual(scanners["served"]?.services, { connected: 0, refused: 5 });
  });
});

caseOf("one that is gone is told of, and tried anew each time", async () => {
  let gone = "";
  await withService([], (path) => void (gone = path));
  const { signatures, scanners } = ask({ clamd: gone }, "clamd");
  assert.deepEqual([...new Set(signatures)], ["the service is not there"]);
  assert.equal(scanners["served"]?.services.refused, 5);
});

caseOf("who writes more than there is room for, or numbers at will, is ended", async () => {
  await withService(["deaf"], (path) => {
    assert.match(ask({ clamd: path }, "clamd", "much").failures.join(), /than there is room for/);
    assert.match(ask({ clamd: path }, "clamd", "number").failures.join(), /1 is not the next one/);
  });
});

Deno.test("services: the SDK carries any amount in both directions, as it is", async () => {
  await withService(["echo"], (path) => {
    const poller = new Poller();
    const rights = usualScannerRights({ services: { echo: path } });
    const sent = new Uint8Array(3_000_000).map((_, i) => (i * 2654435761) >>> 13);
    const received = new Uint8Array(sent.length);
    let at = 0;
    let ended: string | undefined;
    const scanner = new Session({
      name: "sdk",
      start(ni) {
        assert.deepEqual(ni.services, ["echo"]);
        const connection: ServiceConnection = ni.connect("echo", {
          data(bytes) {
            received.set(bytes, at);
            at += bytes.length;
          },
          ended: (why) => ended = why,
        });
        for (let i = 0; i < sent.length; i += 70_001) {
          connection.write(sent.subarray(i, i + 70_001));
        }
        connection.end();
      },
    });
    const broken = (why: string) => assert.fail(why);
    const kernel = new ScannerSession(
      "sdk",
      rights,
      new RightsChecker(rights, 1),
      {
        linkType: 1,
        hostNetworks: [],
        longestFrame: 1514,
        streamLimit: 0,
        clock: () => ({ seconds: 0, nanoseconds: 0 }),
        table: () => undefined,
      },
      scannerCounters(),
      {
        verdict() {},
        inject() {},
        alert() {},
        streamAlert() {},
        reset: () => true,
        finished() {},
        granted() {},
        broken,
      },
    );
    const services = new ServiceConnections(
      poller,
      () => rights.services,
      kernel.out,
      kernel.counters.services,
    );
    kernel.services = services;
    kernel.sync(7);
    // DONE tells that all exchanges are over.
    for (let i = 0; kernel.done !== 7 && i < 100_000; i++) {
      carry(kernel.out.bytes.subarray(0, kernel.out.length), scanner);
      kernel.out.length = 0;
      carry(scanner.output(), { space: () => kernel.space(), take: (n) => kernel.take(n, 0) });
      services.resume();
      poller.wait(1);
    }
    poller.close();
    assert.deepEqual([at, ended], [sent.length, ""]);
    assert.deepEqual(received, sent);
  });
});

/** Gives bytes to one side in pieces. */
function carry(bytes: Uint8Array, to: { space(): Uint8Array; take(n: number): void }): void {
  const copy = bytes.slice();
  for (let at = 0; at < copy.length; at += 50_000) {
    const piece = copy.subarray(at, at + 50_000);
    to.space().set(piece);
    to.take(piece.length);
  }
}
