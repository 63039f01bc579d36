/**
 * SSH as all parts of Diaper use it between themselves: ed25519 keys, curve25519, authenticated ciphers.
 *
 * @module
 */
import "./dirname.ts";
import { createHash } from "node:crypto";
// @ts-types="./ssh2.d.ts"
import ssh2 from "ssh2";
import { KEY_TYPE } from "./ssh_key.ts";

/** The library's client. */
export const Client: typeof ssh2.Client = ssh2.Client;
/** The library's server. */
export const Server: typeof ssh2.Server = ssh2.Server;
/** The library's ways with keys. */
export const utils: typeof ssh2.utils = ssh2.utils;

export { KEY_TYPE };

/**
 * What both ends offer. aes128-gcm comes first: with the processor's own instructions it is the fastest.
 */
export const SSH_ALGORITHMS = {
  kex: ["curve25519-sha256", "curve25519-sha256@libssh.org"],
  serverHostKey: [KEY_TYPE],
  cipher: [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
  ],
  compress: ["none"],
} as const;

/** A key's fingerprint, as ssh-keygen -l shows it. */
export function fingerprint(base64: string): string {
  const digest = createHash("sha256").update(base64, "base64").digest("base64");
  return `SHA256:${digest.replace(/=+$/, "")}`;
}

/** A new key pair: the private one in OpenSSH's format, the public one as base64. */
export function newKeyPair(
  comment: string,
): { readonly privateKey: string; readonly publicKey: string } {
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const pair = utils.generateKeyPairSync("ed25519", { comment });
    const publicKey = pair.public.split(" ")[1] ?? "";
    const parsed = utils.parseKey(pair.private);
    const key = Array.isArray(parsed) ? parsed[0] : parsed;
    const readable = key !== undefined && !(key instanceof Error);
    if (readable && key.getPublicSSH().toString("base64") === publicKey) {
      return { privateKey: pair.private, publicKey };
    }
  }
  throw new Error("Cannot make a key pair that reads back as it was written");
}

/** ssh2 1.17 writes about one key in some hundred so that it cannot read it itself. */
const MOST_TRIES = 32;

/**
 * The public half of a private key, as base64.
 *
 * @throws {Error} when it is no ed25519 key without passphrase.
 */
export function publicKeyOf(privateKey: string): string {
  const parsed = utils.parseKey(privateKey);
  if (parsed instanceof Error) throw parsed;
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  if (key === undefined || key.type !== KEY_TYPE) throw new Error(`it is not an ${KEY_TYPE} key`);
  return key.getPublicSSH().toString("base64");
}
