import assert from "node:assert/strict";
import { existsSync } from "node:fs";

const DIRECTORY = new URL("../../units", import.meta.url).pathname;

Deno.test({
  name: "units: systemd finds nothing wrong with them (needs systemd-analyze)",
  ignore: !existsSync("/usr/bin/systemd-analyze"),
  fn: async () => {
    const directory = await Deno.makeTempDir({ prefix: "diaper-units-" });
    try {
      for (const { name } of Deno.readDirSync(DIRECTORY)) {
        // The programs must be there for the check; where ours will be is not decided here.
        const text = Deno.readTextFileSync(`${DIRECTORY}/${name}`)
          .replaceAll("/usr/local/bin/diaper", "/bin/true");
        const installed = name.replace("@.", "@nftables.");
        Deno.writeTextFileSync(`${directory}/${installed}`, text);
        const { code, stderr } = await new Deno.Command("systemd-analyze", {
          args: ["verify", "--man=no", `${directory}/${installed}`],
        }).output();
        const said = new TextDecoder().decode(stderr).split("\n")
          .filter((line) => line.includes(directory) || line.includes("diaper")).join("\n");
        assert.equal(said, "", name);
        assert.equal(code, 0, name);
      }
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});
