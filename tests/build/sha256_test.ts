import assert from "node:assert/strict";
import { createHash } from "node:crypto";

const here = decodeURIComponent(new URL(".", import.meta.url).pathname);

Deno.test("launcher: both ways to compute SHA-256 agree with a third one", async () => {
  const directory = await Deno.makeTempDir({ prefix: "diaper-sha256-" });
  try {
    const program = `${directory}/sha256`;
    const compiled = await new Deno.Command("cc", {
      args: [
        ...["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"],
        ...["-o", program, `${here}sha256_test.c`, `${here}../../agent/launcher/sha256.c`],
      ],
    }).output();
    assert.ok(compiled.success, new TextDecoder().decode(compiled.stderr));

    const lengths = [...Array(260).keys(), 1000, 4095, 4096, 4097, 65_535, 1_000_003];
    const messages = lengths.map((length) =>
      Uint8Array.from({ length }, (_, i) => (i * 7 + length) % 251)
    );
    const child = new Deno.Command(program, { stdin: "piped", stdout: "piped" }).spawn();
    const output = child.output();
    const writer = child.stdin.getWriter();
    for (const message of messages) {
      const head = new Uint8Array(4);
      new DataView(head.buffer).setUint32(0, message.length, true);
      await writer.write(head);
      await writer.write(message);
    }
    await writer.close();
    const { code, stdout } = await output;
    assert.equal(code, 0);
    const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
    const expected = messages.flatMap((message) => {
      const digest = createHash("sha256").update(message).digest("hex");
      return [digest, digest];
    });
    assert.deepEqual(lines, expected);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
