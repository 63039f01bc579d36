import assert from "node:assert/strict";
import fc from "fast-check";
import { HttpScanner } from "../../../niapp/http/scanner.ts";
import { readings } from "../../../niapp/http/target.ts";
import { sharedTest } from "../../shared_data.ts";
import { bytes, latin1 } from "../email/dialogues.ts";
import { connect, fakeNi, type FakeStream } from "../email/fake_stream.ts";

function send(text: string, options: Readonly<Record<string, unknown>> = {}): FakeStream {
  const stream = connect(new HttpScanner(), 80, fakeNi(options));
  stream.send(true, bytes(text));
  return stream;
}

const GET = "GET /index.html HTTP/1.1\r\nHost: www.example.org\r\n\r\n";

Deno.test("ordinary requests pass byte for byte, bodies and pipelines too", () => {
  const text = [
    GET,
    "POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\n\r\nGET /scripts/root.exe?/c+dir HTTP/1.0",
    "PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "\r\n",
    GET,
  ].join("");
  const stream = send(text);
  assert.equal(latin1(stream.received(true)), text);
  assert.deepEqual(stream.signatures, []);
});

sharedTest(
  "request lines of Code Red and Nimda end the connection before the server",
  "ni/text",
  (directory) => {
    for (const file of ["codered1.txt", "nimda.txt"]) {
      const lines = Deno.readTextFileSync(`${directory}/${file}`).trim().split("\n");
      for (const line of lines) {
        const stream = send(`${line.trim()}\r\nHost: www\r\nConnection: close\r\n\r\n`);
        assert.equal(stream.killed, true, line);
        assert.equal(stream.received(true).length, 0);
        assert.match(stream.signatures[0] ?? "", /^(Code Red|Nimda)/);
        const second = send(`${GET}${line.trim()}\r\n\r\n`);
        assert.equal(latin1(second.received(true)), GET);
      }
    }
  },
);

Deno.test("what is too long ends the connection before it is whole", () => {
  assert.deepEqual(send(`GET /${"a".repeat(9000)}`).signatures, ["request line is too long"]);
  assert.deepEqual(send(`GET / HTTP/1.1\r\nX: ${"a".repeat(17_000)}`).signatures, [
    "header field is too long",
  ]);
  const many = "X: y\r\n".repeat(30_000);
  assert.deepEqual(send(`GET / HTTP/1.1\r\n${many}`).signatures, ["head of a request is too long"]);
  assert.equal(send(`GET /${"a".repeat(9000)}`).killed, true);
});

Deno.test("a request that others may end elsewhere ends the connection", () => {
  for (
    const headers of [
      "Content-Length: 5\r\nTransfer-Encoding: chunked",
      "Content-Length: 5\r\nContent-Length: 6",
      "Content-Length: +5",
      "Transfer-Encoding: chunked, identity",
    ]
  ) {
    assert.deepEqual(send(`POST / HTTP/1.1\r\n${headers}\r\n\r\n`).signatures, [
      "request with two ends",
    ]);
  }
});

Deno.test("an upgrade counts when the server agrees", () => {
  const upgrade = "GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
  const attack = "GET /scripts/root.exe?/c+dir HTTP/1.0\r\n\r\n";
  const agreed = send(upgrade);
  agreed.send(false, bytes("HTTP/1.1 101 Switching Protocols\r\n\r\n"));
  assert.equal(agreed.released, true);
  const refused = send(upgrade + attack);
  assert.equal(latin1(refused.received(true)), upgrade);
  refused.send(false, bytes("HTTP/1.1 200 OK\r\n\r\n"));
  assert.equal(refused.killed, true);
});

Deno.test("what is no HTTP follows the administrator's choice", () => {
  assert.equal(send("\x16\x03\x01").released, true);
  assert.equal(send("\x16\x03\x01", { other: "kill" }).killed, true);
});

Deno.test("rules of the administrator's", () => {
  const rules = [
    { name: "no admin", target: "^/admin" },
    { name: "shellshock", header_matches: "\\(\\)\\s*\\{" },
    { name: "long cookie", header: "cookie", header_longer: 20 },
    { name: "no TRACE", method: "TRACE" },
  ];
  const first = (text: string) => send(text, { rules }).signatures[0];
  assert.equal(first("GET /ad%6din HTTP/1.0\r\n\r\n"), "no admin");
  assert.equal(first("GET / HTTP/1.0\r\nUser-Agent: () { :;}; id\r\n\r\n"), "shellshock");
  assert.equal(first(`GET / HTTP/1.0\r\nCookie: ${"x".repeat(21)}\r\n\r\n`), "long cookie");
  assert.equal(first("TRACE / HTTP/1.0\r\n\r\n"), "no TRACE");
  assert.equal(first(GET), undefined);
  assert.throws(
    () => send(GET, { rules: [{ name: "x", target: "(" }] }),
    /rule 8: Invalid regular/,
  );
  assert.throws(() => send(GET, { rules: [{ name: "x" }] }), /says nothing about a request/);
  assert.throws(() => send(GET, { rules: [{ name: "x", path: "y" }] }), /path is not known/);
});

Deno.test("readings of a target", () => {
  assert.ok(readings("/scripts/..%c0%af../winnt").includes("/scripts/../../winnt"));
  assert.ok(readings("/a%25%35%63b").includes("/a\\b"));
  assert.ok(readings("/%u0063md.exe").includes("/cmd.exe"));
});

Deno.test("any pieces and any garbage: the same, and no throw", () => {
  const words = [
    "GET / HTTP/1.1\r\n",
    "\r\n",
    "Content-Length: 3\r\n",
    "abc",
    "\n",
    "Transfer-Encoding: chunked\r\n",
  ];
  const piece = fc.oneof(
    fc.constantFrom(...words, "3\r\n", "0\r\n").map(bytes),
    fc.uint8Array({ maxLength: 9 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const whole = connect(new HttpScanner(), 80, fakeNi({}));
      const all = Uint8Array.from(pieces.flatMap((data) => [...data]));
      whole.send(true, all);
      const one = connect(new HttpScanner(), 80, fakeNi({}));
      for (const byte of all) one.send(true, Uint8Array.of(byte));
      assert.deepEqual(one.signatures, whole.signatures);
      assert.equal(one.killed, whole.killed);
      // What had gone on before a connection is ended depends on the pieces.
      if (one.released || one.killed) return;
      assert.deepEqual(one.received(true), whole.received(true));
    }),
    { numRuns: 400 },
  );
});
