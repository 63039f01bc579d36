import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import PostalMime from "postal-mime";
import { decodeBase64, decodeQuotedPrintable, decodeUu } from "../../../niapp/email/mime/decode.ts";
import { boundaries, filename } from "../../../niapp/email/mime/fields.ts";
import { DOUBT, MimeParser, type Part } from "../../../niapp/email/mime/parser.ts";
import { everyReading, read } from "../../../niapp/email/mime/readings.ts";
import { decodeWords } from "../../../niapp/email/mime/words.ts";
import { decodings, examine } from "../../../niapp/email/specimens.ts";
import { filesBelow, sharedTest } from "../../shared_data.ts";
import { bytes, latin1 } from "./dialogues.ts";

const LIMITS = { archiveFiles: 100, archiveBytes: 1 << 24, bytes: 1 << 26 };
/** ClamAV's test file, in the mails that are made to hide it. */
const CLAM_MD5 = "aa15bcf478d165efd2065190eb473bcb";

const md5 = (data: Uint8Array) => createHash("md5").update(data).digest("hex");

function firstDecoding(message: Uint8Array, part: Part): Uint8Array {
  return decodings(message, part).next().value as Uint8Array;
}

/** postal-mime adds a line break to what is not encoded. */
function withoutEnd(data: Uint8Array): Uint8Array {
  let end = data.length;
  while (end > 0 && (data[end - 1] === 10 || data[end - 1] === 13)) end--;
  return data.subarray(0, end);
}

/** Where Python's email package sees something else in the usual reading, and why. */
const EXPLAINED: Readonly<Record<string, string>> = {
  "stalwart/malformed/000.eml": "a delimiter within a header: Python drops a part without a body",
  "stalwart/malformed/006.eml": "cut off: Python takes the last line break away",
  "stalwart/malformed/008.eml": "cut off: Python takes the last line break away",
  "stalwart/malformed/012.eml": "cut off: Python takes the last line break away",
  "stalwart/malformed/016.eml": "cut off: Python takes the last line break away",
  "stalwart/thirdparty/002.eml":
    "base64 goes on behind its padding: Python stops; both are looked at",
  "stalwart/thirdparty/012.eml": "a folded boundary: Python keeps the line break in it",
  "mikel/mime_emails/raw_email4.eml": "no closing delimiter: Python takes the last line break away",
  "mikel/rfc2822/example13.eml":
    "blanks before colons: obsolete, but allowed; to Python they end the header",
  "mailparser/nested.eml": "a soft line break at the end of a body: Python keeps a line break",
};

sharedTest("the usual reading has the parts that Python's email has", "ni", (directory) => {
  const rows = Deno.readTextFileSync(`${directory}/PEER-python3.11-email.tsv`).trim().split("\n")
    .slice(1).map((line) => line.split("\t"));
  let compared = 0;
  for (const [mail = "", parts = []] of Map.groupBy(rows, ([name = ""]) => name)) {
    const message = Deno.readFileSync(`${directory}/${mail}`);
    const ours = read(message).parts.filter((part) => part.type !== "message/delivery-status")
      .map((part) => md5(firstDecoding(message, part)));
    // Python makes empty parts of the groups of a delivery status.
    const status = /delivery-status/.test(latin1(message));
    const theirs = parts.filter((row) => !status || row[5] !== "0").map((row) => row[6]);
    if (mail in EXPLAINED) continue;
    assert.deepEqual(ours, theirs, mail);
    compared++;
  }
  assert.ok(compared > 90, `${compared} mails`);
});

sharedTest("all of ClamAV's evasion mails are seen through", "ni/clamav", (directory) => {
  for (const { name } of Deno.readDirSync(directory)) {
    const message = Deno.readFileSync(`${directory}/${name}`);
    const found = examine(message, LIMITS).specimens.some((s) => md5(s.bytes) === CLAM_MD5);
    assert.equal(found, true, name);
  }
});

