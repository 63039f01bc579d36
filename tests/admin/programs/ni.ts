/**
 * An NI whose "kernel" tells of numbered alerts, as fast as the spool takes them: for tests that kill it.
 *
 * Arguments: spool, key file, console's public key, port, how many.
 */
import { NiSide } from "../../../lib/admin/ni_side.ts";
import { openSpool } from "../../../lib/admin/spool.ts";
import { alertEvent } from "../support.ts";

const [path = "", key = "", consoleKey = "", port = "", count = ""] = Deno.args;
const { spool } = openSpool(path, { alerts: 1e6, bytes: 1e9, policy: "drop-oldest" });
const ni = new NiSide({
  role: "ni",
  host: "ni",
  software: "test",
  privateKey: Deno.readTextFileSync(key),
  consoleKeys: new Set([consoleKey]),
  connect: [{ host: "127.0.0.1", port: Number(port) }],
  listen: [],
  spool,
  handlers: {},
  log: () => {},
});
await ni.start();
// What a process before this one has told of survived it: the numbers go on where the spool's do.
for (let n = spool.state.next; n <= Number(count); n++) {
  ni.alert(alertEvent(`finding ${n}`));
  if (n % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
}
await new Promise((resolve) => setTimeout(resolve, 0));
while (spool.state.waiting > 0) await new Promise((resolve) => setTimeout(resolve, 20));
await ni.stop();
Deno.exit(0);
