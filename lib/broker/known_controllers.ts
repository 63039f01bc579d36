/**
 * The host keys of controllers, as this host has pinned them: a file in the format of OpenSSH's
 * known_hosts (sshd(8)), ed25519 keys only, without patterns and hashes.
 *
 * @module
 */
import { isKey, KEY_TYPE } from "../sys/ssh_key.ts";

/** Where a controller is. */
export interface ControllerAddress {
  readonly host: string;
  readonly port: number;
}

/** The address as it stands in the file and in messages. */
export function controllerName(address: ControllerAddress): string {
  return `[${address.host}]:${address.port}`;
}

export { isKey, KEY_TYPE };

/**
 * Reads the pinned keys.
 *
 * @returns the keys of each controller, as base64.
 * @throws {SyntaxError} with file and line, for a line that is no pin.
 */
export function parseKnownControllers(text: string, file: string): Map<string, Set<string>> {
  const pins = new Map<string, Set<string>>();
  for (const [i, line] of text.split("\n").entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const [names, type, key] = line.trim().split(/\s+/);
    if (names === undefined || type !== KEY_TYPE || key === undefined || !isKey(key)) {
      throw new SyntaxError(
        `${file}:${i + 1}: expected "[ADDRESS]:PORT ${KEY_TYPE} KEY", as diaper enroll writes it`,
      );
    }
    for (const name of names.split(",")) {
      const keys = pins.get(name);
      if (keys === undefined) pins.set(name, new Set([key]));
      else keys.add(key);
    }
  }
  return pins;
}

/** The line that pins a controller's key. */
export function knownControllerLine(address: ControllerAddress, key: string): string {
  return `${controllerName(address)} ${KEY_TYPE} ${key}`;
}
