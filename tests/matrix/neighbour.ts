/**
 * The neighbour: an outside host that tries every pinhole that is opened for somebody else, at once.
 *
 * @module
 */
import type { Host } from "../lab/host.ts";
import type { LabProcess } from "../lab/process.ts";
import type { Port } from "./case.ts";

/** Reads `tcp PORT` and `udp PORT`; says `sent PROTOCOL PORT MILLISECONDS`, and `connected PORT` when it got in. */
const PROGRAM = `
  const [hostname] = Deno.args;
  const any = hostname.includes(":") ? "::" : "0.0.0.0";
  const socket = Deno.listenDatagram({ transport: "udp", hostname: any, port: 0 });
  const lines = new TextDecoderStream();
  console.log("ready");
  let rest = "";
  for await (const chunk of Deno.stdin.readable.pipeThrough(lines)) {
    const parts = (rest + chunk).split("\\n");
    rest = parts.pop();
    for (const line of parts) {
      const [protocol, text] = line.split(" ");
      const port = Number(text);
      console.log("sent " + line + " " + Date.now());
      if (protocol === "udp") {
        await socket.send(new Uint8Array(4), { transport: "udp", hostname, port });
      } else {
        const signal = AbortSignal.timeout(1500);
        Deno.connect({ hostname, port, signal }).then(
          (connection) => { console.log("connected " + port); connection.close(); },
          () => undefined,
        );
      }
    }
  }
`;

/** An attempt of the neighbour. */
export interface Attempt extends Port {
  /** When it was made, in milliseconds since the epoch. */
  readonly at: number;
}

/** The neighbour's program. */
export class Neighbour {
  readonly #process: LabProcess;

  private constructor(process: LabProcess) {
    this.#process = process;
  }

  /** Starts it on a host; it will try ports of an address. */
  static async start(host: Host, address: string): Promise<Neighbour> {
    const process = host.spawn(Deno.execPath(), ["eval", "--unstable-net", PROGRAM, address], {
      env: { DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" },
    });
    await process.waitForLine(/^ready$/, 30_000);
    return new Neighbour(process);
  }

  /** Tries a port. */
  async attempt(port: Port): Promise<void> {
    await this.#process.write(`${port.protocol} ${port.port}\n`);
  }

  /** What was tried so far. */
  attempts(): Attempt[] {
    return this.#process.output("stdout").flatMap((line) => {
      const match = /^sent (tcp|udp) (\d+) (\d+)$/.exec(line);
      if (match === null) return [];
      const [, protocol, port, at] = match as unknown as [string, "tcp" | "udp", string, string];
      return [{ protocol, port: Number(port), at: Number(at) }];
    });
  }

  /** Ports where it got in: none, when all is well. */
  connected(): number[] {
    return this.#process.output("stdout").flatMap((line) => {
      const match = /^connected (\d+)$/.exec(line);
      return match === null ? [] : [Number(match[1])];
    });
  }

  /** Ends it. */
  async stop(): Promise<void> {
    await this.#process.stop("SIGKILL");
  }
}
