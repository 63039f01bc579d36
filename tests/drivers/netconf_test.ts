/**
 * NETCONF framing and XML: captured talks, broken ones, and pieces of any size.
 */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import { encodeNetconf, NetconfDecoder } from "../../drivers/transport/netconf_framing.ts";
import { elements, parseXml, textOf } from "../../drivers/transport/xml.ts";
import { filesBelow, sharedTest } from "../shared_data.ts";

sharedTest("netconf: captured talks are taken apart", "drivers/netconf", (directory) => {
  const read = (file: string) => Deno.readFileSync(`${directory}/${file}`);
  const bytes = (text: string) => new TextEncoder().encode(text);
  const marked = new NetconfDecoder(1 << 20);
  const [hello] = marked.write(read("scrapligo_open-simple.txt"));
  const capabilities = elements(parseXml(hello as string), "capability");
  assert.equal(capabilities.length, 14);
  assert.equal(capabilities[1]?.text, "urn:ietf:params:netconf:base:1.1");
  const talk = new TextDecoder().decode(read("scrapligo_lock-unlock-simple.txt"));
  const chunked = new NetconfDecoder(1 << 20);
  chunked.chunked = true;
  const replies = chunked.write(bytes(`${talk.slice(talk.lastIndexOf("]]>]]>") + 6)}\n`));
  assert.deepEqual(
    replies.map((reply) => parseXml(reply).name),
    ["rpc", "rpc", "rpc-reply", "rpc", "rpc-reply"],
  );
  const errors = parseXml(new TextDecoder().decode(read("scrapligo_netconf-output-10-errors.txt")));
  assert.deepEqual(
    elements(errors, "rpc-error").map((e) => textOf(e, "error-severity")),
    ["error", "error", "warning"],
  );
  assert.equal(
    parseXml(new TextDecoder().decode(read("junos_lock_reply.txt"))).children[0]?.name,
    "ok",
  );
});

sharedTest(
  "netconf: no captured file, cut anywhere, makes it throw anything but SyntaxError",
  "drivers/netconf",
  (directory) => {
    for (const file of filesBelow(directory, [".txt"])) {
      const all = Deno.readFileSync(file);
      for (const chunked of [false, true]) {
        for (let at = 0; at < all.length; at += 97) {
          const decoder = new NetconfDecoder(1 << 20);
          decoder.chunked = chunked;
          try {
            for (const message of decoder.write(all.subarray(at))) parseXml(message);
          } catch (error) {
            assert.ok(error instanceof SyntaxError, String(error));
          }
        }
      }
    }
  },
);

Deno.test("netconf: what is framed comes out whole, in pieces of any size", () => {
  const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 200 })
    .filter((t) => !t.includes("]]>]]>"));
  fc.assert(fc.property(
    fc.array(text, { minLength: 1, maxLength: 5 }),
    fc.integer({ min: 1, max: 50 }),
    (messages, size) => {
      const decoder = new NetconfDecoder(1 << 20);
      decoder.chunked = true;
      const bytes = messages.flatMap((m) => [...encodeNetconf(m, true)]);
      const out: string[] = [];
      for (let at = 0; at < bytes.length; at += size) {
        out.push(...decoder.write(Uint8Array.from(bytes.slice(at, at + size))));
      }
      assert.deepEqual(out, messages);
    },
  ));
});

Deno.test("netconf: broken frames and too large messages are errors, not waits", () => {
  for (
    const bad of ["\n#0\nx", "\n#-1\n", "\n#99999999999\n", "\nhello", "\n#12345678901234567890"]
  ) {
    const decoder = new NetconfDecoder(1 << 20);
    decoder.chunked = true;
    assert.throws(() => decoder.write(new TextEncoder().encode(bad)), SyntaxError, bad);
  }
  const endless = new NetconfDecoder(10_000);
  assert.throws(() => endless.write(new Uint8Array(20_000).fill(65)), /larger than/);
});

Deno.test("xml: document types, entities, depth and half documents are errors", () => {
  for (
    const bad of [
      '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
      "<a>&b;</a>",
      "<a>".repeat(100) + "</a>".repeat(100),
      "<a><b></a>",
      "<a",
      "",
      "no xml",
    ]
  ) assert.throws(() => parseXml(bad), SyntaxError, bad);
  assert.equal(textOf(parseXml("<x:a><y:b> 1 &lt; 2 </y:b></x:a>"), "b"), "1 < 2");
});
