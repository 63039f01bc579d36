/**
 * An inline NI's side of its console: alerts into the spool, orders and bundles to the NI kernel.
 *
 * @module
 */
import type { Bundle } from "../admin/bundle.ts";
import type { ContainmentOrder } from "../admin/messages.ts";
import { NiBundles } from "../admin/ni_bundles.ts";
import { type NiConsoleConfig, niConsoleSchema } from "../admin/ni_config.ts";
import { NiOrders } from "../admin/ni_orders.ts";
import { NiSide, type Outcome } from "../admin/ni_side.ts";
import { partEvent } from "../admin/packets.ts";
import { type AlertSpool, openSpool } from "../admin/spool.ts";
import { ownDirectory } from "../controller/run_directory.ts";
import { ConfigError, parseYaml } from "../config/yaml.ts";
import type { PreventRule } from "../ni/kernel_types.ts";
import { newKeyPair, publicKeyOf } from "../sys/ssh.ts";
import { KEY_TYPE } from "../sys/ssh_key.ts";
import { VERSION } from "../sys/runtime.ts";
import { CliError, EXIT } from "./exit.ts";
import { readSecret, writeSecret } from "./key_files.ts";

/** What the console's orders are carried out by. */
export interface NiConsoleParts {
  /** Puts a bundle's scanners and rules in force; undefined: the NI's own. @throws {Error} nothing was changed then. */
  readonly apply: (bundle: Bundle | undefined) => Promise<void>;
  readonly status: () => Promise<Record<string, unknown>> | Record<string, unknown>;
  /** Contains a host; undefined: orders are refused. */
  readonly order: ((order: ContainmentOrder) => Promise<Outcome> | Outcome) | undefined;
  /** Takes a whole configuration of the NI; undefined: refused. */
  readonly configure: ((text: string) => Promise<Outcome> | Outcome) | undefined;
  readonly log: (level: "info" | "warning" | "error", text: string) => void;
}

/** Ends of scanners within a bundle's probation that are too many. */
const MOST_ENDS = 2;
const LOOK_MS = 500;

/**
 * Reads an NI's file about its console.
 *
 * @throws {CliError} with everything that is wrong with it.
 */
export function readNiConsole(file: string): NiConsoleConfig {
  try {
    return parseYaml(niConsoleSchema, Deno.readTextFileSync(file), file);
  } catch (error) {
    if (error instanceof ConfigError) {
      throw new CliError(EXIT.INVALID, error.message, "see diaper-console(8)");
    }
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new CliError(EXIT.INVALID, `there is no ${file}`, "see diaper-console(8)");
  }
}

/**
 * Rules by which nothing of the NI itself can be reached through its own ports: what goes to, or claims to come from,
 * an address of this machine has no business there. The console's way is another interface.
 */
export function ownAddressRules(): PreventRule[] {
  const addresses = Deno.networkInterfaces().map(({ address }) => address.split("%")[0] ?? "")
    .filter((address) => address !== "" && !address.startsWith("127.") && address !== "::1");
  return [...new Set(addresses)].map((address) => ({
    name: `own address ${address}`,
    filter: `host ${address}`,
  }));
}

/** The console's side of one NI. */
export class NiConsole {
  readonly #spool: AlertSpool;
  readonly #side: NiSide;
  readonly #bundles: NiBundles;
  readonly #orders: NiOrders;
  /** Scanners that ended by themselves since something was put in force. */
  #ends: string[] = [];

  /** Opens the spool and reads the bundle that was kept. @throws {CliError} {DirectoryError} */
  constructor(config: NiConsoleConfig, parts: NiConsoleParts) {
    const { log } = parts;
    ownDirectory(config.state_dir, 0o700);
    const privateKey = readOrMakeKey(config.key, log);
    const { spool, warning } = openSpool(`${config.state_dir}/alerts.spool`, {
      alerts: config.spool.alerts,
      bytes: config.spool.bytes,
      policy: config.spool.when_full,
    });
    if (warning !== undefined) log("warning", warning);
    this.#spool = spool;
    this.#orders = new NiOrders(`${config.state_dir}/contained.json`, Date.now(), log);
    const { order } = parts;
    const { signers, probation, ...limits } = config.bundles;
    this.#bundles = new NiBundles({
      directory: `${config.state_dir}/bundles`,
      signers: new Set(signers.length > 0 ? signers : config.console_keys),
      limits,
      apply: async (bundle) => {
        await parts.apply(bundle);
        this.#ends = [];
      },
      health: () =>
        Promise.resolve(
          this.#ends.length < MOST_ENDS
            ? undefined
            : `scanners ended ${this.#ends.length} times: ${this.#ends.at(-1)}`,
        ),
      probation: probation * 1000,
      look: LOOK_MS,
      say: (message) => void this.#side.say(message),
      log,
    });
    this.#side = new NiSide({
      role: "ni",
      host: Deno.hostname(),
      software: `diaper ${VERSION}`,
      privateKey,
      consoleKeys: new Set(config.console_keys),
      connect: config.connect,
      listen: config.listen,
      localAddress: config.source ?? undefined,
      spool,
      log,
      handlers: {
        ...(order === undefined ? {} : {
          order: (one: ContainmentOrder) => this.#orders.obey(one, order),
        }),
        ...(parts.configure === undefined ? {} : { config: parts.configure }),
        bundle: (message, bytes) => this.#bundles.message(message, bytes),
        running: () => {
          const bundle = this.#bundles.running;
          return bundle === undefined
            ? null
            : { version: bundle.manifest.version, digest: bundle.digest };
        },
        state: parts.status,
      },
    });
  }

  /** The bundle that was in force when the NI ended, to be put in force before frames come. */
  get bundle(): Bundle | undefined {
    return this.#bundles.running;
  }

  /** Orders that held when the NI ended, and still do: to be in force before frames come. */
  get contained(): ContainmentOrder[] {
    return this.#orders.contained;
  }

  /** {@link bundle} could not be put in force: the console is told that the NI runs without. */
  withoutBundle(): void {
    this.#bundles.withoutBundle();
  }

  /** Begins to talk. */
  async start(): Promise<void> {
    await this.#side.start();
  }

  /** An event of the NI kernel: alerts go to the console. */
  event(event: Readonly<Record<string, unknown>>): void {
    if (event["event_type"] !== "alert") return;
    const alert = event["alert"] as { readonly signature?: string } | undefined;
    if (alert?.signature === "scanner ended" || alert?.signature === "scanner stopped") {
      const detail = event["detail"] as { readonly why?: string } | undefined;
      this.#ends.push(`${event["scanner"]}: ${detail?.why ?? ""}`);
    }
    const parted = partEvent(event);
    this.#side.alert(parted.event, parted.capture);
  }

  /** Ends the talk; what the console does not have yet stays in the spool. */
  async stop(): Promise<void> {
    this.#bundles.close();
    await this.#side.stop();
    this.#spool.close();
  }
}

/** Reads the key of an NI or a controller; one that is not there is made, and told. @throws {CliError} */
export function readOrMakeKey(path: string, log: NiConsoleParts["log"]): string {
  try {
    Deno.statSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const { privateKey, publicKey } = newKeyPair(Deno.hostname());
    writeSecret(path, privateKey, false);
    log(
      "info",
      `made this NI's key; at the console: diaper console authorize ${Deno.hostname()} ` +
        `"${KEY_TYPE} ${publicKey}"`,
    );
    return privateKey;
  }
  const text = readSecret(path, "remove it, and a new one is made");
  publicKeyOf(text); // says what is wrong with it
  return text;
}
