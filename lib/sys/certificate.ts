/**
 * A self-signed certificate (X.509 version 3, ECDSA P-256), for those who have no other: browsers show its fingerprint,
 * which is printed where it is made.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, createSign, generateKeyPairSync, randomBytes } from "node:crypto";
import { parseIp } from "../net/ip.ts";

/** A certificate and its key, as PEM. */
export interface MadeCertificate {
  readonly certificate: string;
  readonly key: string;
  /** SHA-256 of the certificate, as browsers show it. */
  readonly fingerprint: string;
}

function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  const n = body.length;
  const length = n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, n >> 8, n & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...length), body]);
}

const sequence = (...parts: readonly Uint8Array[]) => der(0x30, ...parts);
const oid = (...bytes: readonly number[]) => der(0x06, Uint8Array.from(bytes));
const utf8 = (text: string) => der(0x0c, Buffer.from(text));

const COMMON_NAME = oid(0x55, 0x04, 0x03);
const ECDSA_SHA256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
const SUBJECT_ALT_NAME = oid(0x55, 0x1d, 0x11);
const BASIC_CONSTRAINTS = oid(0x55, 0x1d, 0x13);
const EXTENDED_KEY_USAGE = oid(0x55, 0x1d, 0x25);
const SERVER_AUTH = oid(0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01);

function time(date: Date): Uint8Array {
  return der(0x18, Buffer.from(date.toISOString().replace(/[-:T]|\.\d+/g, "")));
}

/**
 * Makes one.
 *
 * @param names host names and addresses that it is for; the first is its common name.
 * @param days how long it is good.
 */
export function makeCertificate(names: readonly string[], days = 825): MadeCertificate {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x3f) | 0x40; // positive, and of full length
  const name = sequence(der(0x31, sequence(COMMON_NAME, utf8(names[0] ?? "diaper"))));
  const now = Date.now();
  const alternatives = names.map((n) => {
    const ip = parseIp(n);
    return ip === undefined ? der(0x82, Buffer.from(n)) : der(0x87, Uint8Array.from(ip.bytes));
  });
  const extension = (id: Uint8Array, critical: boolean, value: Uint8Array) =>
    sequence(id, ...(critical ? [Uint8Array.of(1, 1, 0xff)] : []), der(0x04, value));
  const body = sequence(
    der(0xa0, Uint8Array.of(2, 1, 2)),
    der(0x02, serial),
    ECDSA_SHA256,
    name,
    sequence(time(new Date(now - 86_400_000)), time(new Date(now + days * 86_400_000))),
    name,
    spki,
    der(
      0xa3,
      sequence(
        extension(BASIC_CONSTRAINTS, true, sequence()),
        extension(EXTENDED_KEY_USAGE, false, sequence(SERVER_AUTH)),
        extension(SUBJECT_ALT_NAME, false, sequence(...alternatives)),
      ),
    ),
  );
  const signature = createSign("sha256").update(body).sign(privateKey);
  const whole = sequence(body, ECDSA_SHA256, der(0x03, Uint8Array.of(0), signature));
  return {
    certificate: pem("CERTIFICATE", whole),
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    fingerprint: createHash("sha256").update(whole).digest("hex").toUpperCase()
      .replace(/(..)(?!$)/g, "$1:"),
  };
}

function pem(label: string, data: Uint8Array): string {
  const lines = Buffer.from(data).toString("base64").replace(/(.{64})(?!$)/g, "$1\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
