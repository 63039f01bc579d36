/**
 * The console's page.
 *
 * @module
 */
import { type JSX, render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { AlertDialog, type AlertRow, Alerts, AlertTable } from "./alerts.tsx";
import { ApiError, get, type Me, post, setToken } from "./api.ts";
import { RateChart, type Rates } from "./chart.tsx";
import { ContainDialog, type Verb } from "./contain.tsx";
import { Table, Time, useData } from "./parts.tsx";
import { Timeline } from "./timeline.tsx";

interface Peer {
  readonly name: string;
  readonly role: string;
  readonly groups: readonly string[];
  readonly connected: boolean;
  readonly since?: number;
  readonly address?: string;
  readonly host: string;
  readonly software: string;
  readonly bundle: { readonly version: string } | null;
  readonly state: Readonly<Record<string, unknown>>;
  readonly alerts: number;
  readonly lost: number;
}

interface OrderRow {
  readonly order: {
    readonly id: string;
    readonly verb: Verb;
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

interface PinholeRow {
  readonly controller: string;
  readonly error?: string;
  readonly id?: number;
  readonly proto?: string;
  readonly source?: string;
  readonly source_port?: number | null;
  readonly destination?: string;
  readonly destination_port?: number;
  readonly user?: string;
  readonly delegate?: string;
  readonly program?: string | null;
  readonly rule?: string;
  readonly opened_at?: string | null;
  readonly expires_at?: string | null;
}

interface OutbreakRow {
  readonly id: number;
  readonly kind: string;
  readonly signature: string;
  readonly first: number;
  readonly last: number;
  readonly alerts: number;
  readonly hosts: readonly string[];
}

interface RolloutRow {
  readonly id: number;
  readonly version: string;
  readonly digest: string;
  readonly target: string;
  readonly state: string;
  readonly started: number;
  readonly who: string;
  readonly why: string;
  readonly placements: readonly { peer: string; phase: string; why: string; canary: boolean }[];
}

interface AuditRow {
  readonly id: number;
  readonly at: number;
  readonly who: string;
  readonly what: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

const SECTIONS = [
  "Overview",
  "Alerts",
  "Timeline",
  "NIs",
  "Pinholes",
  "Contained",
  "Scanners",
  "Audit",
] as const;
type Section = typeof SECTIONS[number];

type Contain = ((host: string, verb: Verb) => void) | undefined;

/** Counts up for each kind of news; what depends on a kind asks anew. */
function useLive(): Record<string, number> {
  const [versions, setVersions] = useState<Record<string, number>>({});
  useEffect(() => {
    const source = new EventSource("/api/live");
    const bump = (kinds: readonly string[]) =>
      setVersions((v) => ({ ...v, ...Object.fromEntries(kinds.map((k) => [k, (v[k] ?? 0) + 1])) }));
    source.onmessage = (event) => bump((JSON.parse(event.data) as { kinds: string[] }).kinds);
    // After a pause nobody knows what was missed.
    source.onopen = () => bump(["alerts", "peers", "orders", "pinholes", "rollouts"]);
    return () => source.close();
  }, []);
  return versions;
}

function useSection(): Section {
  const read = () => SECTIONS.find((s) => s.toLowerCase() === location.hash.slice(1)) ?? "Overview";
  const [section, setSection] = useState<Section>(read());
  useEffect(() => {
    const changed = () => setSection(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return section;
}

function Card({ value, what }: { readonly value: number | string; readonly what: string }) {
  return (
    <div class="card">
      <b>{value}</b>
      <span>{what}</span>
    </div>
  );
}

function Overview(
  { live, open, peers }: {
    readonly live: Record<string, number>;
    readonly open: (id: number) => void;
    readonly peers: readonly Peer[];
  },
): JSX.Element {
  const [minutes, setMinutes] = useState(60);
  const { data: rates } = useData<Rates>(`rates?minutes=${minutes}`, live["alerts"]);
  const { data: orders } = useData<OrderRow[]>("orders", live["orders"]);
  const { data: outbreaks } = useData<OutbreakRow[]>("outbreaks", live["alerts"]);
  const { data: alerts } = useData<AlertRow[]>("alerts?limit=10&severity=2", live["alerts"]);
  const nis = peers.filter((p) => p.role === "ni");
  const lost = peers.reduce((sum, p) => sum + p.lost, 0);
  return (
    <>
      <div class="cards">
        <Card
          value={`${nis.filter((p) => p.connected).length} / ${nis.length}`}
          what="NIs are there"
        />
        <Card value={peers.reduce((sum, p) => sum + p.alerts, 0)} what="alerts in all" />
        <Card value={lost} what="alerts lost on the way" />
        <Card value={new Set(orders?.map((o) => o.order.host)).size} what="hosts contained" />
      </div>
      <section class="panel" aria-label="Rates">
        <div class="row" style={{ justifyContent: "space-between" }}>
          <h2>Alerts over time</h2>
          <label>
            Span
            <select
              value={minutes}
              onChange={(e) => setMinutes(Number((e.currentTarget as HTMLSelectElement).value))}
            >
              <option value={15}>15 minutes</option>
              <option value={60}>1 hour</option>
              <option value={1440}>1 day</option>
              <option value={10_080}>7 days</option>
            </select>
          </label>
        </div>
        {rates === undefined ? <p class="empty">Loading…</p> : <RateChart rates={rates} />}
      </section>
      <section class="panel" aria-label="Outbreaks">
        <h2>Outbreaks</h2>
        <Outbreaks rows={outbreaks?.slice(0, 10)} />
      </section>
      <section class="panel" aria-label="Latest alerts">
        <h2>Latest alerts</h2>
        <AlertTable rows={alerts} open={open} caption="Warnings and graver, newest first" />
      </section>
    </>
  );
}

function Outbreaks({ rows }: { readonly rows: readonly OutbreakRow[] | undefined }): JSX.Element {
  return (
    <Table
      caption="The same finding on several hosts, or a scan from host to host"
      rows={rows}
      id={(o) => o.id}
      empty="None."
      columns={[
        { title: "Last", kind: "time", cell: (o) => <Time at={o.last} /> },
        { title: "Kind", cell: (o) => o.kind === "chain" ? "from host to host" : "same finding" },
        { title: "Finding", cell: (o) => o.signature },
        {
          title: "Hosts",
          cell: (o) =>
            o.hosts.slice(0, 8).join(o.kind === "chain" ? " → " : ", ") +
            (o.hosts.length > 8 ? ` and ${o.hosts.length - 8} more` : ""),
        },
        { title: "Alerts", kind: "num", cell: (o) => o.alerts },
      ]}
    />
  );
}

function Peers(
  { peers, contain }: { readonly peers: readonly Peer[]; readonly contain: Contain },
): JSX.Element {
  return (
    <section class="panel" aria-label="NIs">
      <div class="row" style={{ justifyContent: "space-between" }}>
        <h2>NIs and controllers</h2>
        {contain !== undefined && (
          <button
            type="button"
            class="danger"
            onClick={() => contain("", "slow")}
          >
            Contain a host…
          </button>
        )}
      </div>
      <Table
        caption="By name"
        rows={peers}
        id={(p) => p.name}
        empty="Nobody is in the registry: diaper console authorize."
        columns={[
          { title: "Name", cell: (p) => <b>{p.name}</b> },
          {
            title: "State",
            cell: (p) => (
              <span class={`tag ${p.connected ? "there" : "away"}`}>
                {p.connected ? "there" : "away"}
              </span>
            ),
          },
          { title: "Role", cell: (p) => p.role },
          { title: "Address", cell: (p) => p.address ?? "-" },
          { title: "Calls itself", cell: (p) => p.host || "-" },
          { title: "Groups", cell: (p) => p.groups.join(", ") || "-" },
          { title: "Bundle", cell: (p) => p.bundle?.version ?? "-" },
          { title: "Alerts", kind: "num", cell: (p) => p.alerts },
          { title: "Lost", kind: "num", cell: (p) => p.lost },
          { title: "More", cell: (p) => <StateOf state={p.state} /> },
        ]}
      />
    </section>
  );
}

function StateOf({ state }: { readonly state: Readonly<Record<string, unknown>> }): JSX.Element {
  if (Object.keys(state).length === 0) return <span class="soft">-</span>;
  return (
    <details>
      <summary>state</summary>
      <pre tabIndex={0}>{JSON.stringify(state, null, 1)}</pre>
    </details>
  );
}

function Pinholes({ version }: { readonly version: unknown }): JSX.Element {
  const { data, error } = useData<PinholeRow[]>("pinholes", version);
  const port = (p: number | null | undefined) => p === null || p === undefined ? "" : `:${p}`;
  return (
    <section class="panel" aria-label="Pinholes">
      <h2>Open pinholes</h2>
      {error !== undefined && <p class="error" role="alert">{error}</p>}
      {data?.filter((p) => p.error !== undefined).map((p) => (
        <p class="error">{p.controller}: {p.error}</p>
      ))}
      <Table
        caption="Of all controllers"
        rows={data?.filter((p) => p.error === undefined)}
        id={(p) => `${p.controller} ${p.id}`}
        empty="None."
        columns={[
          { title: "Controller", cell: (p) => p.controller },
          { title: "From", cell: (p) => `${p.proto} ${p.source}${port(p.source_port)}` },
          { title: "To", cell: (p) => `${p.destination}${port(p.destination_port)}` },
          { title: "Who", cell: (p) => `${p.user} (${p.delegate})` },
          { title: "Program", cell: (p) => p.program ?? "by hand" },
          { title: "Why", cell: (p) => p.rule },
          { title: "Since", kind: "time", cell: (p) => <Time at={p.opened_at} /> },
          { title: "Until", kind: "time", cell: (p) => <Time at={p.expires_at} /> },
        ]}
      />
    </section>
  );
}

function Contained(
  { version, contain }: { readonly version: unknown; readonly contain: Contain },
): JSX.Element {
  const [all, setAll] = useState(false);
  const { data } = useData<OrderRow[]>(all ? "orders?all=1" : "orders", version);
  return (
    <section class="panel" aria-label="Contained hosts">
      <div class="row" style={{ justifyContent: "space-between" }}>
        <h2>Contained hosts</h2>
        <div class="row">
          <label>
            Show
            <select
              value={all ? "1" : ""}
              onChange={(e) => setAll((e.currentTarget as HTMLSelectElement).value === "1")}
            >
              <option value="">what holds now</option>
              <option value="1">all orders</option>
            </select>
          </label>
          {contain !== undefined && (
            <button
              type="button"
              class="danger"
              onClick={() => contain("", "block")}
            >
              Contain a host…
            </button>
          )}
        </div>
      </div>
      <Table
        caption="Newest first"
        rows={data}
        id={(o) => `${o.order.id} ${o.peer}`}
        empty="None."
        columns={[
          { title: "Host", cell: (o) => <b>{o.order.host}</b> },
          { title: "Order", cell: (o) => o.order.verb },
          { title: "At", cell: (o) => o.peer },
          { title: "State", cell: (o) => o.why === "" ? o.state : `${o.state}: ${o.why}` },
          { title: "Who", cell: (o) => o.order.owner },
          { title: "Why", cell: (o) => o.order.reason },
          { title: "Since", kind: "time", cell: (o) => <Time at={o.order.issued_at} /> },
          { title: "Until", kind: "time", cell: (o) => <Time at={o.until} /> },
          {
            title: "Undo",
            cell: (o) =>
              contain === undefined || o.order.verb === "allow"
                ? "-"
                : (
                  <button type="button" onClick={() => contain(o.order.host, "allow")}>
                    Let go…
                  </button>
                ),
          },
        ]}
      />
    </section>
  );
}

function Scanners({ version }: { readonly version: unknown }): JSX.Element {
  const { data } = useData<RolloutRow[]>("rollouts", version);
  const count = (r: RolloutRow, phase: string) =>
    r.placements.filter((p) => p.phase === phase).length;
  return (
    <section class="panel" aria-label="Scanner bundles">
      <h2>Scanner bundles</h2>
      <Table
        caption="What was pushed, newest first"
        rows={data}
        id={(r) => r.id}
        empty="None yet: diaper scanners push."
        columns={[
          { title: "Time", kind: "time", cell: (r) => <Time at={r.started} /> },
          { title: "Version", cell: (r) => <b>{r.version}</b> },
          { title: "Target", cell: (r) => r.target },
          { title: "Who", cell: (r) => r.who },
          { title: "State", cell: (r) => r.why === "" ? r.state : `${r.state}: ${r.why}` },
          { title: "Healthy", kind: "num", cell: (r) => count(r, "healthy") },
          { title: "Rolled back", kind: "num", cell: (r) => count(r, "rolled-back") },
          { title: "Refused", kind: "num", cell: (r) => count(r, "refused") },
          {
            title: "Peers",
            cell: (r) => (
              <details>
                <summary>{r.placements.length}</summary>
                {r.placements.map((p) => (
                  <div>
                    {p.peer}
                    {p.canary ? " (canary)" : ""}: {p.phase}
                    {p.why === "" ? "" : `: ${p.why}`}
                  </div>
                ))}
              </details>
            ),
          },
        ]}
      />
    </section>
  );
}

interface SessionRow {
  readonly user: string;
  readonly role: string;
  readonly created: number;
  readonly seen: number;
}

function Sessions({ me }: { readonly me: Me }): JSX.Element {
  const [version, setVersion] = useState(0);
  const { data } = useData<SessionRow[]>("sessions", version);
  const end = async (user: string) => {
    await post("revoke", { user });
    if (user === me.user) location.reload();
    setVersion(version + 1);
  };
  return (
    <section class="panel" aria-label="Sessions">
      <h2>Who is logged in</h2>
      <Table
        caption="Newest first"
        rows={data}
        id={(s) => `${s.user} ${s.created}`}
        empty="Nobody."
        columns={[
          { title: "Who", cell: (s) => s.user },
          { title: "Role", cell: (s) => s.role },
          { title: "Since", kind: "time", cell: (s) => <Time at={s.created} /> },
          { title: "Seen", kind: "time", cell: (s) => <Time at={s.seen} /> },
          {
            title: "End",
            cell: (s) => (
              <button type="button" onClick={() => end(s.user)}>Log {s.user} out everywhere</button>
            ),
          },
        ]}
      />
    </section>
  );
}

function Audit(): JSX.Element {
  const [before, setBefore] = useState<number>();
  const { data } = useData<AuditRow[]>(
    `audit${before === undefined ? "" : `?before=${before}`}`,
    0,
  );
  return (
    <section class="panel" aria-label="Audit">
      <h2>Audit</h2>
      <Table
        caption="Who did what, newest first"
        rows={data}
        id={(a) => a.id}
        empty="Nothing yet."
        columns={[
          { title: "Time", kind: "time", cell: (a) => <Time at={a.at} /> },
          { title: "Who", cell: (a) => a.who },
          { title: "What", cell: (a) => a.what },
          {
            title: "Detail",
            cell: (a) =>
              Object.entries(a.detail).filter(([, v]) => v !== "").map(([k, v]) =>
                `${k}: ${typeof v === "string" ? v : JSON.stringify(v)}`
              ).join("; "),
          },
        ]}
      />
      <div class="row">
        {before !== undefined && (
          <button type="button" onClick={() => setBefore(undefined)}>Newest</button>
        )}
        {data !== undefined && data.length >= 100 && (
          <button
            type="button"
            onClick={() => setBefore(data.at(-1)?.id)}
          >
            Older
          </button>
        )}
      </div>
    </section>
  );
}

function App({ me }: { readonly me: Me }): JSX.Element {
  const live = useLive();
  const section = useSection();
  const [alert, setAlert] = useState<number>();
  const [order, setOrder] = useState<{ host: string; verb: Verb }>();
  const [said, setSaid] = useState("");
  const { data: peers = [] } = useData<Peer[]>("peers", `${live["peers"]} ${live["alerts"]}`);
  const contain: Contain = me.role === "look" ? undefined : (host, verb) => {
    setAlert(undefined);
    setOrder({ host, verb });
  };
  useEffect(() => {
    document.title = `${section} - ${me.console} - Diaper`;
  }, [section]);
  const logout = async () => {
    await post("logout", {});
    location.assign("/");
  };
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(e) => {
          e.preventDefault();
          document.getElementById("main")?.focus();
        }}
      >
        Skip to the content
      </a>
      <header>
        <h1>
          Diaper console <span class="soft">{me.console}</span>
        </h1>
        <div class="who">
          <span>{me.user} ({me.role})</span>
          <button type="button" onClick={logout}>Log out</button>
        </div>
      </header>
      <nav aria-label="Sections">
        {SECTIONS.map((s) => (
          <a href={`#${s.toLowerCase()}`} aria-current={s === section ? "page" : undefined}>{s}</a>
        ))}
      </nav>
      <main id="main" tabIndex={-1}>
        <p class="soft" role="status" aria-live="polite">{said}</p>
        {section === "Overview" && <Overview live={live} open={setAlert} peers={peers} />}
        {section === "Alerts" && (
          <Alerts
            version={live["alerts"]}
            open={setAlert}
            peers={peers.map((p) => p.name)}
          />
        )}
        {section === "Timeline" && (
          <Timeline version={`${live["alerts"]} ${live["orders"]}`} open={setAlert} />
        )}
        {section === "NIs" && <Peers peers={peers} contain={contain} />}
        {section === "Pinholes" && <Pinholes version={live["pinholes"]} />}
        {section === "Contained" && <Contained version={live["orders"]} contain={contain} />}
        {section === "Scanners" && <Scanners version={live["rollouts"]} />}
        {section === "Audit" && me.role === "administer" && <Sessions me={me} />}
        {section === "Audit" && <Audit />}
      </main>
      {alert !== undefined && (
        <AlertDialog
          key={alert}
          id={alert}
          close={() => setAlert(undefined)}
          contain={contain}
        />
      )}
      {order !== undefined && (
        <ContainDialog
          {...order}
          close={() => setOrder(undefined)}
          done={setSaid}
        />
      )}
    </>
  );
}

function Login({ why }: { readonly why: string }): JSX.Element {
  return (
    <main class="login panel">
      <h1>Diaper console</h1>
      <p role={why === "" ? undefined : "alert"} class={why === "" ? "" : "error"}>
        {why || "You are not logged in."}
      </p>
      <p>
        On the console's host, <code>diaper console login</code>{" "}
        prints a link that logs you in, once.
      </p>
    </main>
  );
}

async function start(): Promise<void> {
  const place = document.getElementById("app") as HTMLElement;
  try {
    if (location.pathname === "/login") {
      // After the # it is never sent to anybody by itself, and it does not stay in the history.
      const link = location.hash.slice(1);
      history.replaceState(null, "", "/");
      if (link !== "") await post("login", { link });
    }
    const me = await get<Me>("me");
    setToken(me.csrf);
    place.textContent = "";
    render(<App me={me} />, place);
  } catch (error) {
    place.textContent = "";
    const unknown = error instanceof ApiError && error.status === 401;
    render(<Login why={unknown ? "" : (error as Error).message} />, place);
  }
}

await start();
