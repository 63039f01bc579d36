import { traffic } from "./traffic.ts";

traffic({ title: "nftables", driver: "nftables" });
