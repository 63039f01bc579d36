/**
 * iperf 2, whose client listens for the other direction: at once (-d) or afterwards (-r). The client is
 * inside; its listening thread is not the one that has the control connection.
 *
 * @module
 */
import type { MatrixCase } from "../case.ts";
import { again, command, succeeded } from "./common.ts";

const SERVER = 5001;
const BACK = 6001;

function iperf2(name: string, mode: string, flag: string): MatrixCase {
  return {
    ...{ name, mode, program: "iperf 2", package: "iperf", inside: "client" },
    model: "threads",
    open: [],
    pinholes: [1, 3],
    note:
      "an outside server that comes back before the client listens does not try again, and iperf hangs; " +
      "by itself as well (2 of 80 sessions by `--native`). A session that hangs is started again",
    needed: true,
    files: ["/usr/bin/iperf"],
    prepare: (field) => ({
      listen: (i) => command("iperf", "-s", "-B", field.source(i), "-p", String(SERVER)),
      ready: () => ({ protocol: "tcp", port: SERVER }),
      session: (i) =>
        again("iperf", ...[
          ...["-c", field.source(i), "-p", String(SERVER), "-t", "1"],
          ...["-n", String(field.bytes / 4), flag, "-L", String(BACK + i), "-f", "k"],
        ]),
      verify: (i, result) => {
        succeeded(result);
        // A line for each direction, the second from the port that was opened.
        const done = result.stdout.split("\n").filter((line) => /sec\s+\S+ KBytes/.test(line));
        if (done.length < 2) throw new Error("Only one direction has brought data");
        const back = new RegExp(`local \\S+ port ${BACK + i} connected with ${field.source(i)}`);
        if (!back.test(result.stdout)) throw new Error("Nobody came back");
      },
    }),
  };
}

/** The cases. */
export const IPERF2: readonly MatrixCase[] = [
  iperf2("iperf2-dual", "-d: both directions at once", "-d"),
  iperf2("iperf2-tradeoff", "-r: one direction after the other", "-r"),
];
