/**
 * iperf3: control and data share a TCP port; UDP data come to the same number of the other protocol.
 * A server runs one test at a time, so that each client gets a server of its own.
 *
 * @module
 */
import type { MatrixCase } from "../case.ts";
import { command, succeeded } from "./common.ts";

const PORT = 5201;
const ports = Array.from({ length: 20 }, (_, i) => PORT + i);

interface Mode {
  readonly name: string;
  readonly mode: string;
  readonly flags: readonly string[];
  readonly pinholes: MatrixCase["pinholes"];
}

function iperf3({ name, mode, flags, pinholes }: Mode): MatrixCase {
  const udp = flags.includes("-u");
  return {
    ...{ name, mode, pinholes, program: "iperf3", package: "iperf3", inside: "server" },
    model: "one test at a time",
    serverEach: true,
    open: ports.map((port) => `tcp/${port}`),
    needed: udp,
    files: ["/usr/bin/iperf3"],
    prepare: (field) => ({
      listen: (i) =>
        command("iperf3", "-s", `-${field.family}`, "-B", field.address, "-p", String(PORT + i)),
      ready: (i) => ({ protocol: "tcp", port: PORT + i }),
      session: (i) =>
        command("iperf3", ...[
          ...["-c", field.address, "-p", String(PORT + i), "-t", "1", "--json"],
          ...["--connect-timeout", "10000", ...flags],
        ]),
      verify: (_, result) => {
        succeeded(result);
        const { end } = JSON.parse(result.stdout) as {
          end: { sum?: { bytes: number; lost_percent: number }; sum_received?: { bytes: number } };
        };
        const bytes = udp ? end.sum?.bytes : end.sum_received?.bytes;
        if ((bytes ?? 0) < 100_000) throw new Error(`Only ${bytes} bytes were received`);
        // Datagrams may be lost on a busy machine; all are when the port is closed.
        if (udp && (end.sum?.lost_percent ?? 100) > 50) throw new Error("Most datagrams were lost");
      },
    }),
  };
}

/** The cases. */
export const IPERF3: readonly MatrixCase[] = [
  iperf3({ name: "iperf3-tcp", mode: "TCP, four streams", flags: ["-P", "4"], pinholes: 0 }),
  iperf3({
    name: "iperf3-udp",
    mode: "UDP to the control port's number",
    flags: ["-u", "-b", "5M"],
    pinholes: [1, 2],
  }),
  iperf3({
    name: "iperf3-udp-streams",
    mode: "UDP, three streams",
    flags: ["-u", "-b", "2M", "-P", "3"],
    pinholes: [1, 4],
  }),
];
