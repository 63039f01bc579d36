/**
 * The way to a device: one SSH connection to a host whose key is pinned, over which a shell or a subsystem
 * is opened. Old key exchanges are offered only when the configuration asks for them.
 *
 * @module
 */
import "../../lib/sys/dirname.ts";
import { createHash, timingSafeEqual } from "node:crypto";
import { connect, type Socket } from "node:net";
// @ts-types="../../lib/sys/ssh2.d.ts"
import ssh2, {
  type Client as SshClient,
  type ClientChannel,
  type ConnectConfig,
  type KeyboardInteractiveCallback,
  type Prompt,
} from "ssh2";
import { EnforcerError } from "../enforcer.ts";
import type { ByteStream } from "./bytes.ts";

const { Client } = ssh2;

/** Where the device is and how to log in. Times in seconds. */
export interface SshTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** The device's host keys as `SHA256:…` (ssh-keygen -lf) or `ssh-ed25519 AAAA…`; one must match. */
  readonly hostKeys: readonly string[];
  readonly password?: string | undefined;
  /** Private key, as the text of an OpenSSH or PEM file without passphrase. */
  readonly privateKey?: string | undefined;
  /** Also offers SHA-1 key exchanges and host keys, CBC ciphers and SHA-1 integrity. */
  readonly oldAlgorithms: boolean;
  readonly connectTimeout: number;
}

// Without ecdh-sha2-nistp521 and 192-bit ciphers, which this runtime's crypto does not have.
const KEX = [
  "curve25519-sha256",
  "curve25519-sha256@libssh.org",
  "ecdh-sha2-nistp256",
  "ecdh-sha2-nistp384",
  "diffie-hellman-group-exchange-sha256",
  "diffie-hellman-group14-sha256",
  "diffie-hellman-group16-sha512",
  "diffie-hellman-group18-sha512",
];
const OLD_KEX = [
  "diffie-hellman-group14-sha1",
  "diffie-hellman-group-exchange-sha1",
  "diffie-hellman-group1-sha1",
];
const HOST_KEYS = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "rsa-sha2-512",
  "rsa-sha2-256",
];
const CIPHERS = [
  "aes128-gcm@openssh.com",
  "aes256-gcm@openssh.com",
  "chacha20-poly1305@openssh.com",
  "aes128-ctr",
  "aes256-ctr",
];
const MACS = [
  "hmac-sha2-256-etm@openssh.com",
  "hmac-sha2-512-etm@openssh.com",
  "hmac-sha2-256",
  "hmac-sha2-512",
];

/** What is offered to a device. */
export function algorithms(old: boolean): NonNullable<ConnectConfig["algorithms"]> {
  return {
    kex: old ? [...KEX, ...OLD_KEX] : KEX,
    serverHostKey: old ? [...HOST_KEYS, "ssh-rsa", "ssh-dss"] : HOST_KEYS,
    cipher: old ? [...CIPHERS, "aes256-cbc", "aes128-cbc", "3des-cbc"] : CIPHERS,
    hmac: old ? [...MACS, "hmac-sha1-etm@openssh.com", "hmac-sha1"] : MACS,
  } as NonNullable<ConnectConfig["algorithms"]>;
}

/** A connection to a device. */
export interface SshConnection {
  /** Opens a shell on a wide terminal. */
  shell(): Promise<ByteStream>;
  /** Opens a subsystem, such as `netconf`. */
  subsystem(name: string): Promise<ByteStream>;
  /** Ends the connection and all that is open in it. */
  close(): Promise<void>;
}

/** The fingerprint of a host key as ssh-keygen prints it. */
export function fingerprint(key: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}

/** True when one of the pins is this key. */
export function isPinned(key: Uint8Array, pins: readonly string[]): boolean {
  const own = Uint8Array.from(createHash("sha256").update(key).digest());
  return pins.some((pin) => {
    const words = pin.trim().split(/\s+/);
    const encoded = words[0]?.startsWith("SHA256:") ? words[0].slice(7) : words[1] ?? "";
    let wanted: Uint8Array;
    try {
      wanted = Uint8Array.fromBase64(encoded);
    } catch {
      return false; // checked when the configuration is read; a pin that is none matches nothing
    }
    if (!words[0]?.startsWith("SHA256:")) {
      wanted = Uint8Array.from(createHash("sha256").update(wanted).digest());
    }
    return wanted.length === own.length && timingSafeEqual(wanted, own);
  });
}

/**
 * Connects and logs in.
 *
 * @throws {EnforcerError} when the device cannot be reached, is not the pinned one, or lets nobody in.
 */
