/**
 * An NI between porth and portn whose one scanner sees every frame, for the benchmark. Arguments: `read` or `contain`, and
 * the scanner as one file. Prints its counters when a line comes in and when its input ends; then it ends too.
 *
 * @module
 */
import { usualRights } from "../../../lib/ni/catalogue.ts";
import { InlineNi } from "../../../lib/ni/inline.ts";
import type { ScannerRights } from "../../../lib/ni/rights.ts";
import { scannersPath } from "../../../lib/sys/assets.ts";
import { cageCommand } from "../../../lib/sys/cage.ts";
import { EPOLL, Poller } from "../../../lib/sys/epoll.ts";
import { libc } from "../../../lib/sys/libc.ts";

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
const input = new Uint8Array(64);
poller.add(0, EPOLL.IN | EPOLL.HUP, () => {
  if (libc.read(0, input, input.length) > 0) print(ni.status());
  else stopped = true;
});
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
