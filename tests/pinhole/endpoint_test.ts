import assert from "node:assert/strict";
import fc from "fast-check";
import { ipFromBytes } from "../../lib/net/ip.ts";
import { parseEndpoint } from "../../lib/pinhole/endpoint.ts";
import { endpointText } from "../../lib/pinhole/pinhole.ts";

Deno.test("an endpoint reads back from its text", () => {
  const bytes = fc.constantFrom(4, 16).chain((n) => fc.uint8Array({ minLength: n, maxLength: n }));
  fc.assert(fc.property(bytes, fc.nat(65535), (b, port) => {
    const address = ipFromBytes(b);
    assert.deepEqual(parseEndpoint(endpointText(address, port)), { address, port });
  }));
});

Deno.test("brackets may stand without a port", () => {
  assert.equal(parseEndpoint("[2001:db8::1]")?.address.text, "2001:db8::1");
  assert.equal(parseEndpoint("2001:db8::1:80")?.port, 0);
});

Deno.test("anything else is no endpoint", () => {
  const bad = [
    "",
    ":80",
    "10.0.0.1:",
    "10.0.0.1:0",
    "10.0.0.1:080",
    "10.0.0.1:65536",
    "[10.0.0.1]:80",
  ];
  bad.push("[::1", "::1]:80", "[::1]80", "[::1]:", "10.0.0.1:80:80", "host:80", "[fe80::1%lo]:80");
  for (const text of bad) assert.equal(parseEndpoint(text), undefined, text);
});
