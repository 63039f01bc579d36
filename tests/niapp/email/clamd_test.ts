import assert from "node:assert/strict";
import { EmailScanner } from "../../../niapp/email/scanner.ts";
import type { ClamdKernel } from "../../../niapp/email/clamd.ts";
import { CLAMD, ClamdServer } from "./clamd_server.ts";
import { bytes, latin1, mail, MALICIOUS, MALICIOUS_MD5, pop3, smtp } from "./dialogues.ts";
import { connect, fakeNi, type FakeStream } from "./fake_stream.ts";
import { existsSync } from "node:fs";

const INSTALLED = existsSync(CLAMD);
const SIGNATURE = `${MALICIOUS_MD5}:${MALICIOUS.length}:Test.Eicar`;
const OPTIONS = { checks: ["clamd"] };

/** Connects as the kernel does, and keeps count of what is under way. */
class Services {
  now = 0;
  wakeTime = Infinity;
  readonly #path: string;
  readonly #running = new Set<Promise<void>>();
  /** Connections over which something is to come, and who waits that there are none. */
  readonly #busy = new Set<symbol>();
  #settled: (() => void)[] = [];
  /** Connections that were made. */
  connections = 0;
  #last = Symbol();
  #gone: symbol | undefined;
  readonly #closers: (() => void)[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  readonly connect: ClamdKernel["connect"] = (_service, events) => {
    const id = Symbol();
    this.#busy.add(id);
    this.connections++;
    this.#last = id;
    let over = false;
    let socket: Deno.UnixConn | undefined;
    let writing = Promise.resolve();
    let closing = false;
    const close = () => {
      over = true;
      this.#rests(id);
      if (closing) return;
      closing = true;
      // Closing is the last thing that is asked: what was written before has to go out.
      writing = writing.then(() => socket?.close());
    };
    const opened = Deno.connect({ transport: "unix", path: this.#path });
    const run = (async () => {
      try {
        socket = await opened;
        const buffer = new Uint8Array(4096);
        for (;;) {
          const count = await socket.read(buffer);
          if (count === null) break;
          if (!over) events.data(buffer.subarray(0, count));
        }
        if (!over) events.ended("");
      } catch (error) {
        if (!over) events.ended(error instanceof Error ? error.message : String(error));
      }
      this.#rests(id);
    })();
    this.#closers.push(close);
    this.#running.add(run);
    return {
      rest: () => this.#rests(id),
      write: (data) => {
        this.#busy.add(id);
        if (id === this.#gone) {
          close();
          return events.ended("");
        }
        const copy = data.slice();
        writing = writing.then(async () => {
          try {
            const conn = await opened;
            for (let at = 0; at < copy.length;) at += await conn.write(copy.subarray(at));
          } catch {
            // The reader tells of a connection that broke.
          }
        });
      },
      end: () => {
        throw new Error("not used: a session's end is said in it");
      },
      close,
    };
  };

  /** Everything that was begun is over. */
  async settled(): Promise<void> {
    // What one exchange brings may begin the next one.
    while (this.#busy.size > 0) await new Promise<void>((resolve) => this.#settled.push(resolve));
  }

  /** The last connection's other end has gone, which is known when it is written to. */
  leave(): void {
    this.#gone = this.#last;
  }

  /** Ends what is still open. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.#closers) close();
    await Promise.all(this.#running);
  }

  #rests(id: symbol): void {
    this.#busy.delete(id);
    if (this.#busy.size > 0) return;
    for (const settled of this.#settled) settled();
    this.#settled = [];
  }
}

function start(
  services: Services,
  more: Readonly<Record<string, unknown>> = {},
  port = 25,
): {
  readonly scanner: EmailScanner;
  readonly stream: FakeStream;
  readonly ni: ReturnType<typeof fakeNi>;
} {
  const scanner = new EmailScanner();
  const ni = fakeNi(
    { ...OPTIONS, ...more },
    {
      connect: services.connect,
      wakeAt: (time: number) => services.wakeTime = time,
    } as unknown as Parameters<typeof fakeNi>[1],
  );
  Object.defineProperty(ni, "now", { get: () => services.now });
  return { scanner, stream: connect(scanner, port, ni), ni };
}

/** A server answers what it has got, so each step waits until the one before it is decided. */
async function talk(
  services: Services,
  stream: FakeStream,
  messages: readonly string[],
): Promise<void> {
  for (const [side, data] of smtp(messages)) {
    await services.settled();
    stream.send(side === "C", data);
  }
}

Deno.test({
  name: "a real clamd: clean passes, infected is replaced, gone and slow are told of",
  ignore: !INSTALLED,
  async fn() {
    await using clamd = await ClamdServer.start([SIGNATURE]);
    await using services = new Services(clamd.socket);
    const clean = mail(bytes("an innocent attachment"));
    const { stream } = start(services);
    await talk(services, stream, [clean, mail(MALICIOUS), clean]);
    assert.equal(services.connections, 1, "one session for one message after the other");
    const received = latin1(stream.received(true));
    assert.deepEqual(stream.signatures, ["infected attachment"]);
    assert.match(received, /An infected attachment was removed/);
    assert.match(received, /QUIT\r\n$/);
    assert.doesNotMatch(received, new RegExp(MALICIOUS.toBase64().slice(0, 20)));

    clamd.pause(true);
    const slow = start(services, { clamd_timeout: 500 });
    for (const [side, data] of smtp([clean]).slice(0, -3)) slow.stream.send(side === "C", data);
    assert.doesNotMatch(latin1(slow.stream.received(true)), /From: alice/, "not before the answer");
    assert.equal(services.wakeTime, 500);
    services.now = 500;
    slow.scanner.wake(slow.ni);
    assert.deepEqual(slow.stream.signatures, ["message could not be checked"]);
    assert.deepEqual(
      slow.stream.alerts[0]?.alert.detail?.["why"],
      "clamd did not answer in 500 ms",
    );
    assert.equal(slow.stream.killed, true);
    clamd.pause(false);
  },
});

Deno.test({
  name: "a real clamd: a session that it gave up is begun anew, and nobody hears of it",
  ignore: !INSTALLED,
  async fn() {
    await using clamd = await ClamdServer.start([SIGNATURE]);
    await using services = new Services(clamd.socket);
    const { stream, scanner, ni } = start(services);
    const clean = mail(bytes("an innocent attachment"));
    for (const [side, data] of smtp([clean, mail(MALICIOUS), clean])) {
      await services.settled();
      services.leave();
      stream.send(side === "C", data);
    }
    await services.settled();
    assert.deepEqual(stream.signatures, ["infected attachment"]);
    assert.equal(services.connections, 3, "one for each message, as each was gone before the next");
    assert.equal(latin1(stream.received(true)).split("From: alice").length, 4);
    // One that nobody needs any more is ended.
    services.now = services.wakeTime;
    services.wakeTime = Infinity;
    scanner.wake(ni);
    assert.equal(services.wakeTime, Infinity);
  },
});

Deno.test({
  name:
    "a real clamd: messages that come one behind the other are checked together, and pass in order",
  ignore: !INSTALLED,
  async fn() {
    await using clamd = await ClamdServer.start([SIGNATURE]);
    const clean = mail(bytes("an innocent attachment"));
    const messages = [clean, mail(MALICIOUS), clean, clean, mail(MALICIOUS), clean, clean];
    const steps = pop3(messages, true);
    const got: string[] = [];
    for (const together of [false, true]) {
      await using services = new Services(clamd.socket);
      const { stream } = start(services, {}, 110);
      for (const [side, data] of steps) {
        if (!together) await services.settled();
        // Pieces, so that messages begin and end within what comes together.
        for (let at = 0; at < data.length; at += 1000) {
          stream.send(side === "C", data.subarray(at, at + 1000));
          if (!together) await services.settled();
        }
      }
      await services.settled();
      assert.deepEqual(stream.signatures, ["infected attachment", "infected attachment"]);
      if (together) assert.ok(services.connections > 1);
      got.push(latin1(stream.received(false)));
    }
    assert.equal(got[1], got[0]);
    assert.equal(got[0]?.match(/An infected attachment was removed/g)?.length, 2);
    // The lists that answer CAPA and LIST end so, too.
    assert.equal(got[0]?.match(/^\.\r$/gm)?.length, messages.length + 2);
  },
});

Deno.test("clamd is not there: on_check_failure decides", async () => {
  const clean = mail(bytes("an innocent attachment"));
  await using services = new Services("/nonexistent/clamd.sock");
  const blocked = start(services);
  await talk(services, blocked.stream, [clean]);
  const passed = start(services, { on_check_failure: "pass" });
  await talk(services, passed.stream, [clean]);
  assert.equal(blocked.stream.killed, true);
  assert.deepEqual(blocked.stream.alerts.map(({ alert }) => alert.action), ["blocked"]);
  assert.deepEqual(passed.stream.alerts.map(({ alert }) => alert.action), ["allowed"]);
  assert.match(latin1(passed.stream.received(true)), /From: alice/);
});
