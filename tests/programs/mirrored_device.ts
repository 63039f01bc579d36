/**
 * A simulated device whose pinholes are what the network namespace that it runs in forwards: before the device
 * answers, nftables there has what the device has.
 *
 *   deno run --allow-all mirrored_device.ts NAME INSIDE-INTERFACE SCRATCH-FILE
 *
 * @module
 */
import type { SimulatedDevice } from "../../lib/devices/device.ts";
import { IronwareDevice } from "../../lib/devices/ironware.ts";
import { JunosDevice } from "../../lib/devices/junos.ts";
import { createDevice, type DeviceName } from "../../lib/devices/mod.ts";

const [name = "", inside = "", scratch = ""] = Deno.args;
const device = createDevice(name as DeviceName);

/** Protocol, source, destination and port of what the device lets in, as elements of a set. */
function elements(of: SimulatedDevice): string[] {
  if (of instanceof JunosDevice) {
    const filter = of.committed.filters.get("inet DIAPER");
    return [...filter?.terms.values() ?? []].filter((t) => t.active && t.then.has("accept")).map((
      t,
    ) =>
      ["protocol", "source-address", "destination-address", "destination-port"]
        .map((part) => t.from.get(part)?.[0]?.replace("/32", "") ?? "").join(" . ")
    );
  }
  const acls = of instanceof IronwareDevice ? of.hardware : of.acls;
  return (acls.get(4, "DIAPER")?.entries ?? []).filter((e) => e.action === "permit").map((e) =>
    [e.proto, e.source.first.text, e.destination.first.text, e.destinationPorts?.first].join(" . ")
  );
}

function nft(text: string): void {
  Deno.writeTextFileSync(scratch, text);
  const { success, stderr } = new Deno.Command("nft", { args: ["-f", scratch] }).outputSync();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

nft(`table inet mirror {
  set open { type inet_proto . ipv4_addr . ipv4_addr . inet_service; }
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname "${inside}" accept
    tcp dport 21 accept
    meta l4proto . ip saddr . ip daddr . th dport @open accept
  }
}`);
device.onChange = () => {
  const open = elements(device);
  nft(
    "flush set inet mirror open\n" +
      (open.length === 0 ? "" : `add element inet mirror open { ${open.join(", ")} }\n`),
  );
};
await device.start();
const line = JSON.stringify({ port: device.port, host_key: device.fingerprint });
Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
