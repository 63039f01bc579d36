/** Attacks of a capture, whose server listens on another port than servers usually do. */
import assert from "node:assert/strict";
import { DIAPER_BINARY } from "../../lab/diaper.ts";
import { sharedData } from "../../shared_data.ts";

const capture = sharedData("ni/ndpi/WebattackRCE.pcap");
const why = capture === undefined ? " (skipped: shared/data/ni is not here)" : "";

/** Targets of the capture's requests that the HTTP scanner finds, with what its configuration adds. */
async function found(configuration: string): Promise<string[]> {
  const config = Deno.makeTempFileSync({ suffix: ".yaml" });
  Deno.writeTextFileSync(
    config,
    `scanners: { http: { ${configuration}options: { ports: [8080] } } }\n`,
  );
  const { success, stdout, stderr } = await new Deno.Command(DIAPER_BINARY, {
    args: ["ni", "--json", "--read", capture as string, "--config", config, "--events", "alert"],
  }).output();
  Deno.removeSync(config);
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "")
    .map((line) => JSON.parse(line)).filter(({ scanner }) => scanner === "http")
    .map(({ detail }) => detail.target);
}

Deno.test({
  name: `http: a right to streams of another port, and attacks on a server there are found${why}`,
  ignore: why !== "",
  async fn() {
    const text = new TextDecoder("latin1").decode(Deno.readFileSync(capture as string));
    const attacks = Array.from(text.matchAll(/GET (\S*winnt\S*) HTTP/g), ([, target]) => target);
    assert.ok(attacks.length >= 20, `${attacks.length} requests like Nimda's`);
    assert.deepEqual(await found("streams: { contain: [tcp dst port 8080] }, "), attacks);
    // Without it the scanner's own right is to port 80 alone.
    assert.deepEqual(await found(""), []);
  },
});
