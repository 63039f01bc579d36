/**
 * FTP clients of many outside hosts at once, against pyftpdlib behind a closed perimeter: the server
 * deals with all of them in one thread, and has to get each port opened for the right one.
 *
 * @module
 */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { DiaperHost } from "./diaper.ts";
import { Lab } from "./lab.ts";

/** Debian's Python, for which python3-pyftpdlib is made. */
const PYTHON = "/usr/bin/python3";
const PORT = 2121;
const SERVER = "192.0.2.1";
const BYTES = 20_000;
/** The hosts from which the clients come. */
export const HOSTS: readonly string[] = Array.from(
  { length: 20 },
  (_, i) => `198.51.100.${10 + i}`,
);

/** How pyftpdlib serves its clients. */
export type Model = "multiplexed" | "threaded" | "multiprocess";

/** What pyftpdlib waits with. */
export type FtpPoller = "epoll" | "poll" | "select";

/** True where python3-pyftpdlib is installed. */
export function hasPyftpdlib(): boolean {
  return existsSync(PYTHON) && existsSync("/usr/lib/python3/dist-packages/pyftpdlib");
}

/** A network with the outside hosts, which share one namespace, and the perimeter on the server's host. */
export class Swarm {
  readonly #lab: Lab;
  readonly #diaper: DiaperHost;
  readonly #directory: string;

  private constructor(lab: Lab, diaper: DiaperHost, directory: string) {
    this.#lab = lab;
    this.#diaper = diaper;
    this.#directory = directory;
  }

  /** Builds the network and closes the perimeter. */
  static async create(): Promise<Swarm> {
    const lab = await Lab.create({
      outside: [{ name: "out", addresses: HOSTS.slice(0, 1) }],
      inside: [{ name: "in", addresses: [SERVER] }],
    });
    try {
      for (const host of HOSTS.slice(1)) {
        await lab.host("out").must("ip", ["addr", "add", `${host}/32`, "dev", "eth0"]);
        await lab.perimeter.must("ip", ["route", "add", host, "dev", "out"]);
      }
      const directory = lab.path("files");
      mkdirSync(directory);
      chmodSync(directory, 0o755);
      writeFileSync(`${directory}/data`, new Uint8Array(BYTES));
      const diaper = await DiaperHost.up(lab, lab.host("in"), {
        policy: [`allow ftpd * tcp 198.51.100.0/24 * ${SERVER} 1024-65535`],
        openPorts: [`tcp/${PORT}`],
      });
      return new Swarm(lab, diaper, directory);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /**
   * Runs a server, and all clients against it; each of them fetches so many times, and all ask for their
   * port at the same moment.
   *
   * @returns the number of data connections, each of which had its own pinhole for its own host.
   * @throws {Error} when one was missing, for somebody else, one too many, or is left.
   */
  async run(model: Model, poller: FtpPoller, fetches: number): Promise<number> {
    const listeners = async () =>
      (await this.#lab.host("in").sockets("tcp")).filter((s) => s.listening).map((s) =>
        s.localPort
      );
    const own = await listeners(); // the daemon's
    const server = this.#diaper.run("ftpd", PYTHON, [
      ...[program("ftp_server.py"), SERVER, String(PORT), this.#directory, model, poller],
    ]);
    await server.waitForLine(/ready/);
    const before = this.#diaper.events().length;
    const clients = await this.#lab.host("out").run(PYTHON, [
      ...[program("ftp_swarm.py"), SERVER, String(PORT), "data", String(BYTES), String(fetches)],
      ...HOSTS,
    ], { timeout: 60_000 + fetches * 1000 });
    assert.equal(clients.code, 0, clients.stderr.slice(0, 2000));
    await server.stop();
    const wanted = clients.stdout.split("\n").filter((line) => line !== "").sort();
    const ended = () =>
      this.#diaper.events().slice(before).filter((event) => event.event_type === "pinhole.closed");
    await this.#diaper.waitForEvent(() => ended().length >= wanted.length);
    const opened = this.#diaper.events().slice(before)
      .filter((event) => event.event_type === "pinhole.opened")
      .map((event) => `${event["source"]} ${event["destination_port"]}`).sort();
    assert.deepEqual(opened, wanted);
    assert.deepEqual(await this.#diaper.kernelPinholes(), []);
    assert.deepEqual(await listeners(), own);
    return wanted.length;
  }

  /** Removes all of it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lab.close();
  }
}

function program(name: string): string {
  return fileURLToPath(new URL(`../programs/${name}`, import.meta.url));
}
