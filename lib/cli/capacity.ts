/**
 * `diaper capacity`: how many pinholes, and updates of them, the multiport sessions of a capture would have
 * needed, against what enforcers were measured to do.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import type { Calibration } from "../../drivers/calibration.ts";
import { readCalibration } from "../controller/calibration.ts";
import { CaptureError, CaptureParser, CaptureRecord } from "../net/capture.ts";
import { type Demand, demandOf, longestWait } from "../net/demand.ts";
import { inRange, type IpRange } from "../net/ip.ts";
import { MultiportMeter, type NeededPinhole } from "../net/multiport.ts";
import { Packet } from "../net/packet.ts";
import { readRange } from "./arguments.ts";
import { capacityCharts } from "./capacity_charts.ts";
import { configOption, readConfig } from "./config_option.ts";
import { CliError, EXIT } from "./exit.ts";
import { print, printJson, printLine, printMessage, table } from "./output.ts";

interface CapacityOptions {
  readonly config?: string;
  readonly inside: readonly IpRange[];
  readonly calibration: readonly string[];
  readonly svg?: string;
  readonly json?: boolean;
}

/** What one enforcer makes of the demand. */
interface Fit {
  readonly enforcer: string;
  readonly capacity: number;
  /** Updates a second with as many pinholes open as the demand has on average. */
  readonly updates_per_second: number;
  readonly fits_capacity: boolean;
  readonly fits_rate: boolean;
  /** Longest that an update waits for those before it, in seconds. */
  readonly longest_wait: number;
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("capacity")
    .description("Show which pinholes a capture's multiport sessions would have needed.")
    .argument("<file>", "pcap or pcapng; - for standard input")
    .addHelpText(
      "after",
      `
FTP control connections are read. For other protocols, encrypted ones too, a later connection
between the hosts of a living control connection, to a port that nobody else uses, is taken for
an auxiliary one. Each pinhole is an update when it opens and one when it closes.`,
    )
    .addOption(configOption())
    .option("--inside <prefix>", "only pinholes for hosts of this network (repeatable)", range, [])
    .option("--calibration <file>", "what calibrate --json printed (repeatable)", collect, [])
    .option("--svg <file>", "write the charts of figures 10 and 11, to FILE-10.svg and FILE-11.svg")
    .option("--json", "print one JSON object")
    .action(run);
}

async function run(file: string, options: CapacityOptions): Promise<void> {
  const calibrations = options.calibration.length > 0
    ? options.calibration.map((path) => readCalibration(Deno.readTextFileSync(path), path))
    : stored(readConfig(options.config).config.state_dir);
  const meter = await measure(file);
  const first = meter.first ?? 0;
  const pinholes = meter.pinholes.filter((hole) =>
    options.inside.length === 0 || options.inside.some((r) => inRange(hole.destination, r))
  );
  const demand = demandOf(pinholes, first, meter.last);
  const fits = calibrations.map((c) => fit(c, demand, pinholes));
  const found = (how: string) => pinholes.filter((hole) => hole.found === how).length;
  if (options.svg !== undefined) {
    const stem = options.svg.replace(/\.svg$/, "");
    for (const [figure, svg] of capacityCharts(pinholes, fits, first, meter.last)) {
      Deno.writeTextFileSync(`${stem}-${figure}.svg`, svg);
    }
  }
  const summary = {
    file,
    packets: meter.packets,
    seconds: Number((meter.last - first).toFixed(3)),
    control_connections: meter.controls,
    ftp: found("ftp"),
    learned: found("learned"),
    unused: pinholes.filter((hole) => !hole.used).length,
    ...demand,
    enforcers: fits,
  };
  if (options.json === true) printJson(summary);
  else show(summary);
}

