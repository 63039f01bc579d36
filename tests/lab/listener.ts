/**
 * A plain TCP server for the lab: it accepts, closes, and knows nothing of Diaper.
 *
 * @module
 */
import type { Host } from "./host.ts";
import type { LabProcess } from "./process.ts";

const PROGRAM = `
  const listener = Deno.listen({ hostname: "::", port: Number(Deno.args[0]) });
  console.log("listening");
  for await (const connection of listener) connection.close();
`;

/** Listens on a port of a host, IPv4 and IPv6, until the result is stopped. */
export async function listenOn(host: Host, port: number): Promise<LabProcess> {
  const listener = host.spawn(Deno.execPath(), ["eval", PROGRAM, String(port)]);
  await listener.waitForLine(/^listening$/);
  return listener;
}
