/**
 * A packet capture on a device of a lab's host, by tcpdump.
 *
 * @module
 */
import type { Host } from "./host.ts";
import type { LabProcess } from "./process.ts";

/** How to capture. */
export interface CaptureOptions {
  /** A pcap file to write the packets to, besides giving them as text. */
  readonly file?: string;
}

/** One captured TCP or UDP packet; others are not given. */
export interface CapturedPacket {
  /** Milliseconds since the epoch, with the kernel's microseconds as fraction. */
  readonly time: number;
  /** Address of the sender. */
  readonly source: string;
  /** Port of the sender. */
  readonly sourcePort: number;
  /** Address of the receiver. */
  readonly destination: string;
  /** Port of the receiver. */
  readonly destinationPort: number;
  /** TCP flags in tcpdump's letters (`S`, `S.`, `P.`, `F.`, `R`), "" for UDP. */
  readonly flags: string;
}

/** A running capture. */
export class Capture {
  readonly #process: LabProcess;

  private constructor(process: LabProcess) {
    this.#process = process;
  }

  /** Starts tcpdump and waits until it has opened the device. Use `Host.capture`. */
  static async start(
    host: Host,
    device: string,
    filter: string,
    options: CaptureOptions,
  ): Promise<Capture> {
    const write = options.file === undefined
      ? []
      : ["-w", options.file, "-U", "--print", "-Z", "root"];
    const process = host.spawn("tcpdump", [
      ...["-i", device, "-n", "-tt", "-l", "--immediate-mode", "-s", "256", "-Q", "inout"],
      ...write,
      filter,
    ]);
    await process.waitForLine(/^(?:tcpdump: )?listening on /);
    return new Capture(process);
  }

  /** The packets so far. */
  packets(): CapturedPacket[] {
    return this.#process.output("stdout").map(parsePacket).filter((p) => p !== undefined);
  }

  /**
   * Waits for a packet, among those that came already too.
   *
   * @param timeout in milliseconds
   * @throws {Error} when it does not come in time.
   */
  async waitFor(
    wanted: (packet: CapturedPacket) => boolean,
    timeout = 10_000,
  ): Promise<CapturedPacket> {
    return await this.#process.find(
      (line) => {
        const packet = parsePacket(line);
        return packet !== undefined && wanted(packet) ? packet : undefined;
      },
      "the packet that is waited for",
      timeout,
    );
  }

  /** Ends the capture and gives its packets. */
  async stop(): Promise<CapturedPacket[]> {
    await this.#process.stop("SIGINT");
    return this.packets();
  }
}

const ENDPOINT = String.raw`(\d+\.\d+\.\d+\.\d+|[0-9a-f:]*:[0-9a-f:.]*)\.(\d+)`;
const PACKET = new RegExp(
  String.raw`^(\d+)\.(\d{1,6}) IP6? ${ENDPOINT} > ${ENDPOINT}: (?:Flags \[([^\]]*)\])?`,
);

/** Reads a line of `tcpdump -n -tt`; undefined when it is not of a TCP or UDP packet. */
export function parsePacket(line: string): CapturedPacket | undefined {
  const match = PACKET.exec(line);
  if (match === null) return undefined;
  const [, seconds, fraction, source, sourcePort, destination, destinationPort, flags] = match;
  return {
    time: Number(seconds) * 1000 + Number((fraction as string).padEnd(6, "0")) / 1000,
    source: source as string,
    sourcePort: Number(sourcePort),
    destination: destination as string,
    destinationPort: Number(destinationPort),
    flags: flags ?? "",
  };
}
