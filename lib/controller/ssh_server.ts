/**
 * Remote authentication by the controller itself: an SSH server that lets known keys open one subsystem,
 * and nothing else. What comes through it goes to the data plane's socket, after a line that says who it
 * is from. Runs on the main thread.
 *
 * @module
 */
import { connect, createServer, type Server as NetServer, type Socket } from "node:net";
import { SUBSYSTEM } from "../broker/remote_protocol.ts";
import { parseIp, unmapIp } from "../net/ip.ts";
import type { AuthContext, ServerChannel, ServerConnection } from "../sys/ssh2.d.ts";
import { KEY_TYPE, Server, SSH_ALGORITHMS, utils } from "../sys/ssh.ts";
import { type AuthorizedKey, mayComeFrom } from "./authorized_keys.ts";
import { LoginLimits } from "./login_limits.ts";

/** What the server is made with. */
export interface SshServerOptions {
  /** Private host key, as text. */
  readonly hostKey: string;
  readonly keys: readonly AuthorizedKey[];
  /** Path of the data plane's socket. */
  readonly socket: string;
  readonly log: (level: "info" | "warning" | "error", text: string) => void;
}

interface Login {
  readonly connection: ServerConnection;
  readonly key: AuthorizedKey;
}

/** Milliseconds from connect to a proven key. */
const LOGIN_MS = 10_000;
/** Milliseconds from a proven key to the subsystem. */
const SUBSYSTEM_MS = 10_000;
const MOST_ATTEMPTS = 3;

/** The embedded SSH server. */
export class SshServer {
  readonly #options: SshServerOptions;
  readonly #listeners: NetServer[] = [];
  readonly #server: InstanceType<typeof Server>;
  readonly #limits = new LoginLimits();
  readonly #logins = new Set<Login>();
  readonly #sockets = new Set<Socket>();
  #keys: ReadonlyMap<string, AuthorizedKey>;

  constructor(options: SshServerOptions) {
    this.#options = options;
    this.#keys = byKey(options.keys);
    this.#server = new Server({
      hostKeys: [options.hostKey],
      ident: "Diaper",
      algorithms: { ...SSH_ALGORITHMS, serverHostKey: [KEY_TYPE] },
      keepaliveInterval: 0,
    }, (connection, info) => this.#connection(connection, info.ip));
  }

  /**
   * Listens at an address.
   *
   * @returns the port.
   * @throws {Error} when that address or port cannot be had.
   */
  listen(host: string, port: number): Promise<number> {
    const listener = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    this.#listeners.push(listener);
    return new Promise((resolve, reject) => {
      listener.once("error", reject);
      listener.listen(port, host, () => {
        listener.removeListener("error", reject);
        const address = listener.address();
        resolve(typeof address === "object" && address !== null ? address.port : port);
      });
    });
  }

  /** Takes other keys from now on; connections of keys that are gone are ended. */
  setKeys(keys: readonly AuthorizedKey[]): void {
    this.#keys = byKey(keys);
    for (const { connection, key } of this.#logins) {
      if (this.#keys.get(key.key)?.delegate !== key.delegate) connection.end();
    }
  }

  /** Ends everything. */
  close(): void {
    for (const listener of this.#listeners) listener.close();
    for (const { connection } of this.#logins) connection.end();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: Socket): void {
    const address = socket.remoteAddress ?? "";
    if (!this.#limits.admit(address, Date.now())) return void socket.destroy();
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("close", () => {
      this.#sockets.delete(socket);
      this.#limits.leave(address);
    });
    this.#server.injectSocket(socket);
  }

  #connection(connection: ServerConnection, address: string): void {
    let login: Login | undefined;
    let attempts = 0;
    // Whoever does not prove a key in time makes room for others.
    let timer = setTimeout(() => connection.end(), LOGIN_MS);
    connection.on("error", () => {}); // a peer that breaks the protocol or goes away: "close" follows
    connection.on("close", () => {
      clearTimeout(timer);
      if (login === undefined) this.#limits.failed(address, Date.now());
      else this.#logins.delete(login);
    });
    connection.on("authentication", (context) => {
      if (context.method !== "publickey") return context.reject(["publickey"]);
      const key = context.key.algo === KEY_TYPE
        ? this.#keys.get(context.key.data.toString("base64"))
        : undefined;
      const ip = parseIp(address);
      if (key === undefined || ip === undefined || !mayComeFrom(key, unmapIp(ip))) {
        if (++attempts >= MOST_ATTEMPTS) return connection.end();
        return context.reject(["publickey"]);
      }
      // Without a signature the peer only asks whether this key would do.
      if (context.signature === undefined) return context.accept();
      if (!verified(key.key, context)) return context.reject(["publickey"]);
      login = { connection, key };
      context.accept();
    });
    connection.on("ready", () => {
      if (login === undefined) return connection.end();
      this.#limits.succeeded(address);
      this.#logins.add(login);
      clearTimeout(timer);
      timer = setTimeout(() => connection.end(), SUBSYSTEM_MS);
      this.#serve(connection, login.key.delegate, address, () => clearTimeout(timer));
    });
  }

  /** Lets one session with the one subsystem be; all else was refused by having no handler. */
  #serve(
    connection: ServerConnection,
    delegate: string,
    address: string,
    served: () => void,
  ): void {
    let used = false;
    connection.on("request", (_accept, reject) => reject?.());
    connection.on("session", (accept, reject) => {
      if (used) return void reject();
      used = true;
      const session = accept();
      for (const event of ["pty", "env", "shell", "exec", "x11", "auth-agent", "signal"] as const) {
        session.on(event, (_accept: unknown, refuse?: () => void) => refuse?.());
      }
      session.on("sftp", (_accept: unknown, refuse: () => void) => refuse());
      session.on("subsystem", (take, refuse, info) => {
        if (info.name !== SUBSYSTEM) return void refuse?.();
        served();
        this.#join(take(), connection, delegate, address);
      });
    });
  }

  #join(
    channel: ServerChannel,
    connection: ServerConnection,
    delegate: string,
    address: string,
  ): void {
    const socket = connect(this.#options.socket);
    const first = { op: "session", delegate, via: "ssh", peer: address };
    socket.write(JSON.stringify(first) + "\n");
    channel.pipe(socket);
    socket.pipe(channel);
    const end = () => {
      socket.destroy();
      connection.end();
    };
    channel.on("error", end);
    channel.on("close", end);
    socket.on("close", end);
    socket.on("error", (error) => {
      this.#options.log("error", `the data plane does not take a session: ${error.message}`);
    });
  }
}

function byKey(keys: readonly AuthorizedKey[]): Map<string, AuthorizedKey> {
  return new Map(keys.map((k) => [k.key, k]));
}

function verified(
  key: string,
  context: AuthContext,
): boolean {
  const parsed = utils.parseKey(`${KEY_TYPE} ${key}`);
  if (parsed instanceof Error || context.blob === undefined || context.signature === undefined) {
    return false;
  }
  const one = Array.isArray(parsed) ? parsed[0] : parsed;
  return one?.verify(context.blob, context.signature, context.hashAlgo) === true;
}
