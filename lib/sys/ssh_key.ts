/**
 * Public keys as text, for those who only read them: without the SSH library.
 *
 * @module
 */

/** The one kind of key. */
export const KEY_TYPE = "ssh-ed25519";

/** True for the base64 of an ed25519 public key in SSH's form. */
export function isKey(base64: string): boolean {
  // The length and name that every such key begins with.
  return /^AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}$/.test(base64);
}
