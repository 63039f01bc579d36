/**
 * Simulated NIs for the benchmark of the console: many in one process, each with its own key and SSH connection. Orders
 * come as lines on standard input, results go as lines of JSON to standard output.
 *
 * Arguments: port, console's public key, file with keys, first and last NI.
 *
 * @module
 */
import { createInterface } from "node:readline";
import { CONSOLE_SUBSYSTEM, type ConsoleMessage } from "../../lib/admin/messages.ts";
import { WireChannel } from "../../lib/admin/wire.ts";
import { openSubsystem } from "../../lib/sys/ssh_client.ts";

const [port = "", consoleKey = "", keyFile = "", first = "", last = ""] = Deno.args;
const keys = (JSON.parse(Deno.readTextFileSync(keyFile)) as string[])
  .slice(Number(first), Number(last));
const pins = new Set([consoleKey]);

interface Ni {
  readonly number: number;
  readonly wire: WireChannel;
  readonly spool: string;
  seq: number;
  acked: number;
  bundle: number;
}

const nis: Ni[] = [];

function print(value: unknown): void {
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(value) + "\n"));
}

function connect(privateKey: string, number: number): Promise<Ni> {
  return new Promise((resolve, reject) => {
    openSubsystem({
      host: "127.0.0.1",
      port: Number(port),
      user: "diaper",
      privateKey,
      pins,
      subsystem: CONSOLE_SUBSYSTEM,
      timeout: 60_000,
    }, {
      ended: (why) => reject(new Error(`NI ${number}: ${why}`)),
      open: (channel) => {
        const spool = crypto.getRandomValues(new Uint8Array(16)).toHex();
        const ni: Ni = {
          number,
          spool,
          seq: 0,
          acked: 0,
          bundle: 0,
          wire: new WireChannel(channel, ({ value, bytes }) => {
            const m = value as ConsoleMessage;
            if (m.op === "welcome") resolve(ni);
            else if (m.op === "ack") ni.acked = m.seq;
            else if (m.op === "bundle") {
              ni.bundle = m.size;
              ni.wire.send({ op: "bundle-want", digest: m.digest, offset: 0 });
            } else if (m.op === "bundle-data") {
              ni.bundle -= bytes.length;
              if (ni.bundle > 0) return undefined;
              for (const phase of ["started", "switched", "healthy"]) {
                ni.wire.send({
                  op: "bundle-result",
                  digest: m.digest,
                  version: "1",
                  phase,
                  why: "",
                });
              }
            } else if (m.op === "error") print({ error: m.why });
            return undefined;
          }, (why) => print({ ended: number, why })),
        };
        ni.wire.send({
          op: "hello",
          version: 1,
          role: "ni",
          host: `ni-${number}`,
          software: "bench",
          started_at: new Date().toISOString(),
          spool,
          first: 1,
          next: 1,
          bundle: null,
        });
      },
    });
  });
}

function alert(ni: Ni): void {
  ni.seq++;
  ni.wire.send({
    op: "alerts",
    alerts: [{
      seq: ni.seq,
      capture: 0,
      event: {
        timestamp: new Date().toISOString(),
        event_type: "alert",
        flow_id: ni.seq,
        src_ip: `10.${ni.number >> 8}.${ni.number & 255}.1`,
        src_port: 40_000 + ni.seq % 20_000,
        dest_ip: "198.51.100.7",
        dest_port: 80,
        proto: "TCP",
        alert: {
          signature: `finding ${ni.seq % 50}`,
          category: "Worm",
          severity: 1 + ni.seq % 3,
          action: "allowed",
        },
        scanner: "codered",
        detail: { untranslated: ni.seq % 100, window_s: 60, limit: 10 },
      },
    }],
  });
}

/** Sends `rate` alerts a second in all for a time, each in a message of its own, spread evenly. */
async function load(rate: number, seconds: number): Promise<void> {
  const start = performance.now();
  let sent = 0;
  const all = rate * seconds;
  while (sent < all) {
    const due = Math.min(all, Math.floor((performance.now() - start) / 1000 * rate));
    for (; sent < due; sent++) alert(nis[sent % nis.length] as Ni);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const until = performance.now() + 60_000;
  while (nis.some((ni) => ni.acked < ni.seq) && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  print({
    sent,
    acked: nis.reduce((sum, ni) => sum + ni.acked, 0),
    seconds: (performance.now() - start) / 1000,
  });
}

// From the first on: who says nothing for 35 seconds is taken for gone. One after the other, each every ten seconds: real
// NIs were not all started in the same moment.
let turn = 0;
const beat = setInterval(() => {
  const ni = nis[turn++ % Math.max(1, nis.length)];
  if (ni === undefined) return;
  ni.wire.send({ op: "ping", n: 0 });
  ni.wire.send({ op: "state", state: { scanners: { codered: { pid: 1, alerts: ni.seq } } } });
}, 10_000 / Math.max(1, keys.length));
for (let at = 0; at < keys.length; at += 20) {
  nis.push(
    ...await Promise.all(
      keys.slice(at, at + 20).map((key, i) => connect(key, Number(first) + at + i)),
    ),
  );
}
print({ connected: nis.length });
for await (const line of createInterface({ input: (await import("node:process")).stdin })) {
  const [order, rate, seconds] = line.split(" ");
  if (order === "load") await load(Number(rate), Number(seconds));
  else break;
}
clearInterval(beat);
Deno.exit(0);
