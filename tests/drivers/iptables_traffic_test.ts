import { traffic } from "./traffic.ts";

/** What is another driver's own business is tested with each; the kernel's part, with nftables alone. */
const OWN = [
  "every packet counts",
  "with a source port",
  "control ports open to all, when configured",
  "closing a pinhole stops",
  "ends politely",
  "a router guards",
];

traffic({
  title: "iptables over nf_tables",
  driver: "iptables",
  options: { backend: "nft" },
  only: OWN,
});
traffic({
  title: "iptables legacy",
  driver: "iptables",
  options: { backend: "legacy" },
  only: ["every packet counts, IPv4"],
});
traffic({
  title: "ipset",
  driver: "ipset",
  only: ["every packet counts", "end in the kernel when nobody renews", "a router guards"],
});