export function openSsh(target: SshTarget): Promise<SshConnection> {
  const where = `${target.host}:${target.port}`;
  const { promise, resolve, reject } = Promise.withResolvers<SshConnection>();
  const client = new Client();
  const socket = connect({ host: target.host, port: target.port, noDelay: true });
  let seen: string | undefined;
  let done = false;
  const fail = (message: string, next: string) => {
    if (done) return;
    done = true;
    clearTimeout(timer);
    client.destroy();
    socket.destroy();
    reject(new EnforcerError(message, next));
  };
  const timer = setTimeout(
    () =>
      fail(
        `Cannot log in to ${where}: no answer within ${target.connectTimeout} s`,
        "check address, port and whether SSH is enabled on the device",
      ),
    target.connectTimeout * 1000,
  );
  const attempt = (connecting: () => void) => {
    try {
      connecting();
    } catch (error) {
      // A key that cannot be read, for one.
      const why = error instanceof Error ? error.message : String(error);
      fail(`Cannot log in to ${where}: ${why}`, "check key_file and password_file");
    }
  };
  client.on("ready", () => {
    if (done) return;
    done = true;
    clearTimeout(timer);
    resolve(new Connection(client, socket, where));
  });
  client.on("keyboard-interactive", answerer(target.password ?? ""));
  client.on("error", (error: Error & { level?: string }) => {
    if (seen !== undefined) {
      return fail(
        `${where} has the host key ${seen}, which is not the pinned one`,
        "compare it with the device's console; if it is right, set host_key to it",
      );
    }
    fail(`Cannot log in to ${where}: ${error.message}`, advice(error));
  });
  client.on("close", () => fail(`${where} ended the connection during login`, "look at its log"));
  socket.on("error", (error: Error) => fail(`Cannot reach ${where}: ${error.message}`, REACH));
  socket.once("connect", () => {
    attempt(() =>
      client.connect({
        sock: socket,
        username: target.user,
        ...(target.password === undefined ? {} : { password: target.password, tryKeyboard: true }),
        ...(target.privateKey === undefined ? {} : { privateKey: target.privateKey }),
        algorithms: algorithms(target.oldAlgorithms),
        hostVerifier: (key: Uint8Array) => {
          if (isPinned(key, target.hostKeys)) return true;
          seen = fingerprint(key);
          return false;
        },
        readyTimeout: 0, // the time-out above covers the whole login
        keepaliveInterval: 15_000,
        keepaliveCountMax: 3,
      })
    );
  });
  return promise;
}

const REACH = "check address and port, and that the device may be reached from here";

function advice(error: Error & { level?: string }): string {
  if (error.level === "client-authentication") {
    return "check user, password_file and key_file, and that the account may log in over SSH";
  }
  if (/no matching/i.test(error.message)) {
    return "the device may be too old for safe algorithms: old_algorithms: true allows weak ones";
  }
  return REACH;
}

/** Answers every question of a keyboard-interactive login that hides the answer with the password. */
function answerer(
  password: string,
): (
  name: string,
  instructions: string,
  lang: string,
  prompts: Prompt[],
  finish: KeyboardInteractiveCallback,
) => void {
  return (_name, _instructions, _lang, prompts, finish) =>
    finish(prompts.map((prompt) => prompt.echo === true ? "" : password));
}

class Connection implements SshConnection {
  readonly #client: SshClient;
  readonly #socket: Socket;
  readonly #where: string;
  readonly #closed: Promise<void>;

  constructor(client: SshClient, socket: Socket, where: string) {
    this.#client = client;
    this.#socket = socket;
    this.#where = where;
    this.#closed = new Promise((resolve) => socket.once("close", () => resolve()));
  }

  shell(): Promise<ByteStream> {
    return this.#open(
      "a shell",
      (done) => this.#client.shell({ term: "vt100", cols: 511, rows: 1000 }, done),
    );
  }

  subsystem(name: string): Promise<ByteStream> {
    return this.#open(`the ${name} subsystem`, (done) => this.#client.subsys(name, done));
  }

  async close(): Promise<void> {
    this.#client.end();
    // Of a device that is cut off no end comes; the library's own destroy() does nothing after its end().
    const timer = setTimeout(() => this.#socket.destroy(), 1000);
    await this.#closed;
    clearTimeout(timer);
  }

  #open(
    what: string,
    start: (done: (error: Error | undefined, channel: ClientChannel) => void) => unknown,
  ): Promise<ByteStream> {
    return new Promise((resolve, reject) => {
      const refuse = (why: string) =>
        reject(
          new EnforcerError(
            `${this.#where} does not open ${what}: ${why}`,
            "check what the account may use there, and how many sessions are open",
          ),
        );
      const ended = () => refuse("the connection is gone");
      this.#client.once("close", ended);
      try {
        start((error, channel) => {
          this.#client.removeListener("close", ended);
          if (error !== undefined) refuse(error.message);
          else resolve(new Channel(channel));
        });
      } catch (error) {
        refuse(error instanceof Error ? error.message : String(error));
      }
    });
  }
}

/** A channel of the connection as a stream of bytes. */
class Channel implements ByteStream {
  #onData: ((piece: Uint8Array) => void) | undefined;
  #onEnd: ((why: string) => void) | undefined;
  /** Came before anybody listened. */
  #early: Uint8Array[] = [];
  #why: string | undefined;
  readonly #channel: ClientChannel;

  constructor(channel: ClientChannel) {
    this.#channel = channel;
    const take = (piece: Uint8Array) => {
      if (this.#onData === undefined) this.#early.push(piece);
      else this.#onData(piece);
    };
    channel.on("data", take);
    channel.stderr.on("data", take);
    const end = (why: string) => () => {
      if (this.#why !== undefined) return;
      this.#why = why;
      this.#onEnd?.(why);
    };
    channel.on("error", end("the session broke"));
    channel.on("end", end("the device ended the session"));
    channel.on("close", end("the session was closed"));
  }

  listen(onData: (piece: Uint8Array) => void, onEnd: (why: string) => void): void {
    this.#onData = onData;
    this.#onEnd = onEnd;
    for (const piece of this.#early.splice(0)) onData(piece);
    if (this.#why !== undefined) onEnd(this.#why);
  }

  write(bytes: Uint8Array): void {
    if (this.#why === undefined) this.#channel.write(bytes);
  }

  close(): void {
    this.#channel.close();
  }
}
