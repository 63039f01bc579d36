import assert from "node:assert/strict";
import fc from "fast-check";
import { commandPort, ControlLines, endsTransfer, replyPort } from "../../lib/net/ftp_control.ts";

const text = (found: ReturnType<typeof commandPort>) =>
  found === undefined ? undefined : `${found.address?.text ?? "-"} ${found.port}`;

Deno.test("ftp: what names a data port, and what does not", () => {
  const commands: [string, string | undefined][] = [
    ["PORT 192,0,2,1,19,136", "192.0.2.1 5000"],
    ["port 192,0,2,1,0,1", "192.0.2.1 1"],
    ["EPRT |1|192.0.2.1|5000|", "192.0.2.1 5000"],
    ["EPRT |2|2001:db8::1|65535|", "2001:db8::1 65535"],
    ["EPRT #2#2001:DB8:0::1#5000#", "2001:db8::1 5000"],
    ["PORT 192,0,2,1,0,0", undefined],
    ["PORT 192,0,2,256,1,1", undefined],
    ["PORT 192,0,2,1,1", undefined],
    ["PORT 192,0,2,1,1,1,1", undefined],
    ["EPRT |1|2001:db8::1|5000|", undefined],
    ["EPRT |3|192.0.2.1|5000|", undefined],
    ["EPRT |1|192.0.2.1|65536|", undefined],
    ["EPRT |1|192.0.2.1|x|", undefined],
    ["EPRT", undefined],
    ["STOR PORT 192,0,2,1,1,1", undefined],
  ];
  for (const [line, wanted] of commands) assert.equal(text(commandPort(line)), wanted, line);
  const replies: [string, string | undefined][] = [
    ["227 Entering Passive Mode (192,0,2,1,19,136)", "192.0.2.1 5000"],
    ["227 Entering Passive Mode. 192,0,2,1,19,136", "192.0.2.1 5000"],
    ["227 =192,0,2,1,19,136", "192.0.2.1 5000"],
    ["229 Entering Extended Passive Mode (|||5000|)", "- 5000"],
    ["229 ok (!!!5000!)", "- 5000"],
    ["229 (|||0|)", undefined],
    ["229 (|||70000|)", undefined],
    ["229 (||!5000|)", undefined],
    ["227 no", undefined],
    ["220 (192,0,2,1,19,136)", undefined],
    ["22", undefined],
  ];
  for (const [line, wanted] of replies) assert.equal(text(replyPort(line)), wanted, line);
  assert.deepEqual(
    ["226 ok", "425 no", "550 no", "227 (1,2,3,4,5,6)", "150 ok", "2260"].map(endsTransfer),
    [true, true, true, false, false, false],
  );
});

Deno.test("ftp: nothing that anybody sends is thrown at", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (line) => {
    for (const prefix of ["", "PORT ", "EPRT ", "227 ", "229 "]) {
      commandPort(prefix + line);
      replyPort(prefix + line);
      endsTransfer(prefix + line);
    }
  }));
});

Deno.test("ftp: lines are the same however they are cut and repeated, and sequence numbers wrap", () => {
  const line = fc.string({ unit: "grapheme-ascii", maxLength: 30 });
  fc.assert(
    fc.property(
      fc.array(line, { maxLength: 20 }),
      fc.array(fc.tuple(fc.nat(12), fc.nat(8)), { minLength: 5, maxLength: 200 }),
      fc.nat(0xffffffff),
      (lines, cuts, first) => {
        const bytes = new TextEncoder().encode(lines.map((l) => `${l}\r\n`).join(""));
        const reader = new ControlLines();
        const found: string[] = [];
        let at = 0;
        for (const [length, back] of [...cuts, [bytes.length, 0] as const]) {
          // Each segment may begin with some bytes of the one before.
          const from = Math.max(0, at - back);
          const end = Math.min(bytes.length, at + length);
          found.push(...reader.push((first + from) >>> 0, bytes.subarray(from, end)));
          at = end;
        }
        assert.deepEqual(found, lines);
      },
    ),
  );
});

Deno.test("ftp: a lost segment loses its lines only, and a line without end does not grow", () => {
  const reader = new ControlLines();
  const bytes = (s: string) => new TextEncoder().encode(s);
  assert.deepEqual(reader.push(0, bytes("PASV\r\nPO")), ["PASV"]);
  assert.deepEqual(reader.push(20, bytes("ST\r\nEPSV\r\n")), ["ST", "EPSV"]);
  const long = new Uint8Array(60_000).fill(65);
  for (let i = 0; i < 50; i++) assert.deepEqual(reader.push(30 + i * 60_000, long), []);
  const [line] = reader.push(30 + 50 * 60_000, bytes("\n"));
  assert.ok((line?.length ?? 0) <= 4096);
});
