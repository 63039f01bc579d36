/**
 * The types of ssh2, as far as it is used here. The package's own bring the types of another runtime,
 * which then stand in the way of this one's.
 *
 * @module
 */
// deno-lint-ignore-file no-explicit-any explicit-module-boundary-types
import type { Buffer } from "node:buffer";
import type { EventEmitter } from "node:events";
import type { Duplex, Readable } from "node:stream";

/** A question of keyboard-interactive authentication. */
export interface Prompt {
  readonly prompt: string;
  readonly echo?: boolean;
}

/** Takes the answers to all questions. */
export type KeyboardInteractiveCallback = (answers: string[]) => void;

/** Names of algorithms, best first. */
export interface Algorithms {
  readonly kex?: readonly string[];
  readonly serverHostKey?: readonly string[];
  readonly cipher?: readonly string[];
  readonly hmac?: readonly string[];
  readonly compress?: readonly string[];
}

/** How a client connects and logs in. Times in milliseconds. */
export interface ConnectConfig {
  host?: string;
  port?: number;
  sock?: Duplex;
  username?: string;
  password?: string;
  privateKey?: string | Buffer;
  readyTimeout?: number;
  keepaliveInterval?: number;
  keepaliveCountMax?: number;
  tryKeyboard?: boolean;
  algorithms?: Algorithms;
  hostVerifier?: (key: Buffer) => boolean;
  authHandler?: any;
  ident?: string;
}

/** A channel, seen from the client. */
export interface ClientChannel extends Duplex {
  readonly stderr: Readable;
  setWindow(rows: number, cols: number, height: number, width: number): void;
  signal(name: string): void;
  close(): void;
}

/** Called with a channel or an error. */
export type ClientCallback = (error: Error | undefined, channel: ClientChannel) => void;

/** The client. */
export class Client extends EventEmitter {
  connect(config: ConnectConfig): this;
  end(): this;
  destroy(): this;
  exec(command: string, callback: ClientCallback): this;
  exec(command: string, options: any, callback: ClientCallback): this;
  shell(window: any, callback: ClientCallback): this;
  shell(callback: ClientCallback): this;
  subsys(name: string, callback: ClientCallback): this;
  forwardOut(
    sourceHost: string,
    sourcePort: number,
    host: string,
    port: number,
    callback: ClientCallback,
  ): this;
}

/** A key that was read. */
export interface ParsedKey {
  readonly type: string;
  readonly comment: string;
  getPublicSSH(): Buffer;
  getPrivatePEM(): string;
  isPrivateKey(): boolean;
  verify(data: Buffer, signature: Buffer, algorithm?: string): boolean | Error;
  sign(data: Buffer, algorithm?: string): Buffer | Error;
}

/** One attempt to log in. */
export interface AuthContext extends EventEmitter {
  readonly username: string;
  readonly method: string;
  /** With `publickey`. */
  readonly key: { readonly algo: string; readonly data: Buffer };
  readonly blob?: Buffer;
  readonly signature?: Buffer;
  readonly hashAlgo?: string;
  /** With `password`. */
  readonly password?: string;
  accept(): void;
  reject(methodsLeft?: readonly string[], isPartialSuccess?: boolean): void;
  prompt?(prompts: any, callback: any): void;
}

/** A connection, seen from the server. */
export interface ServerConnection extends EventEmitter {
  end(): this;
  on(event: "authentication", handler: (context: AuthContext) => void): this;
  on(
    event: "session",
    handler: (accept: () => ServerSession, reject: () => void) => void,
  ): this;
  on(
    event: "request",
    handler: (
      accept: (() => void) | undefined,
      reject: (() => void) | undefined,
      name: string,
    ) => void,
  ): this;
  on(event: string, handler: (...values: any[]) => void): this;
}

/** A session, seen from the server. */
export interface ServerSession extends EventEmitter {
  on(
    event: "subsystem",
    handler: (
      accept: () => ServerChannel,
      reject: () => void,
      info: { readonly name: string },
    ) => void,
  ): this;
  on(event: string, handler: (...values: any[]) => void): this;
}

/** A channel, seen from the server. */
export interface ServerChannel extends Duplex {
  readonly stderr: Duplex;
  exit(code: number): void;
}

/** How a server is made. */
export interface ServerConfig {
  hostKeys: (string | Buffer)[];
  algorithms?: Algorithms;
  ident?: string;
  banner?: string;
  keepaliveInterval?: number;
}

/** The server. */
export class Server extends EventEmitter {
  constructor(
    config: ServerConfig,
    handler: (connection: ServerConnection, info: { readonly ip: string }) => void,
  );
  injectSocket(socket: Duplex): void;
  listen(port: number, host: string, callback?: () => void): this;
  address(): { readonly port: number };
  close(callback?: () => void): this;
}

/** Keys. */
export const utils: {
  parseKey(data: string | Buffer, passphrase?: string): ParsedKey | ParsedKey[] | Error;
  generateKeyPairSync(
    type: "ed25519" | "rsa" | "ecdsa",
    options?: { readonly bits?: number; readonly comment?: string },
  ): { readonly private: string; readonly public: string };
};

declare const ssh2: {
  readonly Client: typeof Client;
  readonly Server: typeof Server;
  readonly utils: typeof utils;
};
export default ssh2;
