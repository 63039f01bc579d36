/**
 * An NI between porth and portn whose one scanner sees every frame, for the benchmark. Arguments: `read` or `contain`, and
 * the scanner as one file. Ends when its input does, and prints its counters.
 *
 * @module
 */
import { usualRights } from "../../../lib/ni/catalogue.ts";
import { InlineNi } from "../../../lib/ni/inline.ts";
import type { ScannerRights } from "../../../lib/ni/rights.ts";
import { scannersPath } from "../../../lib/sys/assets.ts";
import { cageCommand } from "../../../lib/sys/cage.ts";
import { EPOLL, Poller } from "../../../lib/sys/epoll.ts";

const [right = "read", file = ""] = Deno.args;
const rights: ScannerRights = {
  ...usualRights("codered") as ScannerRights,
  read: [""],
  contain: right === "contain" ? [""] : [],
  cpu: 200,
  queueFrames: 4096,
};
// The same cage and runtime as all scanners have, with another file.
const command = cageCommand(right, rights.memory, 0)
  .map((word) => word === scannersPath() ? file : word);
const poller = new Poller();
const ni = new InlineNi({
  links: { host: "porth", net: "portn" },
  prevent: [],
  scanners: new Map([["bench", { rights, command }]]),
  hostNetworks: [],
  onExit: "closed",
  userSpace: false,
  reconstruct: [],
  forwarding: "auto",
  event: (event) => print(event),
  log: (_, text) => print({ text }),
}, poller);
let stopped = false;
poller.add(0, EPOLL.IN | EPOLL.HUP, () => stopped = true);
ni.start();
while (!stopped) {
  poller.wait(ni.timeout());
  ni.work();
}
print(ni.status());
ni.close();
poller.close();

function print(value: unknown): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(value)}\n`));
}
