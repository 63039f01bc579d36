/**
 * `diaper calibrate`: measures an enforcer, says which batch is best for it, and keeps that for the
 * controller.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { calibrate, type Calibration } from "../../drivers/calibration.ts";
import { createEnforcer, driverEntry, DRIVERS } from "../../drivers/registry.ts";
import { storeCalibration } from "../controller/calibration.ts";
import { enterOwnNetwork } from "../sys/namespace.ts";
import { calibrationCharts } from "./calibrate_charts.ts";
import { checkEnforcer, configOption, readConfig } from "./config_option.ts";
import { CliError, EXIT } from "./exit.ts";
import { print, printJson, printLine, printMessage, table } from "./output.ts";

interface CalibrateOptions {
  readonly enforcer: string;
  readonly config?: string;
  readonly most: number;
  readonly time: number;
  readonly here?: boolean;
  readonly save: boolean;
  readonly svg?: string;
  readonly json?: boolean;
}

/** Adds the verb. */
export function register(parent: Command): void {
  parent.command("calibrate")
    .description("Measure an enforcer: updates by size of the batch and by existing pinholes.")
    .addOption(
      new Option("-e, --enforcer <name>", "the driver").choices(DRIVERS.map((d) => d.name))
        .makeOptionMandatory(),
    )
    .addOption(configOption())
    .option("--most <n>", "most pinholes to open", count, 20_000)
    .option("--time <seconds>", "time for each of the three series", count, 10)
    .option("--here", "measure this host's own tables, not those of a namespace made for it")
    .option("--no-save", "do not keep the result for the controller")
    .option("--svg <file>", "write the charts of figures 6 to 9, to FILE-6.svg and so on")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Enforcers of this host are measured in a network namespace of their own, which ends with the
measurement. A device is measured where the configuration says that it is: on a simulated one
(diaper lab device), or on one that is not in use. A device that holds pinholes is not measured.`,
    )
    .action(run);
}

async function run(options: CalibrateOptions): Promise<void> {
  const { config, file } = readConfig(options.config);
  const entry = driverEntry(options.enforcer);
  await checkEnforcer(options.enforcer, config, file);
  if (entry.kind === "host" && options.here !== true) ownNetwork();
  const enforcer = await createEnforcer(options.enforcer, config.enforcer);
  await enforcer.connect();
  let measured: Calibration;
  try {
    measured = await calibrate(enforcer, {
      most: options.most,
      seconds: options.time,
      rounds: 5,
      progress: (text) => {
        if (options.json !== true && Deno.stderr.isTerminal()) printMessage(`diaper: ${text}`);
      },
    });
    if (entry.kind === "host" && options.here !== true) await enforcer.remove();
  } finally {
    await enforcer.close();
  }
  if (options.json === true) printJson(measured);
  else show(measured);
  if (options.svg !== undefined) writeCharts(measured, options.svg);
  if (options.save && entry.kind !== "test") save(config.state_dir, measured);
}

function ownNetwork(): void {
  if (Deno.uid() !== 0) {
    throw new CliError(
      EXIT.NOT_PERMITTED,
      "calibrate needs root, to make a network namespace",
      "sudo diaper calibrate ...",
    );
  }
  enterOwnNetwork();
}

function show(measured: Calibration): void {
  const { batched, optimal_batch, degrades_at, sequential } = measured;
  const last = sequential.at(-1);
  printLine(`${measured.enforcer}: best batch ${optimal_batch}`);
  if (last !== undefined) {
    printLine(`  one by one: ${Math.round(last.count / last.seconds)} updates a second`);
  }
  printLine(
    degrades_at === null
      ? "  no loss of speed by half with as many pinholes as were tried"
      : `  half as fast, or less, with ${degrades_at} pinholes open`,
  );
  print(table([
    { title: "BATCH", cell: (p) => String(p.batch), align: "right" },
    { title: "EXISTING", cell: (p) => String(p.existing), align: "right" },
    { title: "SECONDS", cell: (p) => String(p.seconds), align: "right" },
    { title: "UPDATES/S", cell: (p) => String(Math.round(p.updates_per_second)), align: "right" },
  ], batched));
}

function writeCharts(measured: Calibration, file: string): void {
  const stem = file.replace(/\.svg$/, "");
  for (const [figure, svg] of calibrationCharts([measured])) {
    Deno.writeTextFileSync(`${stem}-${figure}.svg`, svg);
  }
}

function save(directory: string, measured: Calibration): void {
  try {
    const file = storeCalibration(directory, measured);
    printMessage(`diaper: kept for the controller in ${file}`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CliError(
      EXIT.FAILED,
      `measured, but not kept for the controller: ${why}`,
      "give --no-save, or run it as the account that the controller runs as",
    );
  }
}

function count(text: string): number {
  const value = Number(text);
  if (/^[0-9]{1,8}$/.test(text) && value >= 1) return value;
  throw new InvalidArgumentError("Give a number from 1 to 99999999.");
}
