/**
 * The least-privilege perimeter by plain nftables, without any Diaper: outbound allowed, replies
 * allowed, inbound only to control ports. For tests of the lab, and as the control experiment.
 *
 * @module
 */
import type { Host } from "./host.ts";

/** Closes a host's own perimeter (the input hook). Ports are TCP ports or ranges, `21`, `1025-65535`. */
export async function closePerimeter(host: Host, openPorts: readonly string[]): Promise<void> {
  for (const port of openPorts) {
    if (!/^\d{1,5}(-\d{1,5})?$/.test(port)) throw new Error(`Not a port or a range: "${port}"`);
  }
  await host.must("nft", ["-f", "-"], {
    input: `
table inet lab_perimeter
delete table inet lab_perimeter
table inet lab_perimeter {
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept
    tcp dport { ${openPorts.join(", ")} } accept
  }
}
`,
  });
}

/** Takes away what {@link closePerimeter} made. */
export async function openPerimeter(host: Host): Promise<void> {
  await host.must("nft", ["delete", "table", "inet", "lab_perimeter"]);
}
