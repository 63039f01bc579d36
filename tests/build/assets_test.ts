import assert from "node:assert/strict";
import { agentLibrary, agentLibraryPath, AssetError, placeFile } from "../../lib/sys/assets.ts";

const ignore = Deno.uid() !== 0;
const CONTENT = new TextEncoder().encode("a file that programs load\n");

const NAME = "diaper-assets-test";

/** A directory below which all is this user's: not /tmp, which is nobody's. */
async function withPlace(fn: (place: string) => void): Promise<void> {
  const place = `/var/cache/${NAME}`;
  for (const entry of Deno.readDirSync("/var/cache")) { // of a run that was ended
    if (entry.name === NAME) await Deno.remove(place, { recursive: true });
  }
  await Deno.mkdir(place, { mode: 0o755 });
  try {
    fn(place);
  } finally {
    await Deno.remove(place, { recursive: true });
  }
}

Deno.test("assets: the agent is an ELF shared object, as built", () => {
  const library = agentLibrary();
  assert.deepEqual([...library.subarray(0, 4)], [0x7f, 0x45, 0x4c, 0x46]);
  assert.equal(library[16], 3, "ET_DYN");
  assert.deepEqual(Deno.readFileSync(agentLibraryPath()), library);
});

Deno.test({
  name: "assets: a placed file is readable by all, written once (needs root)",
  ignore,
  fn: () =>
    withPlace((place) => {
      const path = placeFile(`${place}/a/b`, "lib.so", CONTENT);
      assert.equal(path, `${place}/a/b/lib.so`);
      const first = Deno.statSync(path);
      assert.equal((first.mode ?? 0) & 0o7777, 0o644);
      assert.deepEqual(Deno.readFileSync(path), CONTENT);
      placeFile(`${place}/a/b`, "lib.so", CONTENT);
      assert.equal(Deno.statSync(path).ino, first.ino);
      assert.deepEqual([...Deno.readDirSync(`${place}/a/b`)].map((e) => e.name), ["lib.so"]);
    }),
});

Deno.test({
  name: "assets: a file that was changed is replaced (needs root)",
  ignore,
  fn: () =>
    withPlace((place) => {
      const path = placeFile(place, "lib.so", CONTENT);
      const changes: (() => void)[] = [
        () => Deno.writeTextFileSync(path, "A file that programs load\n"),
        () => Deno.writeTextFileSync(path, ""),
        () => Deno.chmodSync(path, 0o666),
        () => Deno.chmodSync(path, 0o4644),
        () => Deno.chownSync(path, 54321, 54321),
        () => Deno.linkSync(path, `${place}/second-${crypto.randomUUID()}`),
        () => {
          Deno.renameSync(path, `${place}/moved`);
          Deno.symlinkSync(`${place}/moved`, path);
        },
      ];
      for (const change of changes) {
        change();
        placeFile(place, "lib.so", CONTENT);
        const info = Deno.lstatSync(path);
        assert.deepEqual(
          [info.isFile, info.uid, info.nlink, (info.mode ?? 0) & 0o7777],
          [true, 0, 1, 0o644],
          String(change),
        );
        assert.deepEqual(Deno.readFileSync(path), CONTENT);
      }
    }),
});

Deno.test({
  name: "assets: a directory that others can change is refused (needs root)",
  ignore,
  fn: () =>
    withPlace((place) => {
      const unsafe: ((directory: string) => void)[] = [
        (directory) => Deno.chownSync(directory, 54321, 54321),
        (directory) => Deno.chmodSync(directory, 0o775),
        (directory) => Deno.chmodSync(directory, 0o1777),
        (directory) => {
          Deno.renameSync(directory, `${directory}-real`);
          Deno.symlinkSync(`${directory}-real`, directory);
        },
      ];
      for (const [i, make] of unsafe.entries()) {
        const directory = `${place}/${i}`;
        Deno.mkdirSync(directory);
        make(directory);
        for (const target of [directory, `${directory}/below`]) {
          assert.throws(() => placeFile(target, "lib.so", CONTENT), (error) => {
            assert.ok(error instanceof AssetError);
            assert.match(error.next, /only you can write/);
            return true;
          });
        }
        assert.deepEqual([...Deno.readDirSync(directory)], []);
      }
    }),
});