async function measure(file: string): Promise<MultiportMeter> {
  const meter = new MultiportMeter();
  const parser = new CaptureParser();
  const record = new CaptureRecord();
  const packet = new Packet();
  try {
    const stream = file === "-" ? Deno.stdin.readable : (await Deno.open(file)).readable;
    for await (const chunk of stream) {
      parser.push(chunk);
      while (parser.read(record)) {
        packet.decode(record.data, record.start, record.end, record.linkType);
        meter.packet(packet, record.seconds + record.nanoseconds / 1e9);
      }
    }
    parser.finish();
  } catch (error) {
    if (error instanceof CaptureError && meter.packets > 0) {
      // What was read is worth telling: captures of interrupted programs end inside a record.
      printMessage(`diaper: ${file}: ${error.message}; what came before it is told`);
    } else if (error instanceof CaptureError || error instanceof Deno.errors.NotFound) {
      throw new CliError(EXIT.FAILED, `cannot read ${file}: ${error.message}`);
    } else throw error;
  }
  return meter;
}

/** Measurements that calibrate has kept; none where there are none or they may not be read. */
function stored(directory: string): Calibration[] {
  const folder = `${directory}/calibration`;
  let names: string[];
  try {
    names = [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    if (error instanceof Deno.errors.PermissionDenied) {
      printMessage(`diaper: measurements of enforcers in ${folder} may not be read`);
      return [];
    }
    throw error;
  }
  return names.filter((name) => name.endsWith(".json")).sort().map((name) =>
    readCalibration(Deno.readTextFileSync(`${folder}/${name}`), `${folder}/${name}`)
  );
}

function fit(c: Calibration, demand: Demand, pinholes: readonly NeededPinhole[]): Fit {
  // The measured point with the fewest pinholes that are at least as many as are open on average.
  const best = c.batched.filter((p) => p.batch === c.optimal_batch)
    .sort((a, b) => a.existing - b.existing);
  const point = best.find((p) => p.existing >= demand.mean_open) ?? best.at(-1);
  const rate = point?.updates_per_second ?? 0;
  return {
    enforcer: c.enforcer,
    capacity: c.capacity,
    updates_per_second: rate,
    fits_capacity: demand.most_open <= c.capacity,
    fits_rate: demand.most_updates_per_second <= rate,
    longest_wait: rate === 0 ? Infinity : longestWait(pinholes, rate),
  };
}

function show(
  s: Demand & {
    readonly file: string;
    readonly packets: number;
    readonly seconds: number;
    readonly control_connections: number;
    readonly ftp: number;
    readonly learned: number;
    readonly unused: number;
    readonly enforcers: readonly Fit[];
  },
): void {
  printLine(`${s.packets} packets in ${s.seconds} s, ${s.control_connections} control connections`);
  printLine(
    `pinholes: ${s.pinholes} (${s.ftp} by FTP, ${s.learned} learned, ${s.unused} unused), ` +
      `at most ${s.most_open} open, ${s.mean_open} on average`,
  );
  printLine(
    `updates: ${s.updates}, at most ${s.most_updates_per_second} in a second, ` +
      `${s.mean_updates_per_second} a second on average`,
  );
  if (s.enforcers.length === 0) {
    printMessage("diaper: no enforcer was measured; diaper calibrate does that");
    return;
  }
  const yes = (value: boolean) => value ? "yes" : "no";
  print(table([
    { title: "ENFORCER", cell: (f) => f.enforcer },
    { title: "CAPACITY", cell: (f) => String(f.capacity), align: "right" },
    { title: "ENOUGH", cell: (f) => yes(f.fits_capacity) },
    { title: "UPDATES/S", cell: (f) => String(Math.round(f.updates_per_second)), align: "right" },
    { title: "ENOUGH", cell: (f) => yes(f.fits_rate) },
    { title: "LONGEST WAIT", cell: (f) => `${f.longest_wait} s`, align: "right" },
  ], s.enforcers));
}

function range(text: string, before: readonly IpRange[]): IpRange[] {
  return [...before, readRange(text)];
}

function collect(text: string, before: readonly string[]): string[] {
  if (text === "") throw new InvalidArgumentError("Give the name of a file.");
  return [...before, text];
}
