/**
 * Times single `add element` commands through libnftables, in the network namespace that it is started in.
 * The baseline of the benchmark `bind`. Prints the times in nanoseconds as a JSON array.
 *
 * @module
 */
import { Libnftables } from "../../lib/sys/libnftables.ts";

const count = Number(Deno.args[0] ?? 1000);
const nft = new Libnftables();
const run = (text: string) => {
  const result = nft.run(text);
  if (!result.ok) throw new Error(result.error);
};
run("add table inet benchmark");
run(
  "add set inet benchmark ph4 { type inet_proto . ipv4_addr . ipv4_addr . inet_service; " +
    "flags timeout; counter; size 1048576; }",
);
const times: number[] = [];
for (let i = 0; i < count; i++) {
  const element = `tcp . 198.51.100.7 . 192.0.2.1 . ${1024 + i}`;
  const start = performance.now();
  run(`add element inet benchmark ph4 { ${element} timeout 1h }`);
  times.push((performance.now() - start) * 1e6);
}
run("delete table inet benchmark");
Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(times)));
