import assert from "node:assert/strict";
import fc from "fast-check";
import { linesBackward, LineScanner, LONGEST_LINE } from "../../lib/cli/line_scanner.ts";

/** A file with this text, open for reading. */
class TextFile implements Disposable {
  readonly path = Deno.makeTempFileSync({ prefix: "diaper-lines-" });
  readonly file: Deno.FsFile;

  constructor(text: string) {
    Deno.writeTextFileSync(this.path, text);
    this.file = Deno.openSync(this.path);
  }

  append(text: string): void {
    Deno.writeTextFileSync(this.path, text, { append: true });
  }

  [Symbol.dispose](): void {
    this.file.close();
    Deno.removeSync(this.path);
  }
}

const texts = (lines: Iterable<{ text: string | undefined }>) => [...lines].map((l) => l.text);

Deno.test("line scanner: forwards and backwards give the same lines and places", () => {
  const line = fc.string({ unit: "grapheme", maxLength: 40 }).map((t) => t.replaceAll("\n", " "));
  const long = fc.nat(150_000).map((n) => "é".repeat(n / 2));
  const lines = fc.array(fc.oneof({ weight: 9, arbitrary: line }, { weight: 1, arbitrary: long }));
  fc.assert(
    fc.property(lines, line, (all, torn) => {
      const text = all.map((l) => l + "\n").join("") + torn;
      using file = new TextFile(text);
      const forward = [...new LineScanner(file.file).lines()];
      assert.deepEqual(texts(forward), all);
      const bytes = new TextEncoder().encode(text);
      for (const { text: found = "", offset } of forward) {
        const length = new TextEncoder().encode(found).length;
        assert.equal(
          new TextDecoder("utf-8", { ignoreBOM: true }).decode(
            bytes.subarray(offset, offset + length),
          ),
          found,
        );
      }
      assert.deepEqual([...linesBackward(file.file)].reverse(), forward);
    }),
    { numRuns: 60 },
  );
});

Deno.test("line scanner: gives a line when its end has come", () => {
  using file = new TextFile("one\ntw");
  const scanner = new LineScanner(file.file);
  assert.deepEqual(texts(scanner.lines()), ["one"]);
  assert.equal(scanner.unfinished, true);
  file.append("o\nthree\n");
  assert.deepEqual([...scanner.lines()], [{ text: "two", offset: 4 }, {
    text: "three",
    offset: 8,
  }]);
  assert.equal(scanner.unfinished, false);
  assert.deepEqual(texts(scanner.lines()), []);
});

Deno.test("line scanner: a file that was emptied begins anew", () => {
  using file = new TextFile("old old old\ntorn");
  const scanner = new LineScanner(file.file);
  assert.deepEqual(texts(scanner.lines()), ["old old old"]);
  Deno.writeTextFileSync(file.path, "new\n");
  assert.deepEqual([...scanner.lines()], [{ text: "new", offset: 0 }]);
});

Deno.test("line scanner: a line that is too long is passed over in bounded memory", () => {
  const long = "x".repeat(LONGEST_LINE * 3);
  using file = new TextFile(`a\n${long}\nb\n${"y".repeat(LONGEST_LINE)}\n`);
  const expected = ["a", undefined, "b", "y".repeat(LONGEST_LINE)];
  assert.deepEqual(texts(new LineScanner(file.file).lines()), expected);
  assert.deepEqual(texts(linesBackward(file.file)), expected.toReversed());
});
