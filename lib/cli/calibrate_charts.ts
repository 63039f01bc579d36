/**
 * Measurements of enforcers as charts: the paper's figures 6 to 9.
 *
 * @module
 */
import type { Calibration } from "../../drivers/calibration.ts";
import { type Chart, chartSvg } from "./chart.ts";

/** The SVG of each figure by its number, with a line for each enforcer. */
export function calibrationCharts(measured: readonly Calibration[]): Map<number, string> {
  const log = (title: string) => ({ title, scale: "log" as const });
  const batches = (m: Calibration) => m.batched.filter((p) => p.existing === 0);
  const charts: [number, Chart][] = [
    [6, {
      title: "Sequential update times",
      x: log("Pinholes"),
      y: log("Seconds"),
      lines: measured.map((m) => ({
        name: m.enforcer,
        points: m.sequential.map((p) => [p.count, p.seconds] as const),
      })),
    }],
    [7, {
      title: "Batch update times",
      x: log("Pinholes in the batch"),
      y: log("Seconds"),
      lines: measured.map((m) => ({
        name: m.enforcer,
        points: batches(m).map((p) => [p.batch, p.seconds] as const),
      })),
    }],
    [8, {
      title: "Batch update rates",
      x: log("Pinholes in the batch"),
      y: log("Updates a second"),
      lines: measured.map((m) => ({
        name: m.enforcer,
        points: batches(m).map((p) => [p.batch, p.updates_per_second] as const),
      })),
    }],
    [9, {
      title: "Update rates with pinholes open",
      x: log("Pinholes open before (1: none)"),
      y: log("Updates a second"),
      lines: measured.map((m) => ({
        name: `${m.enforcer} (${m.optimal_batch})`,
        points: m.batched.filter((p) => p.batch === m.optimal_batch)
          .map((p) => [Math.max(1, p.existing), p.updates_per_second] as const),
      })),
    }],
  ];
  return new Map(charts.map(([figure, chart]) => [figure, chartSvg(chart)]));
}
