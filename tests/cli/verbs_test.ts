/**
 * The verbs against a real daemon, `diaper up`, in a network namespace of its own.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { FakeDaemon } from "./fake_daemon.ts";

const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));
const ADDRESS = "192.0.2.10";

/** What a shell in the namespace does; it and all that it started end with the namespace's first process. */
const SCRIPT = `
ip link set lo up && ip address add ${ADDRESS}/32 dev lo || exit 9
deno="$1"; main="$2"; export DIAPER_CONFIG="$3"; at="$4"
diaper() { "$deno" run --allow-all "$main" "$@"; }
mkfifo "$at/messages"
"$deno" run --allow-all "$main" up --config "$3" 2> "$at/messages" &
up=$!
exec 3< "$at/messages"
while read -r line <&3; do
  echo "$line" >&2
  case $line in *"perimeter closed"*) break ;; esac
done
`;

/** Runs commands with a daemon in a namespace of processes and network that ends with them. */
async function withDaemon(directory: string, config: string, commands: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("unshare", {
    args: [
      ...["--net", "--pid", "--fork", "--mount-proc", "--kill-child", "timeout", "60"],
      ...["sh", "-c", SCRIPT + commands, "sh", Deno.execPath(), MAIN, config, directory],
    ],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const text = (data: Uint8Array) => new TextDecoder().decode(data);
  assert.equal(code, 0, `${text(stdout)}\n${text(stderr)}`);
  return text(stdout);
}

Deno.test("verbs: a pinhole by hand from open to close, with a real daemon (needs root)", {
  ignore: Deno.uid() !== 0,
}, async () => {
  await using files = new FakeDaemon();
  const rules = ["allow operator * tcp 198.51.100.0/24 * * * ttl=5m", "deny * * * * * * 6000"];
  Deno.writeTextFileSync(`${files.directory}/site.policy`, rules.join("\n") + "\n");
  const said = await withDaemon(
    files.directory,
    files.config,
    `
    diaper pinhole list --watch --json > "$at/watch" 2> "$at/watch-end" &
    watch=$!
    open() { diaper pinhole open --proto tcp --json --source "$1" --destination "$2"; }
    # The watch is on when its first change comes.
    until [ -s "$at/watch" ]; do open 198.51.100.9 ${ADDRESS}:40000 > /dev/null; done
    diaper status --json
    open 198.51.100.10 ${ADDRESS}:50000
    open 198.51.100.10 ${ADDRESS}:6000; echo "{\\"refused\\":$?}"
    diaper pinhole close --json 1
    diaper pinhole list --json > "$at/list"
    kill -TERM $up && wait $up; echo "{\\"up\\":$?}"
    wait $watch; echo "{\\"watch\\":$?}"
    diaper observe --json --verdict opened --verdict closed --verdict refused > "$at/trail"
    diaper status; echo "{\\"status\\":$?}"
    `,
  );
  const lines = said.trim().split("\n").map((line) => JSON.parse(line));
  const read = (name: string) =>
    Deno.readTextFileSync(`${files.directory}/${name}`).trim().split("\n").map((l) =>
      JSON.parse(l)
    );
  const [status, opened, refused, closed, ...codes] = lines;
  assert.deepEqual([status.role, status.enforcer.name, status.policy.rules], ["up", "nftables", 2]);
  assert.deepEqual(status.health, []);
  assert.deepEqual([opened.state, opened.user, opened.delegate], ["open", "root", "operator"]);
  assert.match(opened.rule, /site\.policy:1$/);
  assert.deepEqual(refused, { refused: 5 });
  assert.deepEqual([closed.id, closed.state], [1, "closed"]);
  assert.deepEqual(codes, [{ up: 0 }, { watch: 4 }, { status: 4 }]);
  const list = read("list");
  assert(list.some((p) => p.id === opened.id) && list.every((p) => p.id !== 1));
  assert.deepEqual(
    read("watch").map((p) => [p.id, p.state]),
    [...Array.from({ length: opened.id }, (_, i) => [i + 1, "open"]), [1, "closed"]],
  );
  const trail = read("trail");
  assert.deepEqual(
    trail.slice(-3).map((e) => [e.event_type, e.destination_port]),
    [["pinhole.opened", 50000], ["pinhole.refused", 6000], ["pinhole.closed", 40000]],
  );
});
