import assert from "node:assert/strict";
import fc from "fast-check";
import { gzipSync, zipSync } from "fflate";
import { openArchive } from "../../../niapp/email/archive.ts";
import { openTnef } from "../../../niapp/email/tnef.ts";
import { examine } from "../../../niapp/email/specimens.ts";
import { sharedTest } from "../../shared_data.ts";
import { bytes, latin1, mail, MALICIOUS } from "./dialogues.ts";

const LIMITS = { files: 10, bytes: 1 << 20 };
const contents = (data: Uint8Array) =>
  openArchive(data, LIMITS)?.files.map((file) => [file.name, latin1(file.bytes)]);

function tar(files: readonly (readonly [name: string, data: Uint8Array])[]): Uint8Array {
  const out: number[] = [];
  for (const [name, data] of files) {
    const header = new Uint8Array(512);
    header.set(bytes(name));
    header.set(bytes(data.length.toString(8).padStart(11, "0")), 124);
    header.set(bytes("0"), 156);
    header.set(bytes("ustar"), 257);
    out.push(...header, ...data, ...new Uint8Array((512 - data.length % 512) % 512));
  }
  return Uint8Array.from([...out, ...new Uint8Array(1024)]);
}

Deno.test("zip, gzip, tar and tar within gzip are opened", () => {
  const files = { "a.txt": bytes("first"), "b.bin": MALICIOUS };
  const expected = [["a.txt", "first"], ["b.bin", latin1(MALICIOUS)]];
  assert.deepEqual(contents(zipSync(files)), expected);
  assert.deepEqual(contents(zipSync(files, { level: 0 })), expected);
  assert.deepEqual(contents(gzipSync(MALICIOUS, { filename: "x.com" })), [[
    "x.com",
    expected[1]?.[1],
  ]]);
  const packed = tar(Object.entries(files));
  assert.deepEqual(contents(packed), expected);
  assert.deepEqual(contents(gzipSync(packed))?.slice(1), expected);
  assert.equal(openArchive(bytes("nothing of the kind"), LIMITS), undefined);
});

sharedTest("ClamAV's zip", "ni/clamav", (directory) => {
  const found = openArchive(Deno.readFileSync(`${directory}/clam.zip`), LIMITS);
  assert.deepEqual(found?.files.map(({ name, bytes }) => [name, bytes.length]), [[
    "clam.exe",
    544,
  ]]);
});

Deno.test("a zip whose directory does not tell of a file, or that is cut off, is opened all the same", () => {
  const zip = zipSync({ "a.bin": MALICIOUS, "b.txt": bytes("second") });
  const without = zip.slice(0, zip.length - 60);
  assert.ok(contents(without)?.some(([, text]) => text === latin1(MALICIOUS)));
  const hidden = Uint8Array.from([
    ...zipSync({ "x.bin": MALICIOUS }),
    ...zipSync({ "y.txt": bytes("y") }),
  ]);
  assert.ok(contents(hidden)?.some(([, text]) => text === latin1(MALICIOUS)));
});

Deno.test("bombs are stopped at the limit, whatever they say of themselves", () => {
  const bomb = zipSync({ "zeros": new Uint8Array(4 << 20) });
  const opened = openArchive(bomb, LIMITS);
  assert.equal(opened?.sealed, "too large");
  assert.ok((opened?.files[0]?.bytes.length ?? 0) <= LIMITS.bytes);
  assert.equal(openArchive(gzipSync(new Uint8Array(4 << 20)), LIMITS)?.sealed, "too large");
  const many = zipSync(
    Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`${i}`, bytes("x")])),
  );
  assert.equal(openArchive(many, LIMITS)?.sealed, "too large");
});

Deno.test("an encrypted archive is told of", () => {
  const zip = zipSync({ "a.txt": bytes("secret") });
  const at = latin1(zip).indexOf("PK\x01\x02");
  zip[6] = (zip[6] as number) | 1;
  zip[at + 8] = (zip[at + 8] as number) | 1;
  assert.equal(openArchive(zip, LIMITS)?.sealed, "encrypted");
});

Deno.test("damaged archives never throw", () => {
  const zip = zipSync({ "a.bin": MALICIOUS, "b.txt": bytes("b".repeat(500)) });
  const whole = [zip, gzipSync(MALICIOUS), tar([["a", MALICIOUS]])];
  fc.assert(
    fc.property(
      fc.constantFrom(...whole),
      fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { maxLength: 8 }),
      fc.nat(2000),
      (data, changes, length) => {
        const copy = data.slice(0, length);
        for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
        openArchive(copy, LIMITS);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("a file within an archive within a message", () => {
  const zip = zipSync({ "folder/invoice.com": MALICIOUS });
  const limits = { archiveFiles: 10, archiveBytes: 1 << 20, bytes: 1 << 24 };
  const { specimens } = examine(bytes(mail(zip, "invoice.zip")), limits);
  assert.ok(specimens.some((s) => s.name === "invoice.zip/folder/invoice.com"));
});

/** A winmail.dat as Outlook writes it, of attributes. */
function tnef(attributes: readonly (readonly [id: number, data: Uint8Array])[]): Uint8Array {
  const out = [0x78, 0x9f, 0x3e, 0x22, 1, 0];
  for (const [id, data] of attributes) {
    const head = new Uint8Array(9);
    head[0] = 2;
    new DataView(head.buffer).setUint32(1, id, true);
    new DataView(head.buffer).setUint32(5, data.length, true);
    out.push(...head, ...data, 0, 0);
  }
  return Uint8Array.from(out);
}

Deno.test("attachments of a winmail.dat", () => {
  const data = tnef([
    [0x00069002, new Uint8Array(14)],
    [0x0006800f, MALICIOUS],
    [0x00018010, bytes("virus.com\0")],
    [0x00069002, new Uint8Array(14)],
    [0x0006800f, bytes("second")],
    [0x00018010, bytes("b.txt\0")],
  ]);
  assert.deepEqual(openTnef(data)?.map(({ name, bytes }) => [name, latin1(bytes)]), [
    ["virus.com", latin1(MALICIOUS)],
    ["b.txt", "second"],
  ]);
  const limits = { archiveFiles: 10, archiveBytes: 1 << 20, bytes: 1 << 24 };
  const { specimens } = examine(bytes(mail(data, "winmail.dat")), limits);
  assert.ok(specimens.some((s) => s.name === "winmail.dat/virus.com"));
  fc.assert(fc.property(fc.nat(200), (length) => openTnef(data.slice(0, length)) !== null));
});
