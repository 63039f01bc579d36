/**
 * A console and NIs for tests: in this process, over real SSH on loopback, in a directory of their own.
 *
 * @module
 */
import { consoleSchema } from "../../lib/admin/config.ts";
import { ConsoleDaemon } from "../../lib/admin/console_daemon.ts";
import { NiSide, type NiSideOptions } from "../../lib/admin/ni_side.ts";
import { parseRegistry } from "../../lib/admin/registry.ts";
import { openSpool, type SpoolBounds } from "../../lib/admin/spool.ts";
import { SqliteStore } from "../../lib/admin/sqlite_store.ts";
import type { Role } from "../../lib/admin/state.ts";
import { Logins } from "../../lib/admin/web/logins.ts";
import type { PageFile } from "../../lib/admin/web/server.ts";
import type { AlertStore, StoredAlert } from "../../lib/admin/store.ts";
import { listenInside } from "../../lib/controller/run_directory.ts";
import { newKeyPair, publicKeyOf } from "../../lib/sys/ssh.ts";

/** A key pair made for a test. */
export interface TestKey {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** A console in this process. */
export class TestConsole implements AsyncDisposable {
  readonly directory: string;
  readonly key: TestKey = newKeyPair("console");
  readonly #keys = new Map<string, TestKey>();
  readonly #nis: NiSide[] = [];
  readonly #lines: string[] = [];
  readonly messages: string[] = [];
  daemon!: ConsoleDaemon;
  #settings: Record<string, unknown> = {};
  #port = 0;
  #files: ReadonlyMap<string, PageFile> = new Map([
    ["/index.html", { type: "text/html; charset=utf-8", body: new TextEncoder().encode("<p>") }],
  ]);
  #tls: { readonly certificate: string; readonly key: string } | undefined;

  private constructor() {
    this.directory = Deno.makeTempDirSync({ prefix: "diaper-console-" });
  }

  /** Makes keys for NIs and starts a console that knows them. @param lines more of a peer's line, by name. */
  static async start(
    nis: Readonly<Record<string, string>>,
    settings: Record<string, unknown> = {},
    store?: AlertStore,
    files?: ReadonlyMap<string, PageFile>,
    tls?: { readonly certificate: string; readonly key: string },
  ): Promise<TestConsole> {
    const test = new TestConsole();
    test.#files = files ?? test.#files;
    test.#tls = tls;
    for (const [name, more] of Object.entries(nis)) {
      const key = newKeyPair(name);
      test.#keys.set(name, key);
      test.#lines.push(`${name} ssh-ed25519 ${key.publicKey} ${more}`);
    }
    test.#settings = settings;
    await test.open(store);
    return test;
  }

  /** Starts the console, again after {@link shut}; it listens where it did. */
  async open(store?: AlertStore): Promise<void> {
    const config = consoleSchema.parse({
      state_dir: this.directory,
      run_dir: this.directory,
      listen: [`127.0.0.1:${this.#port}`],
      web: { listen: "127.0.0.1:0" },
      connections_per_address: 1000,
      ...this.#settings,
    });
    this.daemon = new ConsoleDaemon({
      config,
      name: "test",
      key: this.key.privateKey,
      peers: parseRegistry(this.#lines.join("\n"), "peers"),
      store: store ?? new SqliteStore(`${this.directory}/alerts.sqlite`),
      control: listenInside(this.directory, "console.sock", "stream", 0o600),
      files: this.#files,
      tls: this.#tls,
      secrets: new Map(),
      reload: () => parseRegistry(this.#lines.join("\n"), "peers"),
      log: (_level, text) => this.messages.push(text),
    });
    await this.daemon.start();
    this.#port = this.daemon.ports[0] as number;
  }

  /** Ends the console; NIs keep trying. */
  async shut(): Promise<void> {
    await this.daemon.close();
  }

  get port(): number {
    return this.#port;
  }

  keyOf(name: string): TestKey {
    return this.#keys.get(name) as TestKey;
  }

  /** A link as `diaper console login` prints it. */
  loginLink(role: Role, user = "alice", lifetime?: number): string {
    const { secret } = new Logins(this.daemon.console.state).link(user, role, lifetime);
    return `${this.daemon.url}/login#${secret}`;
  }

  /** Changes the registry and has it read. */
  relist(change: (lines: string[]) => void): void {
    change(this.#lines);
    this.daemon.reload();
  }

  /** An NI by the name of the registry. */
  ni(
    name: string,
    options: Partial<NiSideOptions> = {},
    bounds: SpoolBounds = { alerts: 1_000_000, bytes: 1e9, policy: "drop-oldest" },
  ): Promise<NiSide & { readonly spooled: ReturnType<typeof openSpool>["spool"] }> {
    const { spool } = openSpool(`${this.directory}/${name}.spool`, bounds);
    const ni = new NiSide({
      role: "ni",
      host: `${name}.example`,
      software: "test",
      privateKey: this.keyOf(name).privateKey,
      consoleKeys: new Set([publicKeyOf(this.key.privateKey)]),
      connect: [{ host: "127.0.0.1", port: this.#port }],
      listen: [],
      spool,
      handlers: {},
      log: (_level, text) => this.messages.push(`${name}: ${text}`),
      ...options,
    });
    this.#nis.push(ni);
    return Promise.resolve(Object.assign(ni, { spooled: spool }));
  }

  /** Waits until alerts of some kind are kept. */
  async waitForAlerts(count: number, timeout = 60_000): Promise<StoredAlert[]> {
    return await this.until(
      async () => {
        const alerts = await this.daemon.console.store.list({ limit: count + 10, oldest: true });
        return alerts.length >= count ? alerts : undefined;
      },
      `${count} alerts`,
      timeout,
    );
  }

  /** Asks again and again, each time the console has news. */
  async until<T>(
    look: () => Promise<T | undefined> | T | undefined,
    what: string,
    timeout = 60_000,
  ): Promise<T> {
    const end = performance.now() + timeout;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      if (performance.now() > end) {
        throw new Error(`No ${what} in ${timeout} ms. Messages:\n${this.messages.join("\n")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const ni of this.#nis) {
      await ni.stop();
      (ni as unknown as { spooled: { close(): void } }).spooled.close();
    }
    await this.daemon.close();
    Deno.removeSync(this.directory, { recursive: true });
  }
}

/** An alert as an NI kernel makes it. */
export function alertEvent(
  signature: string,
  more: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    timestamp: new Date().toISOString(),
    event_type: "alert",
    src_ip: "192.0.2.10",
    dest_ip: "198.51.100.7",
    dest_port: 80,
    proto: "TCP",
    alert: { signature, category: "test", severity: 2, action: "allowed" },
    scanner: "codered",
    detail: {},
    ...more,
  };
}
