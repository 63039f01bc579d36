/**
 * An SSH server that lets known keys open one subsystem, and nothing else: no shell, terminal, command,
 * forwarding or environment. Runs on the main thread.
 *
 * @module
 */
import { createServer, type Server as NetServer, type Socket } from "node:net";
import { LoginLimits } from "./login_limits.ts";
import type { AuthContext, ServerChannel, ServerConnection } from "./ssh2.d.ts";
import { KEY_TYPE, Server, SSH_ALGORITHMS, utils } from "./ssh.ts";

/** What the server is made with. */
export interface KeyedServerOptions<Who> {
  /** Private host key, as text. */
  readonly hostKey: string;
  /** The one subsystem. */
  readonly subsystem: string;
  /** Whom a key (as base64) stands for when it comes from an address; undefined: nobody. */
  readonly know: (key: string, address: string) => Who | undefined;
  /** Takes over a session. `end` ends its connection, and must be called when the session is over. */
  readonly serve: (channel: ServerChannel, who: Who, address: string, end: () => void) => void;
  /** Told of each connection that proved no key. */
  readonly refused?: (address: string) => void;
  /** Connections of one address at once; 20 without it. */
  readonly atOnce?: number;
}

interface Login<Who> {
  readonly connection: ServerConnection;
  readonly key: string;
  readonly address: string;
  readonly who: Who;
}

/** Milliseconds from connect to a proven key. */
const LOGIN_MS = 10_000;
/** Milliseconds from a proven key to the subsystem. */
const SUBSYSTEM_MS = 10_000;
const MOST_ATTEMPTS = 3;

/** The server. */
export class KeyedSshServer<Who> {
  readonly #options: KeyedServerOptions<Who>;
  readonly #listeners: NetServer[] = [];
  readonly #server: InstanceType<typeof Server>;
  readonly #limits: LoginLimits;
  readonly #logins = new Set<Login<Who>>();
  readonly #sockets = new Set<Socket>();

  constructor(options: KeyedServerOptions<Who>) {
    this.#options = options;
    this.#limits = new LoginLimits(options.atOnce);
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
      listener.listen({ port, host, backlog: 1024 }, () => {
        listener.removeListener("error", reject);
        const address = listener.address();
        resolve(typeof address === "object" && address !== null ? address.port : port);
      });
    });
  }

  /** Asks `know` again about everybody who is logged in; ends the connections of those who changed. */
  check(same: (before: Who, now: Who) => boolean): void {
    for (const { connection, key, address, who } of this.#logins) {
      const now = this.#options.know(key, address);
      if (now === undefined || !same(who, now)) connection.end();
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
    if (!this.#limits.admit(address, performance.now())) return void socket.destroy();
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("close", () => {
      this.#sockets.delete(socket);
      this.#limits.leave(address);
    });
    this.#server.injectSocket(socket);
  }

  #connection(connection: ServerConnection, address: string): void {
    let login: Login<Who> | undefined;
    let attempts = 0;
    // Whoever does not prove a key in time makes room for others.
    let timer = setTimeout(() => connection.end(), LOGIN_MS);
    connection.on("error", () => {}); // a peer that breaks the protocol or goes away: "close" follows
    connection.on("close", () => {
      clearTimeout(timer);
      if (login !== undefined) return void this.#logins.delete(login);
      this.#limits.failed(address, performance.now());
      this.#options.refused?.(address);
    });
    connection.on("authentication", (context) => {
      if (context.method !== "publickey") return context.reject(["publickey"]);
      const key = context.key.data.toString("base64");
      const who = context.key.algo === KEY_TYPE ? this.#options.know(key, address) : undefined;
      if (who === undefined) {
        if (++attempts >= MOST_ATTEMPTS) return connection.end();
        return context.reject(["publickey"]);
      }
      // Without a signature the peer only asks whether this key would do.
      if (context.signature === undefined) return context.accept();
      if (!verified(key, context)) return context.reject(["publickey"]);
      login = { connection, key, address, who };
      context.accept();
    });
    connection.on("ready", () => {
      if (login === undefined) return connection.end();
      this.#limits.succeeded(address);
      this.#logins.add(login);
      clearTimeout(timer);
      timer = setTimeout(() => connection.end(), SUBSYSTEM_MS);
      this.#serve(login, () => clearTimeout(timer));
    });
  }

  /** Lets one session with the one subsystem be; all else was refused by having no handler. */
  #serve({ connection, who, address }: Login<Who>, served: () => void): void {
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
        if (info.name !== this.#options.subsystem) return void refuse?.();
        served();
        this.#options.serve(take(), who, address, () => connection.end());
      });
    });
  }
}

function verified(key: string, context: AuthContext): boolean {
  const parsed = utils.parseKey(`${KEY_TYPE} ${key}`);
  if (parsed instanceof Error || context.blob === undefined || context.signature === undefined) {
    return false;
  }
  const one = Array.isArray(parsed) ? parsed[0] : parsed;
  return one?.verify(context.blob, context.signature, context.hashAlgo) === true;
}
