/**
 * Helps streams_lab_test.ts: an NI between porth and portn with the editing scanner. Prints what happens; a line on its
 * input kills the scanner, its end stops the NI.
 *
 * @module
 */
import { USUAL_RIGHTS } from "../../../lib/ni/catalogue.ts";
import { InlineNi } from "../../../lib/ni/inline.ts";
import { EPOLL, Poller } from "../../../lib/sys/epoll.ts";
import { INJECTED } from "./injected.ts";

const [mode = "", onFailure = "open"] = Deno.args;
const scanner = decodeURIComponent(new URL("editing_scanner.ts", import.meta.url).pathname);
const print = (line: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
const poller = new Poller();
const ni = new InlineNi({
  links: { host: "porth", net: "portn" },
  prevent: [],
  scanners: new Map([["edit", {
    rights: {
      ...USUAL_RIGHTS,
      cpu: 100,
      onFailure: onFailure as "open" | "closed",
      streams: { read: [], contain: ["tcp port 7777"] },
      injections: [{ name: "note", frame: INJECTED, kind: "stream" as const }],
    },
    command: [
      Deno.execPath(),
      ...["run", "--quiet", "--no-check", "--no-lock", "--no-config"],
      ...[scanner, "7777", "contain", mode],
    ],
  }]]),
  hostNetworks: [],
  onExit: "closed",
  userSpace: false,
  event: (event) => print(`event ${JSON.stringify(event)}`),
  log: (level, text) => print(`${level} ${text}`),
}, poller);
let stop = false;
const input = new Uint8Array(16);
poller.add(0, EPOLL.IN | EPOLL.HUP, () => {
  if ((Deno.stdin.readSync(input) ?? 0) === 0) stop = true;
  else {
    const { scanners } = ni.status() as { scanners: { edit: { pid: number | null } } };
    if (scanners.edit.pid !== null) Deno.kill(scanners.edit.pid, "SIGKILL");
  }
});
ni.start();
let ready = false;
try {
  while (!stop) {
    poller.wait(ni.timeout());
    ni.work();
    if (!ready && ni.isReady) {
      ready = true;
      print("ready");
    }
  }
  print(`status ${JSON.stringify(ni.status())}`);
} finally {
  ni.close();
  poller.close();
}
