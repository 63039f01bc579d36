/**
 * The SSH side of a simulated device: logs users in, and hands shells and the NETCONF subsystem to the
 * device.
 *
 * @module
 */
import "../sys/dirname.ts";
import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";
// @ts-types="../sys/ssh2.d.ts"
import ssh2, {
  type AuthContext,
  type ParsedKey,
  type ServerChannel,
  type ServerConnection as Connection,
  type ServerSession as Session,
} from "ssh2";

const { Server, utils } = ssh2;

/** A channel of a client, as the device sees it. */
export interface DeviceChannel {
  onData: (piece: Uint8Array) => void;
  onClose: () => void;
  write(text: string | Uint8Array): void;
  /** Ends the channel in good order. */
  end(): void;
  /** Breaks the connection. */
  drop(): void;
}

/** How the server is made. */
export interface SshServerOptions {
  readonly port: number;
  /** Address to listen at. */
  readonly host: string;
  /** Private host key; a new one is made when there is none. */
  readonly hostKey?: string | undefined;
  readonly user: string;
  readonly password: string;
  /** Public keys that may log in, in OpenSSH's form. */
  readonly authorizedKeys: readonly string[];
  /** Only algorithms of the years before 2010. */
  readonly oldAlgorithms: boolean;
  readonly banner?: string | undefined;
  readonly shell: (channel: DeviceChannel) => void;
  /** Absent: the subsystem is refused. */
  readonly netconf?: ((channel: DeviceChannel) => void) | undefined;
}

/** A server that runs. */
export interface SshServer {
  readonly port: number;
  /** Its host key's fingerprint, `SHA256:…`. */
  readonly fingerprint: string;
  /** Breaks all connections. */
  dropAll(): void;
  close(): Promise<void>;
}

const KEX = [
  "curve25519-sha256",
  "curve25519-sha256@libssh.org",
  "ecdh-sha2-nistp256",
  "diffie-hellman-group14-sha256",
] as const;
const OLD_KEX = ["diffie-hellman-group14-sha1", "diffie-hellman-group1-sha1"] as const;

/** Starts a server. */
export async function startSshServer(options: SshServerOptions): Promise<SshServer> {
  const hostKey = options.hostKey ?? makeHostKey(options.oldAlgorithms);
  const parsed = utils.parseKey(hostKey);
  if (parsed instanceof Error) throw parsed;
  const digest = createHash("sha256").update((parsed as ParsedKey).getPublicSSH()).digest("base64");
  const connections = new Set<Connection>();
  const keys = options.authorizedKeys.map((line) => utils.parseKey(line))
    .filter((key): key is ParsedKey => !(key instanceof Error));
  const server = new Server({
    hostKeys: [hostKey],
    ...(options.banner === undefined ? {} : { banner: options.banner }),
    algorithms: options.oldAlgorithms
      ? {
        kex: [...OLD_KEX],
        serverHostKey: ["ssh-rsa"],
        cipher: ["aes128-cbc", "3des-cbc"],
        hmac: ["hmac-sha1"],
      }
      : { kex: [...KEX] },
  }, (connection) => {
    connections.add(connection);
    (connection as unknown as { setNoDelay(on: boolean): void }).setNoDelay(true);
    connection.on("authentication", (auth) => authenticate(auth, options, keys));
    connection.on("session", (accept) => serve(accept(), connection, options));
    connection.on("close", () => void connections.delete(connection));
    connection.on("error", () => void connections.delete(connection)); // a client that broke off
  });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.once("error", reject);
  server.listen(
    options.port,
    options.host,
    () => resolve((server.address() as { port: number }).port),
  );
  const port = await promise;
  const dropAll = () => {
    for (const connection of connections) destroy(connection);
    connections.clear();
  };
  return {
    port,
    fingerprint: `SHA256:${digest.replace(/=+$/, "")}`,
    dropAll,
    close: async () => {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      dropAll();
      await closed.promise;
    },
  };
}

/** A host key for one run. */
export function makeHostKey(old = false): string {
  // RSA where the client may be too old for others.
  if (old) return utils.generateKeyPairSync("rsa", { bits: 2048 }).private;
  for (;;) {
    // Now and then the library writes a key that it cannot read.
    const key = utils.generateKeyPairSync("ed25519").private;
    if (!(utils.parseKey(key) instanceof Error)) return key;
  }
}

function destroy(connection: Connection): void {
  const socket = (connection as unknown as { _sock?: { destroy(): void } })._sock;
  if (socket === undefined) connection.end();
  else socket.destroy();
}

function authenticate(
  auth: AuthContext,
  options: SshServerOptions,
  keys: readonly ParsedKey[],
): void {
  if (auth.username !== options.user) return auth.reject(["password", "publickey"]);
  if (auth.method === "password") {
    return equal(auth.password ?? "", options.password) ? auth.accept() : auth.reject(["password"]);
  }
  if (auth.method === "keyboard-interactive") {
    return auth.prompt?.([{ prompt: "Password: ", echo: false }], (answers: string[]) => {
      if (equal(answers[0] ?? "", options.password)) auth.accept();
      else auth.reject(["password"]);
    });
  }
  if (auth.method === "publickey") {
    const { key, signature, blob, hashAlgo } = auth;
    const known = keys.find((k) => k.getPublicSSH().equals(key.data));
    if (known === undefined) return auth.reject(["password", "publickey"]);
    if (signature === undefined || blob === undefined) return auth.accept();
    const verified = known.verify(blob, signature, hashAlgo) === true;
    return verified ? auth.accept() : auth.reject(["password", "publickey"]);
  }
  auth.reject(["password", "keyboard-interactive", "publickey"]);
}

function equal(a: string, b: string): boolean {
  const digest = (text: string) => Uint8Array.from(createHash("sha256").update(text).digest());
  return timingSafeEqual(digest(a), digest(b));
}

function serve(session: Session, connection: Connection, options: SshServerOptions): void {
  session.on("pty", (accept) => accept?.());
  session.on("window-change", (accept) => accept?.());
  session.on("env", (accept) => accept?.());
  session.on("shell", (accept) => options.shell(channelOf(accept(), connection)));
  session.on("subsystem", (accept, reject, info) => {
    if (info.name === "netconf" && options.netconf !== undefined) {
      options.netconf(channelOf(accept(), connection));
    } else reject();
  });
}

function channelOf(channel: ServerChannel, connection: Connection): DeviceChannel {
  let open = true;
  const result: DeviceChannel = {
    onData: () => {},
    onClose: () => {},
    write: (text) => {
      if (open) channel.write(typeof text === "string" ? text : Buffer.from(text));
    },
    end: () => {
      if (!open) return;
      channel.exit(0);
      channel.end();
      connection.end();
    },
    drop: () => destroy(connection),
  };
  channel.on("data", (piece: Uint8Array) => result.onData(piece));
  channel.on("error", () => {}); // told by close
  channel.on("close", () => {
    open = false;
    result.onClose();
  });
  return result;
}
