/** The scanners of section 2.3 inline, against a real server and real tools, and over real captures. */
import assert from "node:assert/strict";
import { scannerCommand, usualRights } from "../../lib/ni/catalogue.ts";
import { runOffline } from "../../lib/ni/offline.ts";
import type { ScannerRights } from "../../lib/ni/rights.ts";
import { labPossible } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { sharedTest } from "../shared_data.ts";
import { NiLab } from "./inline_lab.ts";
import { cagePossible } from "./support.ts";

const PORT = 7000;
const BACKLOG = 64;

function inline(name: string, run: (lab: NiLab) => Promise<void>): void {
  Deno.test({
    name: `ni scanners: ${name}${labPossible ? "" : " (skipped: labs need root)"}`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await NiLab.create();
      await run(lab);
    },
  });
}

interface AlertLine {
  readonly alert: { readonly signature: string; readonly action: string };
  readonly detail: Readonly<Record<string, unknown>>;
}

/** The alert with a signature that begins so. */
async function alertOf(ni: LabProcess, signature: string): Promise<AlertLine> {
  const [line] = await ni.waitForLine(
    new RegExp(`^\\{.*"event_type":"alert".*"signature":"${signature}.*`),
  );
  return JSON.parse(line) as AlertLine;
}

/** A server whose table of half-open connections is small, and that defends itself by nothing else. */
async function listen(lab: NiLab): Promise<LabProcess> {
  await lab.net.must("sysctl", [
    "-qw",
    "net.ipv4.tcp_syncookies=0",
    `net.ipv4.tcp_max_syn_backlog=${BACKLOG}`,
    `net.core.somaxconn=${BACKLOG}`,
  ]);
  const server = lab.net.spawn("python3", ["-c", SERVER]);
  await server.waitForLine(/listening/);
  return server;
}

const SERVER = `
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", ${PORT})); s.listen(${BACKLOG}); print("listening", flush=True)
while True: s.accept()[0].close()
`;

async function halfOpen(lab: NiLab): Promise<number> {
  const text = await lab.net.must("ss", ["-Htn", "state", "syn-recv"]);
  return text.split("\n").filter((line) => line !== "").length;
}

/** An NI whose scanner watches. */
async function watched(lab: NiLab, scanner: string, ...args: string[]): Promise<LabProcess> {
  const ni = await lab.start("--scanner", scanner, ...args);
  await ni.waitForLine(/scanner \w+ watches/);
  return ni;
}

/** SYNs at a rate of about a thousand a second, at most `count`. */
function bomb(lab: NiLab, count: number, ...args: string[]): Promise<unknown> {
  return lab.host.run("hping3", [
    ...["-S", "-q", "-i", "u1000", "-c", String(count), "-p", String(PORT)],
    ...args,
    lab.netAddress,
  ]);
}

inline(
  "synbomb: a bomb with the true address is stopped, and the server's table repaired",
  async (lab) => {
    await listen(lab);
    // An attacker sees to it that its own kernel does not refuse the server's answers.
    await lab.host.must("nft", [
      "add table inet attack; add chain inet attack out { type filter hook output priority 0; }; " +
      "add rule inet attack out tcp flags & rst == rst drop",
    ]);
    const ni = await watched(lab, "synbomb", "--host-net", `${lab.hostAddress}/32`);
    await bomb(lab, 1500);
    const { detail } = await alertOf(ni, "SYN bomb");
    assert.deepEqual([detail["target"], detail["port"]], [lab.netAddress, PORT]);
    assert.ok((detail["repaired"] as number) > 20, JSON.stringify(detail));
    assert.equal(await halfOpen(lab), 0);
    assert.equal(await lab.net.tryConnect("198.51.100.2", PORT), "connected");
    ni.kill("SIGUSR2");
    const [status] = await ni.waitForLine(/^\{"links".*/);
    const { cut, resets } = JSON.parse(status).scanners.synbomb;
    assert.ok(cut > 0 && resets >= (detail["repaired"] as number), status);
  },
);

inline("synbomb: without it the same bomb fills the table", async (lab) => {
  await listen(lab);
  await lab.host.must("nft", [
    "add table inet attack; add chain inet attack out { type filter hook output priority 0; }; " +
    "add rule inet attack out tcp flags & rst == rst drop",
  ]);
  await watched(lab, "portscan");
  await bomb(lab, 300);
  assert.ok(await halfOpen(lab) >= BACKLOG / 2);
});

inline("synbomb: a forged address does not leave the host", async (lab) => {
  await listen(lab);
  const ni = await watched(lab, "synbomb", "--host-net", `${lab.hostAddress}/32`);
  await bomb(lab, 300, "--rand-source");
  await alertOf(ni, "SYN with a forged source address");
  assert.equal(await halfOpen(lab), 0);
  assert.equal(await lab.host.tryConnect(lab.netAddress, PORT), "connected");
});

inline("guard: forged addresses, ARP for others and tiny fragments do not pass", async (lab) => {
  const ni = await watched(lab, "guard", "--host-net", `${lab.hostAddress}/24`);
  assert.equal((await lab.ping(2, "-i", "0.05", "-s", "4000", lab.netAddress)).answered, 2);
  const capture = lab.net.spawn("tcpdump", [
    "-n",
    "-l",
    "-i",
    "ni0",
    "udp or arp or ip[6:2] & 0x3fff != 0",
  ]);
  await capture.waitForLine(/listening on/);
  await lab.host.run("hping3", [
    "-2",
    "-q",
    "-c",
    "3",
    "-i",
    "u1000",
    "-a",
    "198.51.100.9",
    lab.netAddress,
  ]);
  await alertOf(ni, "spoofed source address");
  await lab.host.must("python3", ["-c", FORGED_ARP]);
  assert.equal((await alertOf(ni, "spoofed ARP")).detail["address"], "10.9.9.9");
  await lab.host.run("hping3", [
    "-S",
    "-q",
    "--mtu",
    "8",
    "-c",
    "2",
    "-i",
    "u1000",
    "-p",
    "9",
    lab.netAddress,
  ]);
  await alertOf(ni, "tiny fragment");
  // What comes after them arrives: nothing of them is on its way any more.
  await lab.host.run("hping3", ["-2", "-q", "-c", "1", "-p", "4242", lab.netAddress]).catch(
    () => {},
  );
  await capture.waitForLine(/4242/);
  const seen = capture.output("stdout").join("\n");
  assert.ok(!/198\.51\.100\.9|10\.9\.9\.9|frag|\+\]/.test(seen), seen);
});

