/** Streams that are changed between real TCP of Linux at both ends, with loss. */
import assert from "node:assert/strict";
import { labPossible } from "../../lab/lab.ts";
import type { LabProcess } from "../../lab/process.ts";
import type { Host } from "../../lab/host.ts";
import { NiLab } from "../inline_lab.ts";

const PROGRAM = decodeURIComponent(new URL("inline_program.ts", import.meta.url).pathname);

function inline(name: string, run: (lab: NiLab) => Promise<void>): void {
  Deno.test({
    name: `streams inline: ${name}${labPossible ? "" : " (skipped: labs need root)"}`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await NiLab.create();
      await run(lab);
    },
  });
}

async function start(lab: NiLab, ...args: string[]): Promise<LabProcess> {
  const ni = lab.box.spawn(Deno.execPath(), [
    ...["run", "--quiet", "--allow-all", "--no-check", PROGRAM, ...args],
  ]);
  await ni.waitForLine(/^ready/, 60_000);
  return ni;
}

/** Loses frames at random, in both directions, before and behind the NI. */
async function lose(host: Host, perThousand: number): Promise<void> {
  const rule = `numgen random mod 1000 < ${perThousand} drop`;
  await host.must("nft", [`
    table netdev loss {
      chain in { type filter hook ingress device "ni0" priority 0; ${rule}; }
      chain out { type filter hook egress device "ni0" priority 0; ${rule}; }
    }
  `]);
}

async function offloads(lab: NiLab, state: "on" | "off"): Promise<void> {
  for (const host of [lab.host, lab.net]) {
    await host.must("ethtool", [
      "-K",
      "ni0",
      ...["tx", "tso", "gso", "gro"].flatMap((f) => [f, state]),
    ]);
  }
}

/** Both ends send and compare what comes with what must come; each prints `ok`, or what is wrong. */
async function exchange(
  lab: NiLab,
  address: string,
  kilobytes: number,
  want: "edited" | "same" | "begun" = "edited",
): Promise<string[]> {
  const args = [address, String(kilobytes), want];
  const server = lab.net.spawn("python3", ["-c", ENDS, "server", ...args]);
  await server.waitForLine(/listening/);
  const client = await lab.host.run("python3", ["-c", ENDS, "client", ...args]);
  const [, said = ""] = await server.waitForLine(/^(ok|wrong.*|reset.*)$/m, 120_000);
  await server.status;
  return [client.stdout.trim(), said];
}

const ENDS = `
import socket, sys, threading
role, address, kilobytes, mode = sys.argv[1:5]
size = int(kilobytes) * 1024
def text(seed):
    return bytes((i * seed >> 5) & 255 for i in range(65536)) * (size // 65536 + 1)
mine, theirs = (text(7), text(11)) if role == "client" else (text(11), text(7))
mine, theirs = mine[:size], theirs[:size]
note = bytes((i * 31) & 255 for i in range(3000))
def edited(data):
    out = bytearray()
    for at in range(0, len(data), 10000):
        block = data[at:at + 10000]
        out += block[1000:5000] + (note if len(block) > 5000 else b"") + block[5000:]
    return bytes(out)
if mode == "edited": wants = [edited(theirs)]
elif mode == "same": wants = [theirs]
else: wants = [edited(theirs[:at]) + theirs[at:] for at in range(0, 60000, 10000)]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
if role == "server":
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", 7777)); s.listen(); print("listening", flush=True)
    c, _ = s.accept()
else:
    c = socket.create_connection((address, 7777), timeout=60)
c.settimeout(90)
failed = []
def send():
    try:
        c.sendall(mine); c.shutdown(socket.SHUT_WR)
    except OSError as error: failed.append(error)
t = threading.Thread(target=send); t.start()
got = bytearray()
try:
    while (b := c.recv(65536)): got += b
except OSError as error: failed.append(error)
t.join()
if failed: print("reset", failed[0], any(w.startswith(bytes(got)) for w in wants), flush=True)
elif bytes(got) in wants: print("ok", flush=True)
else: print("wrong", len(got), len(wants[0]), next((i for i, (a, b) in enumerate(zip(got, wants[0])) if a != b), -1), flush=True)
`;

inline("cuts and injections, over both families, with and without offloads", async (lab) => {
  const ni = await start(lab);
  for (const [address, state] of [[lab.netAddress, "on"], ["2001:db8:77::2", "off"]] as const) {
    await offloads(lab, state);
    assert.deepEqual(await exchange(lab, address, 2000), ["ok", "ok"], `${address}, ${state}`);
  }
  await ni.closeInput();
  const [line] = await ni.waitForLine(/^status .*/);
  const { streams } = JSON.parse(line.slice(7));
  assert.equal(streams.relayed, 2);
  assert.equal(streams.bytes > 0, true);
  assert.equal(await checksumErrors(lab), 0);
});

inline("cuts and injections while frames are lost at both ends", async (lab) => {
  const ni = await start(lab);
  await offloads(lab, "off");
  for (const host of [lab.host, lab.net]) await lose(host, 15);
  assert.deepEqual(await exchange(lab, lab.netAddress, 500), ["ok", "ok"]);
  await ni.closeInput();
  const [line] = await ni.waitForLine(/^status .*/);
  assert.ok(JSON.parse(line.slice(7)).streams.retransmitted > 0);
});

inline("while scanners only pass, frames are lost and nothing is changed", async (lab) => {
  const ni = await start(lab, "pass");
  for (const host of [lab.host, lab.net]) await lose(host, 10);
  assert.deepEqual(await exchange(lab, lab.netAddress, 2000, "same"), ["ok", "ok"]);
  await ni.closeInput();
  const [line] = await ni.waitForLine(/^status .*/);
  assert.equal(JSON.parse(line.slice(7)).streams.relayed, 0);
});

for (const onFailure of ["open", "closed"] as const) {
  inline(
    `a scanner killed in the middle, on_failure ${onFailure}: nothing is corrupted`,
    async (lab) => {
      const ni = await start(lab, "hold", onFailure);
      const done = exchange(lab, lab.netAddress, 1000, "begun");
      await ni.waitForLine(/holding/, 30_000);
      await ni.write("kill\n");
      // Open: what was edited stays so, and all that follows is as it was sent. Closed: reset, with nothing but that before.
      for (const line of await done) {
        assert.match(line, onFailure === "open" ? /^ok$/ : /^reset .* True$/);
      }
    },
  );
}

/** Segments that a host threw away for their checksum. */
async function checksumErrors(lab: NiLab): Promise<number> {
  let sum = 0;
  for (const host of [lab.host, lab.net]) {
    const stdout = await host.must("cat", ["/proc/net/snmp"]);
    const [names, values] = stdout.split("\n").filter((l) => l.startsWith("Tcp:")).map((l) =>
      l.split(" ")
    );
    sum += Number(values?.[names?.indexOf("InCsumErrors") ?? -1]);
  }
  return sum;
}
