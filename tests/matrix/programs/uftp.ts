/**
 * uftp, sent to one host: everything goes over one UDP port. A daemon does not take twenty senders at once
 * (without the agent as well: `scripts/matrix uftp --native` with one daemon for all), so that each sender
 * gets a daemon of its own.
 *
 * @module
 */
import type { MatrixCase } from "../case.ts";
import { command, same, succeeded } from "./common.ts";

const PORT = 1044;

/** The cases. */
export const UFTP: readonly MatrixCase[] = [{
  name: "uftp",
  program: "uftp",
  mode: "receiving daemon, unicast",
  package: "uftp",
  model: "one process",
  inside: "server",
  serverEach: true,
  open: Array.from({ length: 20 }, (_, i) => `udp/${PORT + i}`),
  pinholes: 0,
  needed: false,
  note: "a daemon does not take twenty senders at once, without the agent as well (most end with " +
    '"Announce timed out"); each sender has a daemon of its own',
  files: ["/usr/bin/uftp", "/usr/bin/uftpd"],
  prepare: (field) => {
    const data = field.random("data", 1_000_000);
    const arrived = field.directory("arrived");
    return {
      listen: (i) => command("uftpd", "-d", "-I", "eth0", "-p", String(PORT + i), "-D", arrived),
      ready: (i) => ({ protocol: "udp", port: PORT + i }),
      session: (i) =>
        command("uftp", ...[
          ...["-M", field.address, "-p", String(PORT + i), "-R", "20000", "-D", `data-${i}`],
          data,
        ]),
      verify: (i, result) => {
        succeeded(result);
        same(`${arrived}/data-${i}`, data);
      },
    };
  },
}];
