/** A real web server behind an NI with the scanner of HTTP requests. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { labPossible } from "../../lab/lab.ts";
import { NiLab } from "../../ni/inline_lab.ts";
import { sharedData } from "../../shared_data.ts";

const NGINX = "/usr/sbin/nginx";
const worms = ["codered1.txt", "nimda.txt"].flatMap((name) => {
  const path = sharedData(`ni/text/${name}`);
  return path === undefined ? [] : Deno.readTextFileSync(path).trim().split("\n");
});
const why = !labPossible
  ? " (skipped: labs need root)"
  : !existsSync(NGINX)
  ? " (skipped: no nginx)"
  : worms.length === 0
  ? " (skipped: shared/data/ni/text is not here)"
  : "";

/** Sends requests given on standard input, each over a connection of its own; says what came of each. */
const SEND = `
import socket, sys
for line in sys.stdin:
    s = socket.create_connection((sys.argv[1], 80), timeout=20)
    try:
        s.sendall(line.strip().encode() + b"\\r\\nHost: www\\r\\nConnection: close\\r\\n\\r\\n")
        print("answered" if s.recv(100) else "closed", flush=True)
    except ConnectionResetError:
        print("reset", flush=True)
`;

Deno.test({
  name: `http: requests of worms never reach nginx, others do${why}`,
  ignore: why !== "",
  async fn() {
    await using lab = await NiLab.create();
    const directory = Deno.makeTempDirSync({ prefix: "diaper-nginx-" });
    Deno.mkdirSync(`${directory}/www`);
    Deno.writeTextFileSync(`${directory}/www/index.html`, "a page\n".repeat(10_000));
    Deno.writeTextFileSync(
      `${directory}/nginx.conf`,
      `daemon off; master_process off; user root; pid ${directory}/pid; error_log stderr;
events {}
http {
  access_log ${directory}/access.log;
  client_body_temp_path ${directory}/body;
  server { listen ${lab.netAddress}:80; root ${directory}/www; }
}
`,
    );
    const nginx = lab.net.spawn(NGINX, ["-c", `${directory}/nginx.conf`, "-p", directory]);
    try {
      await lab.net.waitForListener("tcp", 80);
      const ni = await lab.start("--scanner", "http");
      const page = `http://${lab.netAddress}/`;
      const good = await lab.host.must("curl", ["-s", page, page]);
      assert.equal(good.length, 140_000);
      assert.match(await lab.host.must("curl", ["-s", "-d", "x=y", page]), /405 Not Allowed/);
      const sent = await lab.host.must("python3", ["-c", SEND, lab.netAddress], {
        input: worms.map((line) => `${line}\n`).join(""),
      });
      assert.deepEqual(sent.trim().split("\n"), worms.map(() => "reset"));
      const again = await lab.host.must("curl", ["-s", page]);
      assert.equal(again.length, 70_000);
      const log = Deno.readTextFileSync(`${directory}/access.log`);
      assert.doesNotMatch(log, /ida|cmd\.exe|root\.exe/);
      const alerts = ni.output("stdout").filter((line) => /Code Red|Nimda/.test(line));
      assert.equal(alerts.length, worms.length);
      assert.equal((await ni.stop()).code, 0);
    } finally {
      await nginx.stop();
      Deno.removeSync(directory, { recursive: true });
    }
  },
});
