import assert from "node:assert/strict";
import type { Bundle } from "../../lib/admin/bundle.ts";
import { bundleSettings } from "../../lib/cli/ni_bundle.ts";
import { settingsFromWords } from "../../lib/cli/ni_settings.ts";
import { ScannerPlaces } from "../../lib/ni/catalogue.ts";

const DEFAULTS = { read: [], contain: [], injections: [], options: {} };

function bundle(scanners: Bundle["manifest"]["scanners"]): Bundle {
  return {
    digest: "sha256:abc/def",
    manifest: {
      version: "1",
      created_at: "2026-01-01T00:00:00Z",
      signer: "",
      scanners,
      prevent: ["udp port 1434"],
      files: [],
    },
    files: new Map([["mine.js", new TextEncoder().encode("code")]]),
  };
}

Deno.test({
  name: "ni bundle: its scanners take the place of the NI's own, its rules come besides",
  ignore: Deno.uid() !== 0,
  fn: () => {
    const directory = Deno.makeTempDirSync();
    try {
      const places = new ScannerPlaces();
      const own = settingsFromWords({ scanner: ["codered"], prevent: ["tcp port 445"] }, places);
      assert.equal(bundleSettings(own, undefined, directory, places), own);
      const both = bundleSettings(
        own,
        bundle([
          { ...DEFAULTS, name: "codered", code: null, read: ["udp"], cpu: 7 },
          {
            ...DEFAULTS,
            name: "mine",
            code: "mine.js",
            contain: ["icmp"],
            on_failure: "closed",
            injections: [{ name: "x", frame: btoa("abc") }],
          },
        ]),
        directory,
        places,
      );
      assert.deepEqual(both.prevent.map((rule) => rule.filter), ["tcp port 445", "udp port 1434"]);
      const codered = both.scanners.get("codered");
      assert.deepEqual([codered?.rights.read, codered?.rights.contain, codered?.rights.cpu], [
        ["udp"],
        [],
        7,
      ]);
      // The same user as before, since it is the same scanner.
      assert.deepEqual(codered?.command, own.scanners.get("codered")?.command);
      const mine = both.scanners.get("mine");
      assert.equal(mine?.rights.onFailure, "closed");
      assert.deepEqual(mine.rights.injections[0]?.frame, new TextEncoder().encode("abc"));
      const module = mine.command.at(-2) ?? "";
      assert.ok(module.startsWith(directory), module);
      assert.equal(Deno.readTextFileSync(module), "code");
      assert.equal(mine.command.at(-1), "mine");
      assert.throws(
        () =>
          bundleSettings(own, bundle([{ ...DEFAULTS, name: "no", code: null }]), directory, places),
        /no code for no/,
      );
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  },
});