/** An ARP answer for an address that is another's. */
const FORGED_ARP = `
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("ni0", 0))
mac = s.getsockname()[4]
s.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + b"\\0\\1\\x08\\0\\x06\\x04\\0\\2" + mac + bytes([10,9,9,9]) + b"\\xff" * 6 + bytes([203,0,113,2]))
`;

inline("portscan: a scan of many ports is told of, and not held", async (lab) => {
  const ni = await watched(lab, "portscan");
  const found = await lab.host.must("python3", ["-c", SCAN, lab.netAddress]);
  assert.equal(found.trim(), "40 refused");
  const { alert, detail } = await alertOf(ni, "vertical port scan");
  assert.equal(alert.action, "allowed");
  assert.equal(detail["source"], lab.hostAddress);
});

const SCAN = `
import socket, sys
refused = 0
for port in range(1, 41):
    try: socket.create_connection((sys.argv[1], port), timeout=5).close()
    except ConnectionRefusedError: refused += 1
print(refused, "refused")
`;

/** What the scanners say of real captures: file, scanner, signatures. */
const KNOWN: readonly (readonly [
  ...[file: string, scanner: string, signatures: readonly string[]],
  options?: Readonly<Record<string, unknown>>,
])[] = [
  ["ndpi/synscan.pcap", "portscan", ["vertical port scan"]],
  ["ndpi/synscan.pcap", "synbomb", []],
  ["ndpi/synscan.pcap", "beacon", []],
  ["zeek/traces/ipv4/fragmented-1.pcap", "guard", ["tiny fragment", "overlapping fragments"]],
  ["zeek/traces/ipv4/fragmented-3.pcap", "guard", []],
  ["sv/ipv6-evasion/ipv6-malformed-fragments-18/frag-18.pcap", "guard", [
    "overlapping fragments",
  ]],
  ["sv/ipv6-evasion/ipv6-malformed-fragments-31/frag-31.pcap", "guard", [
    "fragment beyond the largest datagram",
  ]],
  ["zeek/traces/arp-leak.pcap", "guard", ["spoofed hardware address"]],
  ["zeek/traces/dns-edns-ecs.pcap", "portscan", []],
  // A program that tries passwords of an FTP server, a connection every 1.9 seconds.
  ["zeek/traces/ftp/bruteforce.pcap", "beacon", [
    "connections to one server at regular intervals",
  ], { shortest: 1 }],
  ["zeek/traces/ftp/bruteforce.pcap", "beacon", []],
];

if (!cagePossible) {
  Deno.test({ name: "scanners over captures (skipped: needs root)", ignore: true, fn: () => {} });
} else {
  sharedTest("scanners over captures say what is known of them", "ni", (directory) => {
    for (const [file, name, signatures, options = {}] of KNOWN) {
      const rights = { ...usualRights(name) as ScannerRights, options };
      const said: string[] = [];
      const { failures } = runOffline({
        read: `${directory}/${file}`,
        write: undefined,
        prevent: [],
        scanners: new Map([[name, { rights, command: scannerCommand(name, rights, 0) }]]),
        hostNetworks: [],
        events: new Set(["alert"]),
        event: (event) => said.push((event["alert"] as { signature: string }).signature),
        log: (line) => assert.fail(line),
      });
      assert.deepEqual(said, signatures, `${name} over ${file}`);
      assert.deepEqual(failures, []);
    }
  });
}
