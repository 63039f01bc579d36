/**
 * The console's web page: assets, log-in, and what the page asks for. Everything that comes in is hostile until a
 * session, its token and the origin say otherwise; everything that goes out is JSON or a file of our own.
 *
 * @module
 */
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { z } from "zod";
import type { Console } from "../console.ts";
import { OrderRefusal } from "../console.ts";
import { ORDER_VERBS } from "../messages.ts";
import { decodeCapture } from "../packets.ts";
import { type Role, ROLES, type WebSession } from "../state.ts";
import type { AlertFilter, StoredAlert } from "../store.ts";
import { LiveEvents } from "./live.ts";
import type { Logins } from "./logins.ts";

/** A file of the page. */
export interface PageFile {
  readonly type: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** What the page is made with. */
export interface WebOptions {
  readonly console: Console;
  readonly logins: Logins;
  /** What people know this console as. */
  readonly name: string;
  /** Host names, with ports, that the page is asked for by; others are refused (DNS rebinding). */
  readonly hosts: ReadonlySet<string>;
  readonly secure: boolean;
  /** By path, from `/`. */
  readonly files: ReadonlyMap<string, PageFile>;
  /** Open pinholes besides those that controllers report. */
  readonly pinholes: () => Promise<readonly Record<string, unknown>[]>;
}

interface Env {
  Variables: { session: WebSession; cookie: string };
}

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "manifest-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** Octets of a request's body. */
const LARGEST_BODY = 64 * 1024;
const MOST_LISTED = 500;

const newOrder = z.strictObject({
  verb: z.enum(ORDER_VERBS),
  host: z.union([z.ipv4(), z.ipv6()]),
  lifetime: z.int().min(60).max(30 * 86_400),
  reason: z.string().trim().min(3).max(500),
  peers: z.array(z.string().max(64)).max(1000).optional(),
  connections: z.int().min(0).max(1_000_000).optional(),
  bytes: z.int().min(0).max(10_000_000_000).optional(),
  destinations: z.array(z.string().max(64)).max(256).optional(),
});

/** Answers the page's requests. */
export class WebPage {
  readonly #options: WebOptions;
  readonly #live: LiveEvents;
  readonly #app: Hono<Env>;
  readonly #cookie: string;
  readonly #stopWatching: () => void;

