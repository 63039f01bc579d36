/**
 * A console on a host of the lab, and the files by which NIs and controllers come to it.
 *
 * @module
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { consolePlace, readConsoleConfig } from "../../lib/cli/console_config.ts";
import { newKeyPair } from "../../lib/sys/ssh.ts";
import { DIAPER_BINARY } from "./diaper.ts";
import type { Host } from "./host.ts";
import type { Lab } from "./lab.ts";
import type { LabProcess } from "./process.ts";

/** One console. */
export class LabConsole {
  /** Where it runs. */
  readonly host: Host;
  readonly #path: string;
  readonly #key = newKeyPair("console");
  readonly #peers: string[] = [];
  #process!: LabProcess;

  private constructor(host: Host, path: string) {
    this.host = host;
    this.#path = path;
  }

  /**
   * Starts it.
   *
   * @param address where peers come to.
   * @param settings more of its configuration, as lines of YAML.
   */
  static async start(
    lab: Lab,
    host: Host,
    address: string,
    settings: readonly string[] = [],
  ): Promise<LabConsole> {
    const console = new LabConsole(host, lab.path("console"));
    const path = console.#path;
    mkdirSync(path, { mode: 0o700 });
    console.#write("console_key", console.#key.privateKey.trimEnd());
    console.#write("peers", "# nobody yet");
    console.#write(
      "console.yaml",
      `listen: ["${address}:7423"]`,
      `key: ${path}/console_key`,
      `peers: ${path}/peers`,
      `run_dir: ${path}/run`,
      `state_dir: ${path}/state`,
      "control_group: root",
      ...settings,
    );
    console.#process = host.spawn(DIAPER_BINARY, ["console", "--config", console.config]);
    await console.#process.waitForLine(/the page is at/, 60_000);
    return console;
  }

  /** Its configuration file. */
  get config(): string {
    return `${this.#path}/console.yaml`;
  }

  /** Where its control socket is, for those who ask often. */
  get place(): ReturnType<typeof consolePlace> {
    return consolePlace(readConsoleConfig(this.config).config);
  }

  /** Its process. */
  get daemon(): LabProcess {
    return this.#process;
  }

  /**
   * Lets a peer come.
   *
   * @param settings of its line in the registry.
   * @returns the file that the peer is started with.
   */
  async admit(name: string, address: string, settings: string): Promise<string> {
    const { privateKey, publicKey } = newKeyPair(name);
    this.#peers.push(`${name} ssh-ed25519 ${publicKey} ${settings}`);
    this.#write("peers", ...this.#peers);
    this.#write(`${name}_key`, privateKey.trimEnd());
    this.#write(
      `${name}.yaml`,
      `connect: ["${address}:7423"]`,
      `console_keys: ["${this.#key.publicKey}"]`,
      `key: ${this.#path}/${name}_key`,
      `state_dir: ${this.#path}/${name}-state`,
    );
    await this.host.must(DIAPER_BINARY, ["console", "reload", "--config", this.config]);
    return `${this.#path}/${name}.yaml`;
  }

  /** Waits until a peer is there. */
  async connected(name: string): Promise<void> {
    await this.#process.waitForLine(new RegExp(`${name} is there`), 30_000);
  }

  /** Runs a verb about the console, and gives its JSON lines. */
  async ask<T = Record<string, unknown>>(...words: string[]): Promise<T[]> {
    const [verb = "", ...rest] = words;
    const args = [verb, ...rest, "--config", this.config, "--json"];
    const text = await this.host.must(DIAPER_BINARY, args);
    return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  }

  #write(name: string, ...lines: string[]): void {
    writeFileSync(`${this.#path}/${name}`, lines.join("\n") + "\n", { mode: 0o600 });
  }
}
