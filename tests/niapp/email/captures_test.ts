/** The e-mail scanner over real captures, by the binary. */
import assert from "node:assert/strict";
import { DIAPER_BINARY } from "../../lab/diaper.ts";
import { labPossible } from "../../lab/lab.ts";
import { filesBelow, sharedData } from "../../shared_data.ts";
import { MALICIOUS_MD5 } from "./dialogues.ts";

const directory = sharedData("ni");
const why = directory === undefined
  ? " (skipped: shared/data/ni is not here)"
  : !labPossible
  ? " (skipped: scanners need root)"
  : "";

/** What Suricata sees otherwise, and why. */
const EXPLAINED: Readonly<Record<string, string>> = {
  "NEWS.txt":
    "the line break before a delimiter is the delimiter's; Suricata counts it to the file",
};

interface Event {
  readonly event_type: string;
  readonly mail?: {
    readonly attachments: readonly { readonly md5: string; readonly verdict: string }[];
  };
  readonly alert?: { readonly signature: string };
}

function configFile(digests: readonly string[]): string {
  const path = Deno.makeTempFileSync({ suffix: ".yaml" });
  const options = JSON.stringify({ digests });
  Deno.writeTextFileSync(path, `scanners: { email: { options: ${options} } }\n`);
  return path;
}

async function events(...args: string[]): Promise<Event[]> {
  const { success, stdout, stderr } = await new Deno.Command(DIAPER_BINARY, {
    args: ["ni", "--json", ...args],
  }).output();
  assert.ok(success, `${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout).trim().split("\n").filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

Deno.test({
  name: `mail of captures: what Suricata found is found by its digests${why}`,
  ignore: why !== "",
  async fn() {
    const rows = Deno.readTextFileSync(`${directory}/PEER-suricata-7.0.10-files.tsv`).split("\n")
      .map((line) => line.split("\t")).filter(([, protocol, name = ""]) =>
        protocol === "smtp" && !(name in EXPLAINED)
      );
    assert.ok(rows.length >= 3);
    const config = configFile(rows.map(([, , name, , md5]) => `${md5} ${name}`));
    for (const [capture = "", , name] of rows) {
      const found = await events(
        ...["--read", `${directory}/${capture}`, "--config", config, "--events", "alert,mail"],
      );
      const attachments = found.flatMap((event) => event.mail?.attachments ?? []);
      assert.ok(attachments.length > 0, capture);
      const signatures = found.map((event) => event.alert?.signature);
      assert.ok(signatures.includes("infected attachment"), `${capture}: ${name}`);
    }
    Deno.removeSync(config);
  },
});

Deno.test({
  name: `mail of captures: none throws; EICAR is found where it is${why}`,
  ignore: why !== "",
  async fn() {
    const config = configFile([`${MALICIOUS_MD5} EICAR`]);
    const captures = filesBelow(directory as string, [".pcap", ".trace", ".pcapng"])
      .filter((path) => /smtp-(at|bd|bug|er|rset)|pop3|imap/.test(path));
    const infected = [];
    for (const capture of captures) {
      const found = await events("--read", capture, "--config", config);
      if (found.some((event) => event.alert?.signature === "infected attachment")) {
        infected.push(capture);
      }
    }
    Deno.removeSync(config);
    assert.ok(captures.length > 10, `${captures.length} captures`);
    assert.ok(infected.some((path) => path.includes("smtp-attachment-md5")), infected.join());
  },
});
