/**
 * Alerts: the list with its filters, and one of them with its packets.
 *
 * @module
 */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Verb } from "./contain.tsx";
import { Dialog, Severity, Table, Time, useData } from "./parts.tsx";

/** An alert of the list. */
export interface AlertRow {
  readonly id: number;
  readonly ni: string;
  readonly at: number;
  readonly received: number;
  readonly scanner: string;
  readonly signature: string;
  readonly category: string;
  readonly severity: number;
  readonly action: string;
  readonly proto: string;
  readonly src: string;
  readonly dest: string;
  readonly destPort: number;
  readonly capture: number;
}

interface Packet {
  readonly time: string;
  readonly length: number;
  readonly summary: string;
  readonly layers: readonly { readonly name: string; readonly fields: readonly string[] }[];
  readonly dump: readonly string[];
}

interface Whole extends AlertRow {
  readonly event: Readonly<Record<string, unknown>>;
  readonly packets?: readonly Packet[];
  readonly problem?: string;
}

/** Who goes where, in a line. */
export function flow(a: AlertRow): string {
  if (a.src === "" && a.dest === "") return "-";
  return `${a.src} → ${a.dest}${a.destPort === 0 ? "" : `:${a.destPort}`}`;
}

/** The list. */
export function AlertTable(
  { rows, open, caption }: {
    readonly rows: readonly AlertRow[] | undefined;
    readonly open: (id: number) => void;
    readonly caption: string;
  },
): JSX.Element {
  return (
    <Table
      caption={caption}
      rows={rows}
      id={(a) => a.id}
      empty="No alerts."
      columns={[
        { title: "Time", kind: "time", cell: (a) => <Time at={a.at} /> },
        { title: "Severity", cell: (a) => <Severity severity={a.severity} /> },
        {
          title: "Finding",
          cell: (a) => (
            <button type="button" class="link" onClick={() => open(a.id)}>
              {a.signature || "?"}
            </button>
          ),
        },
        { title: "NI", cell: (a) => a.ni },
        { title: "Scanner", cell: (a) => a.scanner },
        { title: "Traffic", cell: flow },
        { title: "Done", cell: (a) => a.action },
      ]}
    />
  );
}

/** The section. */
export function Alerts(
  { version, open, peers }: {
    readonly version: unknown;
    readonly open: (id: number) => void;
    readonly peers: readonly string[];
  },
): JSX.Element {
  const [filter, setFilter] = useState<Record<string, string>>({});
  const [before, setBefore] = useState<number[]>([]);
  const query = new URLSearchParams(Object.entries(filter).filter(([, v]) => v !== ""));
  const last = before.at(-1);
  if (last !== undefined) query.set("before", String(last));
  const { data, error } = useData<AlertRow[]>(`alerts?${query}`, last === undefined ? version : 0);
  const field = (name: string) => ({
    name,
    value: filter[name] ?? "",
    onChange: (e: Event) => {
      setBefore([]);
      setFilter({ ...filter, [name]: (e.currentTarget as HTMLInputElement).value });
    },
  });
  return (
    <section class="panel" aria-label="Alerts">
      <h2>Alerts</h2>
      <form class="filters" onSubmit={(e) => e.preventDefault()} role="search">
        <label>
          NI
          <select {...field("ni")}>
            <option value="">all</option>
            {peers.map((p) => <option key={p} value={p}>{p}</option>)}
          </select>
        </label>
        <label>
          Severity
          <select {...field("severity")}>
            <option value="">all</option>
            <option value="1">grave</option>
            <option value="2">warning or graver</option>
          </select>
        </label>
        <label>
          Host<input {...field("host")} placeholder="an address" />
        </label>
        <label>
          Finding<input {...field("signature")} placeholder="the same words" />
        </label>
        <label>
          Any word<input {...field("text")} type="search" />
        </label>
      </form>
      {error !== undefined && <p class="error" role="alert">{error}</p>}
      <AlertTable rows={data} open={open} caption="Newest first" />
      <div class="row">
        {before.length > 0 && (
          <button type="button" onClick={() => setBefore(before.slice(0, -1))}>Newer</button>
        )}
        {data !== undefined && data.length >= 100 && (
          <button
            type="button"
            onClick={() => setBefore([...before, data.at(-1)?.id ?? 0])}
          >
            Older
          </button>
        )}
      </div>
    </section>
  );
}

/** One alert. */
export function AlertDialog(
  { id, close, contain }: {
    readonly id: number;
    readonly close: () => void;
    /** Undefined for who may only look. */
    readonly contain: ((host: string, verb: Verb) => void) | undefined;
  },
): JSX.Element {
  const { data: a, error } = useData<Whole>(`alerts/${id}`, 0);
  if (error !== undefined) {
    return (
      <Dialog title="Alert" close={close}>
        <p class="error" role="alert">{error}</p>
      </Dialog>
    );
  }
  if (a === undefined) {
    return (
      <Dialog title="Alert" close={close}>
        <p>Loading…</p>
      </Dialog>
    );
  }
  const detail = a.event["detail"];
  return (
    <Dialog title={a.signature || "Alert"} wide close={close}>
      <dl>
        <dt>Severity</dt>
        <dd>
          <Severity severity={a.severity} />
        </dd>
        <dt>Seen</dt>
        <dd>
          <Time at={a.at} />
        </dd>
        <dt>NI, scanner</dt>
        <dd>{a.ni}, {a.scanner}</dd>
        <dt>Traffic</dt>
        <dd>{a.proto} {flow(a)}</dd>
        <dt>Done</dt>
        <dd>{a.action || "-"}</dd>
        <dt>Category</dt>
        <dd>{a.category || "-"}</dd>
      </dl>
      {detail !== undefined && Object.keys(detail as object).length > 0 && (
        <>
          <h3>Detail</h3>
          <pre tabIndex={0}>{JSON.stringify(detail, null, 2)}</pre>
        </>
      )}
      <h3>Packets</h3>
      {a.problem !== undefined && (
        <p class="error">The capture cannot be read to its end: {a.problem}</p>
      )}
      {a.packets === undefined || a.packets.length === 0
        ? <p class="empty">None came with it.</p>
        : a.packets.map((p) => (
          <details>
            <summary>{p.time.slice(11, 26)} {p.summary}, {p.length} octets</summary>
            <dl>
              {p.layers.map((l) => (
                <>
                  <dt>{l.name}</dt>
                  <dd>{l.fields.join(", ")}</dd>
                </>
              ))}
            </dl>
            <pre tabIndex={0}>{p.dump.join("\n")}</pre>
          </details>
        ))}
      <div class="row" style={{ marginTop: "1rem" }}>
        {a.capture > 0 && (
          <a class="button" href={`/api/alerts/${a.id}/capture`} download={`alert-${a.id}.pcap`}>
            Download capture
          </a>
        )}
        {contain !== undefined && a.src !== "" && (
          <button
            type="button"
            class="danger"
            onClick={() => contain(a.src, "slow")}
          >
            Contain {a.src}…
          </button>
        )}
        <button type="button" onClick={close}>Close</button>
      </div>
    </Dialog>
  );
}
