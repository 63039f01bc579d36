import assert from "node:assert/strict";
import fc from "fast-check";
import {
  LONGEST_LINE,
  parseBrokerMessage,
  parseControllerMessage,
  parseSessionLine,
} from "../../lib/broker/remote_protocol.ts";

const ID = "0f0e0d0c-0b0a-4908-8706-050403020100";
const TRAFFIC = {
  ...{ proto: "tcp", source: "198.51.100.7", source_port: 0 },
  ...{ destination: "192.0.2.1", destination_port: 21 },
};
const OWNER = { user: "root", uid: 0, pid: 7, program: "/bin/x", cookie: "9" };

/** What a controller says, whole. */
const FROM_CONTROLLER: readonly Record<string, unknown>[] = [
  { op: "welcome", version: 1, delegate: "host1", controller: ID, lease: 60 },
  { op: "standby", why: "another leads" },
  { op: "verdict", key: `${ID}.1`, kind: "open", id: 1, why: "site.policy:1" },
  { op: "waiting", key: `${ID}.1`, position: 3 },
  { op: "closed", key: `${ID}.1`, reason: "expired" },
  { op: "pinhole", key: `${ID}.1`, id: 4, ...TRAFFIC, ...OWNER },
  { op: "listed", count: 1 },
  { op: "pong", n: 5 },
  { op: "error", why: "no" },
];

Deno.test("parseControllerMessage() takes what a controller says, and nothing with a thing wrong in it", () => {
  for (const message of FROM_CONTROLLER) {
    assert.deepEqual(parseControllerMessage(JSON.stringify(message)), message);
    const refused = (m: unknown, what: string) =>
      assert.equal(typeof parseControllerMessage(JSON.stringify(m)), "string", what);
    for (const field of Object.keys(message)) {
      const { [field]: _, ...rest } = message;
      refused(rest, `${message["op"]} without ${field}`);
      for (const value of [null, {}, [], true, -1.5, "x".repeat(2000)]) {
        refused({ ...message, [field]: value }, `${message["op"]} with ${field} ${value}`);
      }
    }
    refused({ ...message, more: 1 }, "a field too many");
    refused([message], "in a list");
  }
});

Deno.test("parsers of the remote protocol survive any line, and say why they refuse it", () => {
  const text = fc.oneof(
    fc.json(),
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.integer({ min: 1, max: LONGEST_LINE }).map((n) => "[".repeat(n)),
    fc.integer({ min: LONGEST_LINE + 1, max: 2 * LONGEST_LINE }).map((n) => `"${"x".repeat(n)}"`),
  );
  fc.assert(
    fc.property(text, (line) => {
      for (const parse of [parseBrokerMessage, parseControllerMessage, parseSessionLine]) {
        const result = parse(line);
        assert.equal(typeof result, "string");
        assert.ok((result as string).length > 0 && (result as string).length <= 256);
      }
    }),
    { seed: 11, numRuns: 200 },
  );
});
