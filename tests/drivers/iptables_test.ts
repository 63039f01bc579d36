import assert from "node:assert/strict";
import { EnforcerError } from "../../drivers/enforcer.ts";
import { createIptables } from "../../drivers/iptables.ts";
import type { IptablesBackend } from "../../drivers/iptables_tools.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { conformance } from "./conformance.ts";
import { RemoteEnforcer } from "./remote.ts";

const SPEC = { outside: [], inside: [{ name: "box", addresses: ["192.0.2.10"] }] };

function suite(title: string, backend: IptablesBackend): void {
  conformance({
    title,
    ignore: !labPossible,
    can: { leases: false },
    make: async ({ capacity }) => {
      const lab = await Lab.create(SPEC);
      try {
        const options = { capacity, backend };
        return {
          enforcer: await RemoteEnforcer.startDriver(lab.host("box"), "iptables", options),
          [Symbol.asyncDispose]: () => lab.close(),
        };
      } catch (error) {
        await lab.close();
        throw error;
      }
    },
  });
}

suite("iptables over nf_tables (needs root)", "nft");
suite("iptables legacy (needs root)", "legacy");
