import assert from "node:assert/strict";
import { EnforcerError } from "../../drivers/enforcer.ts";
import { createNftables } from "../../drivers/nftables.ts";
import type { KernelFeatures } from "../../drivers/nftables_pinholes.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { conformance } from "./conformance.ts";
import { RemoteEnforcer } from "./remote.ts";

const SPEC = { outside: [], inside: [{ name: "box", addresses: ["192.0.2.10"] }] };

function suite(title: string, features?: KernelFeatures): void {
  conformance({
    title,
    ignore: !labPossible,
    make: async ({ capacity }) => {
      const lab = await Lab.create(SPEC);
      try {
        return {
          enforcer: await RemoteEnforcer.start(lab.host("box"), { capacity }, features),
          [Symbol.asyncDispose]: () => lab.close(),
        };
      } catch (error) {
        await lab.close();
        throw error;
      }
    },
  });
}

suite("nftables (needs root)");
suite("nftables as with Linux 6.6 (needs root)", { renews: false, destroys: true });
suite("nftables as with Linux 5.10 (needs root)", { renews: false, destroys: false });

Deno.test("nftables: options that cannot be a perimeter are errors that say why", () => {
  const wrong: [Parameters<typeof createNftables>[0], RegExp][] = [
    [{ table: "a b" }, /table "a b"/],
    [{ table: "x; flush ruleset" }, /x; flush ruleset/],
    [{ table: "" }, /table ""/],
    [{ table: "1x" }, /"1x"/],
    [{ capacity: 0 }, /0 pinholes/],
    [{ capacity: 1.5 }, /1.5 pinholes/],
    [{ priority: 401 }, /401/],
    [{ priority: NaN }, /NaN/],
    [{ hooks: [] }, /hook/],
    [{ hooks: ["forward"] }, /outside from inside/],
    [{ hooks: ["forward"], outside: ['eth0" accept #'] }, /eth0/],
    [{ hooks: ["forward"], inside: ["averyverylonginterface"] }, /averyverylong/],
    [{ openPorts: [{ protocol: "tcp", port: 0 }] }, /tcp 0/],
    [{ openPorts: [{ protocol: "udp", port: 65536 }] }, /65536/],
    [{ openPorts: [{ protocol: "tcp", port: 22.5 }] }, /22.5/],
    [{ openPorts: [{ protocol: "icmp" as "tcp", port: 22 }] }, /icmp 22/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(
      () => createNftables(options),
      (error: unknown) =>
        error instanceof EnforcerError && message.test(error.message) && error.next !== "",
      String(message),
    );
  }
});

Deno.test({
  name: "nftables: without the right to change the packet filter the error says so (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create(SPEC);
    const program = new URL("driver_program.ts", import.meta.url).pathname;
    const result = await lab.host("box").run(
      "setpriv",
      [
        ...["--bounding-set", "-all", "--inh-caps", "-all"],
        ...[Deno.execPath(), "run", "--no-check", "--cached-only", "-A", program],
      ],
      { input: '{"id":1,"method":"connect","parameters":[]}\n' },
    );
    assert.match(result.stdout, /EnforcerError: Not permitted to change the packet filter/);
  },
});
