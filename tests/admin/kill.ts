/**
 * kill -9 of console and NI while alerts stream: none lost, none twice. Used by the test (few) and by
 * scripts/kill_console (many).
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { SqliteStore } from "../../lib/admin/sqlite_store.ts";
import { newKeyPair } from "../../lib/sys/ssh.ts";

const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));
const NI = fileURLToPath(new URL("programs/ni.ts", import.meta.url));

/** What a run came to. */
export interface KillResult {
  readonly alerts: number;
  readonly kills: { readonly console: number; readonly ni: number };
  readonly eveLines: number;
}

/**
 * Runs one stream.
 *
 * @param alerts how many.
 * @param kills how often one of the two is killed, at moments spread over the stream.
 */
export async function killDuringStream(alerts: number, kills: number): Promise<KillResult> {
  const directory = Deno.makeTempDirSync({ prefix: "diaper-kill-" });
  const [consoleKey, niKey] = [newKeyPair("console"), newKeyPair("ni")];
  const port = freePort();
  Deno.writeTextFileSync(`${directory}/console_key`, consoleKey.privateKey, { mode: 0o600 });
  Deno.writeTextFileSync(`${directory}/ni_key`, niKey.privateKey, { mode: 0o600 });
  Deno.writeTextFileSync(`${directory}/peers`, `ni1 ssh-ed25519 ${niKey.publicKey}\n`);
  Deno.writeTextFileSync(
    `${directory}/console.yaml`,
    [
      `listen: ["127.0.0.1:${port}"]`,
      `key: ${directory}/console_key`,
      `peers: ${directory}/peers`,
      `run_dir: ${directory}`,
      `state_dir: ${directory}/state`,
      "control_group: root",
      "alerts_per_second: 1000000",
      "web: { listen: off }",
      `eve: { file: ${directory}/eve.json }`,
      "",
    ].join("\n"),
  );
  const start = (args: string[], stderr: "null" | "piped" = "null") =>
    new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-check", "--allow-all", ...args],
      stdout: "null",
      stderr,
    }).spawn();
  let failure: string | undefined;
  const ends: Promise<void>[] = [];
  const startConsole = () => {
    const child = start([MAIN, "console", "--config", `${directory}/console.yaml`], "piped");
    ends.push(
      new Response(child.stderr).text().then(async (messages) => {
        const { success, signal } = await child.status;
        if (!success && signal === null) failure = `the console ended by itself: ${messages}`;
      }),
    );
    return child;
  };
  const startNi = () =>
    start([
      ...[NI, `${directory}/spool`, `${directory}/ni_key`, consoleKey.publicKey],
      ...[String(port), String(alerts)],
    ]);
  const count = { console: 0, ni: 0 };
  let console = startConsole();
  let ni = startNi();
  try {
    for (let n = 0; n < kills; n++) {
      // The moment is where the stream is, told by the file that grows at its end.
      const target = Math.floor(alerts * (n + 1) / (kills + 2));
      await lines(`${directory}/eve.json`, target, () => failure);
      if (n % 2 === 0) {
        console.kill("SIGKILL");
        await console.status;
        console = startConsole();
        count.console++;
      } else {
        ni.kill("SIGKILL");
        await ni.status;
        ni = startNi();
        count.ni++;
      }
    }
    await lines(`${directory}/eve.json`, alerts, () => failure);
    await ni.status;
    console.kill("SIGTERM");
    await console.status;
    const store = new SqliteStore(`${directory}/state/alerts.sqlite`);
    const kept = await store.list({ limit: alerts + 1000, oldest: true });
    const [totals] = await store.totals();
    await store.close();
    const expected = Array.from({ length: alerts }, (_, i) => `finding ${i + 1}`);
    assert.deepEqual(kept.map((a) => a.signature), expected);
    assert.equal(totals?.lost, 0);
    const eve = Deno.readTextFileSync(`${directory}/eve.json`).trimEnd().split("\n")
      .map((line) => (JSON.parse(line) as { alert: { signature: string } }).alert.signature);
    assert.deepEqual(eve, expected);
    return { alerts: kept.length, kills: count, eveLines: eve.length };
  } finally {
    for (const child of [console, ni]) await kill(child);
    await Promise.all(ends);
    Deno.removeSync(directory, { recursive: true });
  }
}

async function kill(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it has ended
  }
  await child.status;
}

/** A port that is free, below those that the kernel gives to whoever asks for any: nobody has it before the console does. */
function freePort(): number {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

/** Waits until a file has so many lines. @param failed says why it never will, once that is so. */
async function lines(
  path: string,
  count: number,
  failed: () => string | undefined,
): Promise<void> {
  const buffer = new Uint8Array(1024 * 1024);
  let at = 0;
  let found = 0;
  const end = performance.now() + 240_000;
  while (found < count) {
    const why = failed();
    if (why !== undefined) throw new Error(why);
    if (performance.now() > end) throw new Error(`${path} has ${found} lines, not ${count}`);
    try {
      const file = Deno.openSync(path);
      file.seekSync(at, Deno.SeekMode.Start);
      for (let n; (n = file.readSync(buffer)) !== null && n > 0;) {
        for (let i = 0; i < n; i++) if (buffer[i] === 10) found++;
        at += n;
      }
      file.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    if (found < count) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
