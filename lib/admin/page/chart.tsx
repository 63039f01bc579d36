/**
 * Alerts over time.
 *
 * @module
 */
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

/** What the console says of rates. */
export interface Rates {
  readonly step: number;
  readonly since: number;
  readonly until: number;
  readonly rates: readonly { at: number; severity: number; count: number }[];
}

/** The timeline; the numbers stand in its label as well. */
export function RateChart({ rates }: { readonly rates: Rates }): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data = series(rates);
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const style = getComputedStyle(document.documentElement);
    // Colours by way of an element, since the properties may hold light-dark().
    const colour = (name: string) => {
      element.style.color = `var(${name})`;
      const value = getComputedStyle(element).color;
      element.style.color = "";
      return value || style.color;
    };
    const axis = () => ({
      stroke: colour("--soft"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 },
    });
    const line = (label: string, name: string) => ({
      label,
      stroke: colour(name),
      width: 2,
      points: { show: false },
    });
    const make = () =>
      new uPlot(
        {
          width: element.clientWidth,
          height: 200,
          legend: { show: false },
          cursor: { drag: { x: false, y: false } },
          scales: { y: { range: (_u, _min, max) => [0, Math.max(1, max * 1.1)] } },
          axes: [{ ...axis(), values: clocks }, { ...axis(), size: 56 }],
          series: [
            {},
            line("notice", "--accent"),
            line("warning", "--warn"),
            line("grave", "--grave"),
          ],
        },
        latest.current,
        element,
      );
    plot.current = make();
    const redraw = () => {
      plot.current?.destroy();
      plot.current = make();
    };
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", redraw);
    const resized = new ResizeObserver(() =>
      plot.current?.setSize({ width: element.clientWidth, height: 200 })
    );
    resized.observe(element);
    return () => {
      dark.removeEventListener("change", redraw);
      resized.disconnect();
      plot.current?.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(data), [rates]);
  const total = [1, 2, 3].map((s) =>
    rates.rates.filter((r) => r.severity === s).reduce((sum, r) => sum + r.count, 0)
  );
  return (
    <figure style={{ margin: 0 }}>
      <div
        ref={place}
        class="chart"
        role="img"
        aria-label={`Alerts over time: ${total[0]} grave, ${total[1]} warnings, ${
          total[2]
        } notices`}
      />
      <figcaption class="legend">
        <span>
          <i class="s1"></i>grave ({total[0]})
        </span>
        <span>
          <i class="s2"></i>warning ({total[1]})
        </span>
        <span>
          <i class="s3"></i>notice ({total[2]})
        </span>
        <span>alerts a minute</span>
      </figcaption>
    </figure>
  );
}

/** Times along the axis: the clock, or the day when there are many. */
function clocks(_plot: uPlot, times: number[]): string[] {
  const days = (times.at(-1) ?? 0) - (times[0] ?? 0) > 2 * 86_400;
  const pad = (n: number) => String(n).padStart(2, "0");
  return times.map((time) => {
    const date = new Date(time * 1000);
    return days
      ? `${pad(date.getMonth() + 1)}-${pad(date.getDate())}`
      : `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  });
}

/** One value a step and severity, the gravest last and on top, also where there was nothing. */
function series({ step, since, until, rates }: Rates): uPlot.AlignedData {
  const first = since - since % step;
  const times: number[] = [];
  for (let at = first; at <= until; at += step) times.push(at / 1000);
  const rows = [1, 2, 3].map(() => new Array<number>(times.length).fill(0));
  for (const { at, severity, count } of rates) {
    const place = Math.round((at - first) / step);
    const row = rows[severity - 1];
    if (row !== undefined && place >= 0 && place < row.length) {
      row[place] = (row[place] ?? 0) + count * 60_000 / step;
    }
  }
  return [times, ...rows.reverse()] as uPlot.AlignedData;
}
