/** Many connections through multiplexed servers: see scripts/soak. */
import { HOSTS, Swarm } from "../tests/lab/swarm.ts";

const fetches = Number(Deno.args[0] ?? 500);
if (!Number.isSafeInteger(fetches) || fetches < 1 || fetches > 100_000) {
  print("stderr", `soak: "${Deno.args[0]}" is not a number of fetches\n  next: give 1 to 100000`);
  Deno.exit(2);
}
await using swarm = await Swarm.create();
for (const poller of ["epoll", "poll", "select"] as const) {
  const start = performance.now();
  const connections = await swarm.run("multiplexed", poller, fetches);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  print(
    "stdout",
    `${poller}: ${connections} data connections of ${HOSTS.length} hosts in ${seconds} s, ` +
      "each with a pinhole for its own host, none left",
  );
}

function print(to: "stdout" | "stderr", line: string): void {
  Deno[to].writeSync(new TextEncoder().encode(`${line}\n`));
}