sharedTest(
  "every mail: attachments as postal-mime sees them are among ours",
  "ni",
  async (directory) => {
    const mails = ["clamav", "mikel", "mimekit/messages", "mailparser", "stalwart"].flatMap((
      folder,
    ) => filesBelow(`${directory}/${folder}`, [".eml", ".txt", ".mail"]));
    let attachments = 0;
    for (const path of mails) {
      const message = Deno.readFileSync(path);
      const ours = new Set(examine(message, LIMITS).specimens.map((s) => md5(withoutEnd(s.bytes))));
      const theirs = await new PostalMime().parse(message);
      for (const { content, mimeType, filename } of theirs.attachments) {
        const data = typeof content === "string" ? bytes(content) : new Uint8Array(content);
        // Text and messages are converted by postal-mime.
        if (/^(text|message)\//.test(mimeType)) continue;
        assert.ok(
          ours.has(md5(withoutEnd(data))),
          `${path}: ${filename} (${mimeType}, ${data.length} bytes)`,
        );
        attachments++;
      }
    }
    assert.ok(attachments > 10, `${attachments} attachments`);
  },
);

sharedTest("every mail in any pieces has the same structure", "ni", (directory) => {
  const mails = ["mikel", "stalwart", "clamav", "mailparser"].flatMap((folder) =>
    filesBelow(`${directory}/${folder}`, [".eml"])
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...mails),
      fc.integer({ min: 0, max: 255 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 90 })),
      (path, doubts, sizes) => {
        const message = Deno.readFileSync(path);
        const reading = { doubts, type: 0, boundary: 0 };
        const parser = new MimeParser(reading);
        for (let at = 0; at < message.length;) {
          const size = sizes.next().value as number;
          parser.take(message.slice(at, at + size));
          at += size;
        }
        parser.end();
        const whole = read(message, reading);
        assert.deepEqual(parser.parts, whole.parts);
        assert.equal(parser.doubts, whole.doubts);
      },
    ),
    { numRuns: 150 },
  );
});

Deno.test("hostile messages: nothing throws, parts lie within the message, in any pieces the same", () => {
  const words = [
    ...[
      "Content-Type: multipart/mixed; boundary=a\r\n",
      "Content-Type: message/rfc822\n",
      "\r\n",
      "\r",
      "\n",
    ],
    ...[
      "--a\r\n",
      "--a--\r\n",
      "--b\n",
      "--ax\r\n",
      "Content-Transfer-Encoding: base64\r\n",
      " folded\r\n",
    ],
    ...[
      'Content-Type(x): multipart/mixed; boundary=b; boundary="a;"\r\n',
      "junk\r\n",
      "begin 644 x\r\n",
    ],
    ...[
      "=ybegin line=128\r\n",
      "end\r\n",
      " \r\n",
      "X: y\r\n",
      "TVqQ\r\n",
      "=3D=\r\n",
      ":\r\n",
      "--\r\n",
    ],
  ];
  const piece = fc.oneof(fc.constantFrom(...words).map(bytes), fc.uint8Array({ maxLength: 20 }));
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 40 }),
      fc.integer({ min: 0, max: 255 }),
      (given, doubts) => {
        const message = Uint8Array.from(given.flatMap((data) => [...data]));
        const reading = { doubts, type: 1, boundary: 1 };
        const whole = read(message, reading);
        for (const part of whole.parts) {
          assert.ok(0 <= part.start && part.start <= part.bodyStart);
          assert.ok(part.bodyStart <= part.bodyEnd && part.bodyEnd <= message.length);
        }
        const parser = new MimeParser(reading);
        given.forEach((data) => parser.take(data));
        parser.end();
        assert.deepEqual(parser.parts, whole.parts);
        examine(message, LIMITS);
      },
    ),
    { numRuns: 600 },
  );
});

