/**
 * What is measured of one path: TCP throughput, small frames, round trip, and what it costs the machine.
 *
 * @module
 */
import type { NiLab } from "../../../tests/ni/inline_lab.ts";
import type { Path, Programs } from "./paths.ts";

const SECONDS = 1;
const SMALL_MS = 400;
/** A UDP payload that makes a frame of 64 bytes, its check sum counted. */
const SMALL_SIZE = 18;
const ROUND_TRIPS = 1500;
const ECHO_PORT = 7001;
const SINK_PORT = 7002;

/** Frames that a scanner has seen, and those that it would have but for the speed. */
export interface Seen {
  readonly frames: number;
  readonly missed: number;
}

/** One measurement of one path. */
export interface Sample {
  readonly gigabits: number;
  /** Processor seconds of the whole machine, both ends of the transfer too, for 10^9 bytes. */
  readonly cpu: number;
  /** Frames of 64 bytes a second that arrived. */
  readonly small: number;
  /** Round trip of one datagram, microseconds: median and p99. */
  readonly rtt: number;
  readonly rtt99: number;
  /** Share of the frames of that TCP transfer that the scanner did not see; NaN where there is none. */
  readonly missed: number;
}

/** Starts what answers in the network. */
export async function startServers(lab: NiLab, { traffic }: Programs): Promise<void> {
  const { net } = lab;
  net.spawn("iperf3", ["-s"]);
  net.spawn(traffic, ["sink", String(SINK_PORT)]);
  await startEcho(lab, traffic);
  await net.waitForListener("tcp", 5201);
  await net.waitForListener("udp", SINK_PORT);
}

/** A transfer that is not measured: programs that have just been started compile their code as it is used. */
export async function warmUp(lab: NiLab, path: Path): Promise<void> {
  await lab.host.must("iperf3", ["-c", path.address(lab), "-t", String(SECONDS), "-J"]);
}

/** Measures a path that is in place. */
export async function measure(
  lab: NiLab,
  { traffic }: Programs,
  path: Path,
): Promise<Sample> {
  const { host } = lab;
  const address = path.address(lab);
  const seenBefore = await path.seen?.();
  const busyBefore = busySeconds();
  const text = await host.must("iperf3", ["-c", address, "-t", String(SECONDS), "-J"]);
  const busy = busySeconds() - busyBefore;
  const seen = await path.seen?.();
  const { end } = JSON.parse(text) as {
    end: { sum_received: { bits_per_second: number; bytes: number } };
  };
  const { bits_per_second, bytes } = end.sum_received;
  const small = JSON.parse(
    await host.must(traffic, [
      ...["flood", address, String(SINK_PORT), String(SMALL_MS), String(SMALL_SIZE)],
    ]),
  ) as { per_second: number };
  // Last, when programs are warm.
  const rtt = await roundTrip(lab, traffic, address);
  return {
    gigabits: bits_per_second / 1e9,
    cpu: busy / (bytes / 1e9),
    small: small.per_second,
    rtt: rtt.median / 1000,
    rtt99: rtt.p99 / 1000,
    missed: missedOf(seenBefore, seen),
  };
}

/** Round trip of one datagram at a time, to the echo of {@link startEcho}. Nanoseconds. */
export async function roundTrip(
  { host }: NiLab,
  traffic: string,
  address: string,
): Promise<{ median: number; p99: number }> {
  return JSON.parse(
    await host.must(traffic, ["rtt", address, String(ECHO_PORT), String(ROUND_TRIPS)]),
  );
}

/** Starts what answers {@link roundTrip}. */
export async function startEcho({ net }: NiLab, traffic: string): Promise<void> {
  net.spawn(traffic, ["echo", String(ECHO_PORT)]);
  await net.waitForListener("udp", ECHO_PORT);
}

function missedOf(before: Seen | undefined, after: Seen | undefined): number {
  if (before === undefined || after === undefined) return NaN;
  const missed = after.missed - before.missed;
  return missed / Math.max(1, missed + after.frames - before.frames);
}

/** Switches all offloads of the hosts on or off, which is what frames look like. */
export async function offloads(lab: NiLab, state: "on" | "off"): Promise<void> {
  const features = ["tx", "rx", "tso", "gso", "gro"].flatMap((name) => [name, state]);
  for (
    const [host, device] of [
      ...[[lab.host, "ni0"], [lab.net, "ni0"], [lab.box, "porth"], [lab.box, "portn"]] as const,
      ...[[lab.host, "direct"], [lab.net, "direct"]] as const,
    ]
  ) {
    await host.must("ethtool", ["-K", device, ...features]);
  }
}

/** Seconds that all processors together were not idle, since they were started. */
function busySeconds(): number {
  const [, ...words] = (Deno.readTextFileSync("/proc/stat").split("\n")[0] as string).split(/\s+/);
  const [user = 0, nice = 0, system = 0, , , irq = 0, soft = 0] = words.map(Number);
  return (user + nice + system + irq + soft) / 100;
}
