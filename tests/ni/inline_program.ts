/**
 * Helps the tests: an NI between porth and portn with scanners of the test's own. Its argument: JSON of a list of
 * scanners, each `name`, `command`, `rights`. Prints events and messages as JSON lines, its status when a line comes in, and
 * ends when its input does.
 *
 * @module
 */
import { USUAL_RIGHTS } from "../../lib/ni/catalogue.ts";
import { InlineNi, type InlineOptions } from "../../lib/ni/inline.ts";
import type { ScannerRights } from "../../lib/ni/rights.ts";
import { EPOLL, Poller } from "../../lib/sys/epoll.ts";
import { libc } from "../../lib/sys/libc.ts";

/** One scanner. */
export interface ProgramScanner {
  readonly name: string;
  readonly command: readonly string[];
  readonly rights: Partial<ScannerRights>;
}

/** What it is told. */
export interface ProgramOptions
  extends Partial<Pick<InlineOptions, "prevent" | "userSpace" | "forwarding">> {
  readonly scanners: readonly ProgramScanner[];
}

if (import.meta.main) run(JSON.parse(Deno.args[0] ?? "{}") as ProgramOptions);

function run(options: ProgramOptions): void {
  const poller = new Poller();
  const ni = new InlineNi({
    links: { host: "porth", net: "portn" },
    prevent: [],
    hostNetworks: [],
    onExit: "closed",
    userSpace: false,
    reconstruct: [],
    forwarding: "auto",
    ...options,
    scanners: new Map(
      options.scanners.map(({ name, command, rights }) => [
        name,
        { command, rights: { ...USUAL_RIGHTS, ...rights } },
      ]),
    ),
    event: print,
    log: (level, text) => print({ level, text }),
  }, poller);
  let stopped = false;
  const input = new Uint8Array(64);
  poller.add(0, EPOLL.IN | EPOLL.HUP, () => {
    if (libc.read(0, input, input.length) > 0) print({ status: ni.status() });
    else stopped = true;
  });
  ni.start();
  print({ text: "started" });
  while (!stopped) {
    poller.wait(ni.timeout());
    ni.work();
  }
  print({ status: ni.status() });
  ni.close();
  poller.close();
}

function print(value: unknown): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(value)}\n`));
}
