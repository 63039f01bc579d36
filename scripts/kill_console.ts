/**
 * Called by scripts/kill_console.
 *
 * @module
 */
import { killDuringStream } from "../tests/admin/kill.ts";

const [alerts = "100000", kills = "40"] = Deno.args;
const result = await killDuringStream(Number(alerts), Number(kills));
await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(result) + "\n"));
