/**
 * nuttcp: a control connection and a data port; with `-r -u` it is the client that binds the data port.
 *
 * @module
 */
import type { MatrixCase } from "../case.ts";
import { command, succeeded } from "./common.ts";

/** Away from nuttcp's own data port, 5001, which may not be a control port. */
const CONTROL = 5100;
const DATA = 7001;
/** Starts a client again that was refused; it says so, and ends with 0. */
const AGAIN = 'for n in 1 2 3; do timeout 15 "$0" "$@" | grep megabytes= && exit; done; exit 1';

/** The amount that `-fparse` tells, in megabytes. */
function received(stdout: string): number {
  return Number(/megabytes=([\d.]+)/.exec(stdout)?.[1] ?? NaN);
}

const SERVER: MatrixCase = {
  name: "nuttcp-server",
  program: "nuttcp",
  mode: "client sends by TCP",
  package: "nuttcp",
  model: "one test at a time",
  inside: "server",
  serverEach: true,
  open: Array.from({ length: 20 }, (_, i) => `tcp/${CONTROL + i}`),
  pinholes: [1, 3],
  note:
    "the server tells its client to come before it binds and listens (strace: write OK, bind, listen), so " +
    "that a client can be refused in the instant between; then it is started again",
  needed: true,
  files: ["/usr/bin/nuttcp"],
  prepare: (field) => ({
    listen: (i) => command("nuttcp", "-S", "--nofork", "-P", String(CONTROL + i)),
    ready: (i) => ({ protocol: "tcp", port: CONTROL + i }),
    session: (i) =>
      command("sh", ...[
        ...["-c", AGAIN, "nuttcp"],
        ...[
          "-t",
          `-n${Math.ceil(field.bytes / 65536)}`,
          "-l65536",
          "-fparse",
          "-P",
          String(CONTROL + i),
        ],
        ...["-p", String(DATA + i), field.address],
      ]),
    verify: (_, result) => {
      succeeded(result);
      const megabytes = received(result.stdout);
      if (!(megabytes * 2 ** 20 >= field.bytes)) {
        throw new Error(`Only ${megabytes} MB were received`);
      }
    },
  }),
};

const CLIENT: MatrixCase = {
  name: "nuttcp-client-udp",
  program: "nuttcp",
  mode: "-r -u: the client receives UDP",
  package: "nuttcp",
  model: "a client",
  inside: "client",
  open: [],
  pinholes: 1,
  needed: true,
  files: ["/usr/bin/nuttcp"],
  prepare: (field) => ({
    listen: () => command("nuttcp", "-S", "--nofork", "-P", String(CONTROL)),
    ready: () => ({ protocol: "tcp", port: CONTROL }),
    session: (i) =>
      command("nuttcp", ...[
        ...["-r", "-u", "-R1m", "-T1", "-fparse", "-P", String(CONTROL)],
        ...["-p", String(DATA + i), field.source(i)],
      ]),
    verify: (_, result) => {
      succeeded(result);
      const megabytes = received(result.stdout);
      if (!(megabytes > 0.02)) throw new Error(`Only ${megabytes} MB were received`);
    },
  }),
};

/** The cases. */
export const NUTTCP: readonly MatrixCase[] = [SERVER, CLIENT];
