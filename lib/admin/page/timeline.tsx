/**
 * The section that tells what happened, of everybody or of one host, in one order: findings, what was ordered and done
 * about them, reactions of controllers, outbreaks.
 *
 * @module
 */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { type AlertRow, flow } from "./alerts.tsx";
import { Severity, Table, Time, useData } from "./parts.tsx";

/** An order, as far as a story tells of it. */
interface OrderStep {
  readonly order: {
    readonly id: string;
    readonly verb: string;
    readonly host: string;
    readonly reason: string;
    readonly owner: string;
    readonly issued_at: string;
  };
  readonly peer: string;
  readonly until: number;
  readonly state: string;
  readonly why: string;
}

interface OutbreakStep {
  readonly id: number;
  readonly signature: string;
  readonly last: number;
  readonly hosts: readonly string[];
}

interface Step {
  readonly id: string;
  readonly at: number;
  readonly kind: JSX.Element | string;
  readonly who: string;
  readonly what: JSX.Element | string;
}

/** Alerts of a story: enough for an afternoon of one host. */
const MOST = 200;
const VERBS: Readonly<Record<string, string>> = {
  slow: "slowed",
  filter: "kept to few destinations",
  block: "blocked",
  allow: "let go",
};

/** The section. */
export function Timeline(
  { version, open }: { readonly version: unknown; readonly open: (id: number) => void },
): JSX.Element {
  const [host, setHost] = useState("");
  const query = new URLSearchParams({ limit: String(MOST), ...(host === "" ? {} : { host }) });
  const { data: alerts, error } = useData<AlertRow[]>(`alerts?${query}`, version);
  const { data: orders } = useData<OrderStep[]>("orders?all=1", version);
  const { data: outbreaks } = useData<OutbreakStep[]>("outbreaks", version);
  const about = (one: string) => host === "" || one === host;
  const ready = alerts !== undefined && orders !== undefined && outbreaks !== undefined;
  const steps: Step[] = !ready ? [] : [
    ...alerts.map((a) => alertStep(a, open)),
    ...orders.filter(({ order }) => about(order.host)).map(orderStep),
    ...outbreaks.filter(({ hosts }) => hosts.some(about)).map(outbreakStep),
  ].sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1));
  return (
    <section class="panel" aria-label="Timeline">
      <h2>Timeline</h2>
      <form class="filters" onSubmit={(e) => e.preventDefault()} role="search">
        <label>
          Host
          <input
            name="host"
            placeholder="an address, or everybody"
            value={host}
            onChange={(e) => setHost((e.currentTarget as HTMLInputElement).value.trim())}
          />
        </label>
      </form>
      {error !== undefined && <p class="error" role="alert">{error}</p>}
      <Table
        caption="Oldest first"
        rows={ready ? steps : undefined}
        id={(s) => s.id}
        empty="Nothing."
        columns={[
          { title: "Time", kind: "time", cell: (s) => <Time at={s.at} exact /> },
          { title: "Kind", cell: (s) => s.kind },
          { title: "Who", cell: (s) => s.who },
          { title: "What", cell: (s) => <span>{s.what}</span> },
        ]}
      />
    </section>
  );
}

function alertStep(a: AlertRow, open: (id: number) => void): Step {
  const reaction = a.scanner === "reaction";
  return {
    id: `alert ${String(a.id).padStart(15, "0")}`,
    at: a.at,
    kind: reaction ? <span class="tag">reaction</span> : <Severity severity={a.severity} />,
    who: reaction ? a.ni : `${a.scanner} at ${a.ni}`,
    what: (
      <>
        <button type="button" class="link" onClick={() => open(a.id)}>{a.signature || "?"}</button>
        {" "}
        <span class="soft">{a.dest === "" ? a.src : flow(a)}</span>
      </>
    ),
  };
}

function orderStep({ order, peer, state, why }: OrderStep): Step {
  const done = state === "done" ? VERBS[order.verb] : `to be ${VERBS[order.verb]} (${state})`;
  return {
    id: `order ${order.id} ${peer}`,
    at: Date.parse(order.issued_at),
    kind: <span class="tag">order</span>,
    who: `${order.owner} at ${peer}`,
    what: (
      <>
        <b>{order.host}</b> {done}
        {why === "" ? "" : `: ${why}`} <span class="soft">{order.reason}</span>
      </>
    ),
  };
}

function outbreakStep(o: OutbreakStep): Step {
  return {
    id: `outbreak ${o.id}`,
    // It is one since the last host that it came to.
    at: o.last,
    kind: <span class="tag s1">outbreak</span>,
    who: "console",
    what: `${o.signature} on ${o.hosts.length} hosts: ${o.hosts.slice(0, 8).join(", ")}`,
  };
}
