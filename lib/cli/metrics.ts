/**
 * What monitoring asks a daemon for, over HTTP: `/metrics` in Prometheus' text format, and `/healthz`.
 *
 * @module
 */
import type { DaemonStatus } from "./daemon_data.ts";
import { healthOf } from "./status.ts";

/**
 * Serves both at an address; it has no say in anything and shows no pinhole.
 *
 * @param status asks the data plane.
 * @throws {Error} when the address cannot be had.
 */
export function serveMetrics(
  address: { readonly host: string; readonly port: number },
  status: () => Promise<DaemonStatus>,
): Deno.HttpServer {
  return Deno.serve(
    { hostname: address.host, port: address.port, onListen: () => {} },
    (request) => answer(request, status),
  );
}

async function answer(
  request: Request,
  status: () => Promise<DaemonStatus>,
): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (request.method !== "GET" && request.method !== "HEAD") {
    return new Response("only GET\n", { status: 405 });
  }
  if (pathname !== "/metrics" && pathname !== "/healthz") {
    return new Response("there are /metrics and /healthz\n", { status: 404 });
  }
  let now: DaemonStatus;
  try {
    now = await status();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return new Response(`the data plane does not answer: ${why}\n`, { status: 503 });
  }
  if (pathname === "/metrics") {
    return new Response(metricsText(now), {
      headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
    });
  }
  const failures = healthOf(now, undefined).filter((p) => p.severity === "failure");
  if (failures.length === 0) return new Response("ok\n");
  return new Response(failures.map((p) => `${p.text}\n`).join(""), { status: 503 });
}

/** A status as Prometheus' text format has it. */
export function metricsText(s: DaemonStatus): string {
  const lines: string[] = [];
  const metric = (
    name: string,
    kind: "gauge" | "counter",
    help: string,
    values: readonly (readonly [Record<string, string>, number])[],
  ) => {
    if (values.length === 0) return;
    lines.push(`# HELP diaper_${name} ${help}`, `# TYPE diaper_${name} ${kind}`);
    for (const [labels, value] of values) {
      const text = Object.entries(labels).map(([k, v]) => `${k}="${escaped(v)}"`).join(",");
      lines.push(`diaper_${name}${text === "" ? "" : `{${text}}`} ${value}`);
    }
  };
  const one = (value: number) => [[{}, value]] as const;
  metric("info", "gauge", "What this daemon is.", [[
    { role: s.role, ...(s.enforcer === undefined ? {} : { enforcer: s.enforcer.name }) },
    1,
  ]]);
  metric(
    "start_time_seconds",
    "gauge",
    "When it was started.",
    one(Date.parse(s.started_at) / 1000),
  );
  metric("pinholes", "gauge", "Pinholes by state.", [
    [{ state: "open" }, s.pinholes.open],
    ...(s.pinholes.waiting === undefined
      ? []
      : [[{ state: "waiting" }, s.pinholes.waiting] as const]),
  ]);
  if (s.pinholes.capacity !== undefined) {
    metric(
      "pinholes_capacity",
      "gauge",
      "Pinholes that there is room for.",
      one(s.pinholes.capacity),
    );
  }
  metric(
    "events_total",
    "counter",
    "What became of requests.",
    Object.entries(s.counts).map(([event, n]) => [{ event }, n] as const),
  );
  if (s.role === "controller") {
    metric(
      "leads",
      "gauge",
      "1 while this controller serves.",
      one(s.standby === undefined ? 1 : 0),
    );
  }
  metric("agents", "gauge", "Agents that are connected.", one(s.channels));
  if (s.brokers !== undefined) {
    metric("brokers", "gauge", "Brokers that are connected.", one(s.brokers.length));
  }
  const uplinks = s.uplinks ?? [];
  metric(
    "controller_connected",
    "gauge",
    "1 while a controller serves this broker.",
    uplinks.map((u) => [{ delegate: u.delegate }, u.controller === null ? 0 : 1] as const),
  );
  metric(
    "controller_waiting",
    "gauge",
    "Requests that wait for a controller's verdict.",
    uplinks.map((u) => [{ delegate: u.delegate }, u.waiting] as const),
  );
  if (s.enforcer !== undefined) {
    const failed = s.enforcer.failed === null ? 0 : 1;
    metric("enforcer_failed", "gauge", "1 while the enforcer does not obey.", one(failed));
  }
  const trail = s.audit_failed === null ? 0 : 1;
  metric("audit_failed", "gauge", "1 while the audit trail cannot be written.", one(trail));
  if (s.dropped !== null && s.dropped !== undefined) {
    metric("dropped_packets_total", "counter", "Packets not let in.", one(s.dropped.packets));
    metric("dropped_bytes_total", "counter", "Bytes not let in.", one(s.dropped.bytes));
  }
  if (s.sweep !== null && s.sweep !== undefined) {
    metric("sweep_repaired", "gauge", "Entries the last sweep put back.", one(s.sweep.repaired));
    metric("sweep_seconds", "gauge", "Work of the last sweep.", one(s.sweep.workMs / 1000));
  }
  metric(
    "resident_memory_bytes",
    "gauge",
    "Memory of the daemon.",
    one(Deno.memoryUsage().rss),
  );
  return lines.join("\n") + "\n";
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