  constructor(options: WebOptions) {
    this.#options = options;
    this.#cookie = options.secure ? "__Host-diaper" : "diaper";
    this.#live = new LiveEvents();
    this.#stopWatching = options.console.watch({
      alerts: (alerts) => this.#live.alerts(alerts),
      peers: () => this.#live.changed("peers"),
      orders: () => this.#live.changed("orders"),
      pinholes: () => this.#live.changed("pinholes"),
      bundle: () => this.#live.changed("rollouts"),
    });
    this.#app = this.#routes();
  }

  /** Answers one request. @param address where it comes from. */
  fetch(request: Request, address: string): Response | Promise<Response> {
    return this.#app.fetch(request, { address });
  }

  /** Ends what streams. */
  close(): void {
    this.#stopWatching();
    this.#live.close();
  }

  #routes(): Hono<Env> {
    const app = new Hono<Env>();
    const { console, logins, files, name } = this.#options;
    app.use(this.#guard());
    app.get("/", (c) => this.#file(c, "/index.html"));
    app.get("/login", (c) => this.#file(c, "/index.html"));
    for (const path of files.keys()) {
      if (path !== "/index.html") app.get(path, (c) => this.#file(c, path));
    }
    app.post("/api/login", async (c) => {
      const body = z.strictObject({ link: z.string().min(20).max(100) })
        .safeParse(await readJson(c));
      const result = body.success ? logins.login(body.data.link) : "unknown";
      if (typeof result === "string") {
        console.state.audit(`web ${addressOf(c)}`, "login.refused", { why: result });
        return c.json({ error: LOGIN_FAILURES[result] }, result === "too-many" ? 429 : 403);
      }
      const { cookie, session } = result;
      console.state.audit(session.user, "login", { role: session.role, from: addressOf(c) });
      c.header(
        "Set-Cookie",
        `${this.#cookie}=${cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${12 * 3600}` +
          (this.#options.secure ? "; Secure" : ""),
      );
      return c.json({ user: session.user, role: session.role });
    });
    app.use("/api/*", this.#authenticated());
    app.get("/api/me", (c) => {
      const { user, role, csrf } = c.get("session");
      return c.json({ user, role, csrf, console: name });
    });
    app.post("/api/logout", (c) => {
      logins.logout(c.get("cookie"));
      console.state.audit(c.get("session").user, "logout", { from: addressOf(c) });
      c.header("Set-Cookie", `${this.#cookie}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0`);
      return c.json({});
    });
    app.get("/api/live", () => this.#live.open());
    app.get("/api/peers", async (c) => {
      const totals = new Map((await console.store.totals()).map((t) => [t.ni, t]));
      return c.json(
        console.status().map((p) => ({
          ...p,
          alerts: totals.get(p.name)?.alerts ?? 0,
          lost: totals.get(p.name)?.lost ?? 0,
        })),
      );
    });
    app.get("/api/alerts", async (c) => c.json((await console.store.list(filterOf(c))).map(brief)));
    app.get("/api/alerts/:id{[0-9]{1,15}}", async (c) => {
      const id = Number(c.req.param("id"));
      const alert = await console.store.get(id);
      if (alert === undefined) return c.json({ error: "there is no such alert" }, 404);
      const capture = alert.capture === 0 ? undefined : await console.store.capture(id);
      return c.json({ ...alert, ...(capture === undefined ? {} : decodeCapture(capture)) });
    });
    app.get("/api/alerts/:id{[0-9]{1,15}}/capture", async (c) => {
      const id = Number(c.req.param("id"));
      const capture = await console.store.capture(id);
      if (capture === undefined) return c.json({ error: "it has no packets" }, 404);
      c.header("Content-Type", "application/vnd.tcpdump.pcap");
      c.header("Content-Disposition", `attachment; filename="alert-${id}.pcap"`);
      return c.body(new Uint8Array(capture));
    });
    app.get("/api/rates", async (c) => {
      const minutes = number(c, "minutes", 60, 1, 7 * 1440);
      const until = Date.now();
      const step = Math.max(10, Math.ceil(minutes * 60 / 360 / 10) * 10) * 1000;
      const since = until - minutes * 60_000;
      return c.json({ step, since, until, rates: await console.store.rates(since, until, step) });
    });
    app.get(
      "/api/pinholes",
      async (c) => c.json([...console.pinholes(), ...await this.#options.pinholes()]),
    );
    app.get("/api/outbreaks", (c) => c.json(console.state.outbreaks(100)));
    app.get("/api/rollouts", (c) => c.json(console.state.rollouts(50)));
    app.get("/api/orders", (c) => c.json(console.state.orders(c.req.query("all") !== "1", 1000)));
    app.post("/api/orders", this.#may("act"), async (c) => {
      const body = newOrder.safeParse(await readJson(c));
      if (!body.success) {
        const issue = body.error.issues[0];
        return c.json({ error: `${issue?.path.join(".")}: ${issue?.message}` }, 400);
      }
      const { peers, ...fields } = body.data;
      const order = {
        ...fields,
        id: crypto.randomUUID(),
        owner: c.get("session").user,
        issued_at: new Date().toISOString(),
      };
      try {
        return c.json({ id: order.id, peers: console.order(order, peers) }, 201);
      } catch (error) {
        if (!(error instanceof OrderRefusal)) throw error;
        return c.json({ error: error.message, next: error.next }, 409);
      }
    });
    app.get("/api/audit", (c) =>
      c.json(
        console.state.auditLines(
          c.req.query("before") === undefined ? undefined : number(c, "before", 1, 1, 2 ** 52),
          number(c, "limit", 100, 1, MOST_LISTED),
        ),
      ));
    app.get("/api/sessions", this.#may("administer"), (c) => c.json(logins.sessions()));
    app.post("/api/revoke", this.#may("administer"), async (c) => {
      const body = z.strictObject({ user: z.string().min(1).max(64) }).safeParse(await readJson(c));
      if (!body.success) return c.json({ error: "expected a user" }, 400);
      const { user } = body.data;
      console.state.audit(c.get("session").user, "sessions.revoked", { user, from: addressOf(c) });
      return c.json({ sessions: logins.revoke(user) });
    });
    app.notFound((c) => c.json({ error: "there is nothing here" }, 404));
    app.onError((error, c) => {
      if (error instanceof BadRequest) return c.json({ error: error.message }, 400);
      throw error;
    });
    return app;
  }

  /** Headers of every answer, and who may ask at all. */
  #guard(): MiddlewareHandler<Env> {
    return async (c, next) => {
      // HTTP/2 has no Host header; the URL has it in either case.
      const { host } = new URL(c.req.url);
      const origin = c.req.header("origin");
      const site = c.req.header("sec-fetch-site");
      const own = `${this.#options.secure ? "https" : "http"}://${host}`;
      const changes = c.req.method !== "GET" && c.req.method !== "HEAD";
      const refused = !this.#options.hosts.has(host)
        ? "host"
        : origin !== undefined && origin !== own
        ? "origin"
        : changes && site !== undefined && site !== "same-origin"
        ? "site"
        : changes && origin === undefined
        ? "no origin"
        : undefined;
      if (refused !== undefined) {
        const detail = { why: refused, host: host.slice(0, 200), origin: origin?.slice(0, 200) };
        this.#options.console.state.audit(`web ${addressOf(c)}`, "request.refused", {
          ...detail,
          path: c.req.path.slice(0, 200),
        });
        c.res = c.json({ error: "this is not the console's own page" }, 403);
      } else await next();
      const h = c.res.headers;
      h.set("Content-Security-Policy", POLICY);
      h.set("X-Content-Type-Options", "nosniff");
      h.set("Referrer-Policy", "no-referrer");
      h.set("Cross-Origin-Opener-Policy", "same-origin");
      h.set("Cross-Origin-Resource-Policy", "same-origin");
      h.set("Permissions-Policy", "camera=(), microphone=(), geolocation=()");
      if (!h.has("Cache-Control")) h.set("Cache-Control", "no-store");
      if (this.#options.secure) h.set("Strict-Transport-Security", "max-age=31536000");
    };
  }

  #authenticated(): MiddlewareHandler<Env> {
    return async (c, next) => {
      const cookie = cookieOf(c.req.header("cookie") ?? "", this.#cookie);
      const session = cookie === undefined ? undefined : this.#options.logins.session(cookie);
      if (cookie === undefined || session === undefined) {
        return c.json({ error: "log in first: diaper console login prints a link" }, 401);
      }
      if (c.req.method !== "GET" && c.req.header("x-diaper-token") !== session.csrf) {
        this.#options.console.state.audit(session.user, "request.refused", {
          why: "token",
          path: c.req.path,
          from: addressOf(c),
        });
        return c.json({ error: "the page's token is missing; load the page anew" }, 403);
      }
      c.set("session", session);
      c.set("cookie", cookie);
      return await next();
    };
  }

  #may(role: Role): MiddlewareHandler<Env> {
    return async (c, next) => {
      const session = c.get("session");
      if (ROLES.indexOf(session.role) >= ROLES.indexOf(role)) return await next();
      this.#options.console.state.audit(session.user, "request.refused", {
        why: `role ${session.role}`,
        path: c.req.path,
        from: addressOf(c),
      });
      return c.json({ error: `your role is ${session.role}; this needs ${role}` }, 403);
    };
  }

  #file(c: Context<Env>, path: string): Response {
    const file = this.#options.files.get(path);
    if (file === undefined) return c.json({ error: "there is nothing here" }, 404);
    return c.body(file.body, 200, { "Content-Type": file.type, "Cache-Control": "no-cache" });
  }
}