Deno.test("a message of nothing but doubts is given up within bounds", () => {
  const header = Array.from(
    { length: 40 },
    (_, i) => `Content-Type: multipart/mixed; boundary=b${i}`,
  );
  const message = bytes([...header, "", ...header.map((_, i) => `--b${i}\r\n\r\nx`)].join("\r\n"));
  const { all, tooMany } = everyReading(message);
  assert.equal(tooMany, true);
  assert.ok(all.length <= 48);
  assert.deepEqual(examine(message, LIMITS).sealed.map(({ why }) => why), ["too many readings"]);
});

const VIRUS = bytes(
  "this stands for a virus, and is long enough to be encoded in lines of its own",
);
const BODY = VIRUS.toBase64();
const finds = (message: string) =>
  examine(bytes(message), LIMITS).specimens.some((s) => latin1(s.bytes) === latin1(VIRUS));

/** Ways to hide an attachment from one reader and show it to another. */
const HIDDEN: Readonly<Record<string, string>> = {
  "two types":
    `Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--a--\r\n`,
  "two encodings":
    `Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n`,
  "an encoding of another name": `Content-Transfer-Encoding: x-base64\r\n\r\n${BODY}\r\n`,
  "an encoding with a comment": `Content-Transfer-Encoding: (x)base64(y)\r\n\r\n${BODY}\r\n`,
  "a blank before the colon": `Content-Transfer-Encoding : base64\r\n\r\n${BODY}\r\n`,
  "junk in the header": `X: y\r\njunk\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n`,
  "padding in the middle": `Content-Transfer-Encoding: base64\r\n\r\n${
    VIRUS.slice(0, 10).toBase64()
  }\r\n${VIRUS.slice(10).toBase64()}\r\n`,
  "junk in base64": `Content-Transfer-Encoding: base64\r\n\r\n${
    BODY.replace(/(.{10})/g, "$1!\r\n")
  }\r\n`,
  "a nested comment":
    `Content-Type: multipart/(a(b)c)mixed; boundary=a\r\n\r\n--a\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--a--\r\n`,
  "a boundary in pieces":
    `Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\r\n\r\n--ab\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--ab--\r\n`,
  "a boundary in words":
    `Content-Type: multipart/mixed; boundary="=?utf-8?q?ab?="\r\n\r\n--ab\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--ab--\r\n`,
  "no semicolon":
    `Content-Type: multipart/mixed boundary=a\r\n\r\n--a\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--a--\r\n`,
  "no boundary":
    `Content-Type: multipart/mixed\r\n\r\n--a\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--a--\r\n`,
  "a boundary that does not come":
    `Content-Type: multipart/mixed; boundary=zz\r\n\r\n--a\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--a--\r\n`,
  "text behind a delimiter":
    `Content-Type: multipart/mixed; boundary=a\r\n\r\n--a x\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--a--\r\n`,
  "behind the end":
    `Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n--a\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--a--\r\n`,
  "carriage returns alone": `X: y\rContent-Transfer-Encoding: base64\r\r${BODY}\r`,
  "an encoded multipart":
    `Content-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: base64\r\n\r\n${
      bytes(`--a\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--a--\r\n`).toBase64()
    }\r\n`,
  "an encoded message": `Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n${
    bytes(`Content-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n`).toBase64()
  }\r\n`,
  "quoted-printable": `Content-Transfer-Encoding: quoted-printable\r\n\r\n${
    Array.from(
      VIRUS,
      (b, i) => `=${b.toString(16).padStart(2, "0")}${i % 20 === 19 ? "=\r\n" : ""}`,
    ).join("")
  }`,
  "uuencode within text": `X: y\r\n\r\nsee below\r\n${uuencoded(VIRUS)}`,
  "a type that is none":
    `Content-Type: multipart; boundary=a\r\n\r\n--a\r\nContent-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n--a--\r\n`,
};

