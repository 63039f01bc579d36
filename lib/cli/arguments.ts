/**
 * Readers of arguments that several verbs take; each tells commander what a bad one should look like.
 *
 * @module
 */
import { InvalidArgumentError } from "commander";
import { type IpRange, parseIp, prefixRange } from "../net/ip.ts";
import { type Endpoint, parseEndpoint } from "../pinhole/endpoint.ts";
import { readDuration, readMoment } from "../pinhole/policy_keys.ts";

/** An address with or without port. */
export function readEndpoint(text: string): Endpoint {
  const found = parseEndpoint(text);
  if (found !== undefined) return found;
  throw new InvalidArgumentError(
    "Write ADDRESS or ADDRESS:PORT, IPv6 with port as [ADDRESS]:PORT.",
  );
}

/** An address with a port. */
export function readDestination(text: string): Endpoint {
  const found = parseEndpoint(text);
  if (found !== undefined && found.port !== 0) return found;
  throw new InvalidArgumentError("Write ADDRESS:PORT, IPv6 as [ADDRESS]:PORT.");
}

/** A duration such as `90s` or `1h30m`, in seconds. */
export function readSeconds(text: string): number {
  try {
    return readDuration(text);
  } catch (error) {
    throw new InvalidArgumentError(`${message(error)}.`);
  }
}

/** A moment: RFC 3339, or a duration before `now`; in milliseconds since the epoch. */
export function readSince(text: string, now: number = Date.now()): number {
  if (/^\d+[dhms]/.test(text)) return now - readSeconds(text) * 1000;
  try {
    return readMoment(text);
  } catch (error) {
    throw new InvalidArgumentError(`${message(error)}; or how long ago, for example 5m.`);
  }
}

/** An address, or a prefix such as `192.0.2.0/24`. */
export function readRange(text: string): IpRange {
  const [address, length, more] = text.split("/");
  const ip = parseIp(address ?? "");
  if (ip !== undefined && more === undefined) {
    const bits = ip.bytes.length * 8;
    if (length === undefined) return prefixRange(ip, bits);
    if (/^(0|[1-9][0-9]{0,2})$/.test(length) && Number(length) <= bits) {
      return prefixRange(ip, Number(length));
    }
  }
  throw new InvalidArgumentError("Write an address or a prefix such as 192.0.2.0/24.");
}

/** A port, 1 to 65535. */
export function readPort(text: string): number {
  if (/^[1-9][0-9]{0,4}$/.test(text) && Number(text) <= 65535) return Number(text);
  throw new InvalidArgumentError("Write a port from 1 to 65535.");
}

/** A whole number from 1 up. */
export function readCount(text: string): number {
  if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Write a whole number, 1 or more.");
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