const LOGIN_FAILURES = {
  unknown: "this link is not known; diaper console login prints a new one",
  used: "this link was used before; diaper console login prints a new one",
  expired: "this link is too old; diaper console login prints a new one",
  "too-many": "too many failed attempts; wait a minute",
} as const;

class BadRequest extends Error {}

function addressOf(c: Context): string {
  return (c.env as { address?: string } | undefined)?.address ?? "";
}

async function readJson(c: Context<Env>): Promise<unknown> {
  if (!/^application\/json\b/.test(c.req.header("content-type") ?? "")) {
    throw new BadRequest("expected application/json");
  }
  // By what comes and not by what is announced.
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of c.req.raw.body ?? []) {
    size += part.length;
    if (size > LARGEST_BODY) throw new BadRequest("the request is too large");
    parts.push(part);
  }
  try {
    return JSON.parse(await new Blob(parts as Uint8Array<ArrayBuffer>[]).text());
  } catch {
    throw new BadRequest("the request is not JSON"); // the text is the sender's own
  }
}

function cookieOf(header: string, name: string): string | undefined {
  for (const part of header.split(";")) {
    const [key, value] = part.trim().split("=");
    if (key === name && value !== undefined && /^[A-Za-z0-9_-]{43}$/.test(value)) return value;
  }
  return undefined;
}

function number(c: Context, name: string, usual: number, least: number, most: number): number {
  const text = c.req.query(name);
  if (text === undefined || text === "") return usual;
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new BadRequest(`${name}: expected a number from ${least} to ${most}`);
  }
  return value;
}

function filterOf(c: Context<Env>): AlertFilter {
  const word = (name: string) => {
    const text = c.req.query(name)?.slice(0, 300);
    return text === "" ? undefined : text;
  };
  const id = (name: string) =>
    word(name) === undefined ? undefined : number(c, name, 0, 0, 2 ** 52);
  return {
    ni: word("ni"),
    scanner: word("scanner"),
    signature: word("signature"),
    severity: word("severity") === undefined ? undefined : number(c, "severity", 3, 1, 3),
    host: word("host"),
    text: word("text"),
    before: id("before"),
    after: id("after"),
    limit: number(c, "limit", 100, 1, MOST_LISTED),
  };
}

/** An alert for a list: without the event itself. */
function brief({ event: _, ...alert }: StoredAlert): Omit<StoredAlert, "event"> {
  return alert;
}