function uuencoded(data: Uint8Array): string {
  const letter = (value: number) =>
    String.fromCharCode((value & 63) === 0 ? 0x60 : (value & 63) + 0x20);
  const lines = [];
  for (let at = 0; at < data.length; at += 45) {
    const row = data.slice(at, at + 45);
    let line = letter(row.length);
    for (let i = 0; i < row.length; i += 3) {
      const [a = 0, b = 0, c = 0] = row.slice(i, i + 3);
      line += letter(a >> 2) + letter(a << 4 | b >> 4) + letter(b << 2 | c >> 6) + letter(c);
    }
    lines.push(line);
  }
  return `begin 644 file.exe\r\n${lines.join("\r\n")}\r\n\`\r\nend\r\n`;
}

for (const [way, message] of Object.entries(HIDDEN)) {
  Deno.test(`hidden by ${way}: found`, () => assert.equal(finds(message), true));
}

Deno.test("hidden parts within parts within parts: found", () => {
  let message = `Content-Transfer-Encoding: base64\r\n\r\n${BODY}\r\n`;
  for (let depth = 0; depth < 20; depth++) {
    message = depth % 2 === 0
      ? `Content-Type: message/rfc822\r\n\r\n${message}`
      : `Content-Type: multipart/mixed; boundary=b${depth}\r\n\r\n--b${depth}\r\n${message}\r\n--b${depth}--\r\n`;
  }
  assert.equal(finds(message), true);
});

Deno.test("what cannot be opened is told of", () => {
  const why = (message: string) => examine(bytes(message), LIMITS).sealed.map((s) => s.why);
  assert.deepEqual(why("X: y\r\n\r\n=ybegin line=128 size=3 name=x\r\nabc\r\n=yend\r\n"), ["yEnc"]);
  assert.deepEqual(why("Content-Type: message/partial; id=x; number=1\r\n\r\nX: y\r\n\r\nz"), [
    "a piece of a message",
  ]);
});

Deno.test("names of files: RFC 2231, RFC 2047, UTF-8, quoted", () => {
  const name = (header: string) =>
    filename(read(bytes(`${header}\r\n\r\n`)).parts[0]?.fields ?? []);
  const disposition = "Content-Disposition: attachment; filename";
  assert.equal(name(`${disposition}*=iso-8859-1''Gr%FC%DFe.exe`), "Grüße.exe");
  assert.equal(
    name(`${disposition}*0*=utf-8''%e2%82%ac;\r\n filename*1=.e;\r\n filename*2=xe`),
    "€.exe",
  );
  assert.equal(name(`${disposition}="=?utf-8?B?4oKsLmV4ZQ==?="`), "€.exe");
  assert.equal(name(`${disposition}="a \\"b\\".exe"`), 'a "b".exe');
  assert.equal(name("Content-Type: x/y; name=€.exe"), "€.exe");
  assert.equal(decodeWords("=?utf-8?Q?a?= =?utf-8?Q?b_c?= d"), "ab c d");
});

Deno.test("boundaries() has the standards' own first", () => {
  assert.deepEqual(boundaries("multipart/mixed; boundary=X; boundary=Y"), ["X", "Y"]);
  assert.equal(boundaries('multipart/mixed; boundary="X;"')[0], "X;");
  assert.ok(boundaries('multipart/mixed; boundary="X;"').includes("X"));
  assert.deepEqual(boundaries("text/plain"), []);
  assert.equal(DOUBT.BARE_CR, 32);
});

Deno.test("decoders: what was encoded comes back, whatever it is", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (data) => {
    const lines = data.toBase64().replace(/.{20}/g, "$&\r\n");
    assert.deepEqual(decodeBase64(bytes(lines)).bytes, data);
    const uu = bytes(uuencoded(data));
    if (data.length > 0) assert.deepEqual(decodeUu(uu, 0, uu.length)?.bytes, data);
    const quoted = Array.from(
      data,
      (byte) => `=${byte.toString(16).padStart(2, "0").toUpperCase()}`,
    );
    assert.deepEqual(decodeQuotedPrintable(bytes(quoted.join("=\r\n"))).bytes, data);
  }));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (data) => {
    decodeBase64(data);
    decodeQuotedPrintable(data);
    decodeUu(data, 0, data.length);
  }));
});
