/**
 * A scanner for tests: of every 10,000 bytes of a stream it cuts the first 1000, and puts the first injection before the
 * 5000th. It decides about whole ten thousands, so that it has to ask for more. Arguments: port, right, and what else to do
 * (`hold`: decide nothing after the first 50,000 bytes; `pass`: change nothing).
 *
 * @module
 */
import { type Direction, runScanner, type StreamHandler } from "../../../niapp/sdk/mod.ts";

const [port = "7777", right = "contain", mode = ""] = Deno.args;
const BLOCK = 10_000;
const HELD = 50_000;

runScanner({
  name: "edit",
  start: (ni) => {
    ni.subscribeStreams([Number(port)], right as "read" | "contain");
  },
  stream(stream): StreamHandler {
    const done: Record<Direction, number> = { "from-host": 0, "to-host": 0 };
    const decide = (direction: Direction, there: number, all: boolean) => {
      if (mode === "hold" && there >= HELD) {
        Deno.stderr.writeSync(new TextEncoder().encode("holding\n"));
        return stream.more(direction);
      }
      if (mode === "pass") return stream.pass(direction, there);
      for (;;) {
        const at = done[direction];
        if (at + BLOCK > there && !all) return stream.more(direction, at + BLOCK);
        const end = Math.min(at + BLOCK, there);
        if (end > at) stream.cut(direction, at, Math.min(1000, end - at));
        if (end > at + 5000) stream.inject(direction, at + 5000, 0);
        stream.pass(direction, end);
        done[direction] = end;
        if (end === there) return;
      }
    };
    return {
      data: ({ direction, offset, bytes }) => decide(direction, offset + bytes.length, false),
      end: (direction, offset) => decide(direction, offset, true),
    };
  },
});
