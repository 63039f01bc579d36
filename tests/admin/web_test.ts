/**
 * What the page's server refuses, asked without a browser: foreign origins, used links, missing rights, hostile input.
 */
import assert from "node:assert/strict";
import type { Role } from "../../lib/admin/state.ts";
import { alertEvent, TestConsole } from "./support.ts";

/** Somebody who is logged in. */
class Visitor {
  readonly #url: string;
  readonly #cookie: string;
  #token = "";

  private constructor(url: string, cookie: string) {
    this.#url = url;
    this.#cookie = cookie;
  }

  static async login(test: TestConsole, role: Role, user = "alice"): Promise<Visitor> {
    const url = test.daemon.url as string;
    const link = test.loginLink(role, user).split("#")[1] as string;
    const answer = await post(url, "login", { link });
    assert.equal(answer.status, 200);
    await answer.body?.cancel();
    const set = answer.headers.get("set-cookie") ?? "";
    assert.match(set, /HttpOnly; SameSite=Strict/);
    const visitor = new Visitor(url, set.split(";")[0] as string);
    visitor.#token = (await visitor.json("me") as { csrf: string }).csrf;
    return visitor;
  }

  async get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    return await fetch(`${this.#url}/api/${path}`, {
      headers: { Cookie: this.#cookie, ...headers },
    });
  }

  async json(path: string): Promise<unknown> {
    const answer = await this.get(path);
    assert.equal(answer.status, 200);
    return await answer.json();
  }

  async post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return await post(this.#url, path, body, {
      Cookie: this.#cookie,
      "X-Diaper-Token": this.#token,
      ...headers,
    });
  }
}

async function post(
  url: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  return await fetch(`${url}/api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Origin: url, ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

async function status(answer: Promise<Response>): Promise<number> {
  const { status, body } = await answer;
  await body?.cancel();
  return status;
}

const ORDER = { verb: "block", host: "10.0.0.1", lifetime: 3600, reason: "a test" };

Deno.test("console web: a link logs in once, in its time, and every refusal is audited", async () => {
  await using test = await TestConsole.start({});
  const url = test.daemon.url as string;
  const link = test.loginLink("look").split("#")[1] as string;
  assert.equal(await status(post(url, "login", { link })), 200);
  assert.equal(await status(post(url, "login", { link })), 403);
  const old = test.loginLink("look", "alice", -1).split("#")[1] as string;
  assert.equal(await status(post(url, "login", { link: old })), 403);
  assert.equal(await status(post(url, "login", { link: "x".repeat(43) })), 403);
  const why = test.daemon.console.state.auditLines(undefined, 10)
    .filter((l) => l.what === "login.refused").map((l) => l.detail["why"]);
  assert.deepEqual(why, ["unknown", "expired", "used"]);
  for (let i = 0; i < 30; i++) await status(post(url, "login", { link: "x".repeat(43) }));
  assert.equal(await status(post(url, "login", { link: "x".repeat(43) })), 429);
});

Deno.test("console web: two who use one link at the same time get one session", async () => {
  await using test = await TestConsole.start({});
  const link = test.loginLink("look").split("#")[1] as string;
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => status(post(test.daemon.url as string, "login", { link }))),
  );
  assert.deepEqual(answers.sort(), [200, ...new Array(7).fill(403)]);
});

Deno.test("console web: foreign origins, foreign hosts and missing tokens are refused and audited", async () => {
  await using test = await TestConsole.start({ ni1: "hosts=10.0.0.0/24" });
  const visitor = await Visitor.login(test, "act");
  const foreign: Record<string, string>[] = [
    { Origin: "https://evil.example" },
    { Origin: "null" },
    { "Sec-Fetch-Site": "cross-site" },
    { "Sec-Fetch-Site": "same-site" },
    { "X-Diaper-Token": "" },
    { "X-Diaper-Token": "x".repeat(43) },
  ];
  for (const headers of foreign) {
    assert.equal(
      await status(visitor.post("orders", ORDER, headers)),
      403,
      JSON.stringify(headers),
    );
  }
  assert.equal(await status(visitor.get("alerts", { Origin: "https://evil.example" })), 403);
  // A name of somebody else's that leads here (DNS rebinding).
  const { hostname, port } = new URL(test.daemon.url as string);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(
    new TextEncoder().encode(
      "GET /api/me HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    ),
  );
  assert.match(await new Response(connection.readable).text(), /^HTTP\/1.1 403/);
  assert.deepEqual(test.daemon.console.state.orders(false, 10), []);
  const refusals = test.daemon.console.state.auditLines(undefined, 100)
    .filter((l) => l.what === "request.refused").map((l) => l.detail["why"]);
  assert.deepEqual(refusals.sort(), [
    "host",
    "origin",
    "origin",
    "origin",
    "site",
    "site",
    "token",
    "token",
  ]);
});

Deno.test("console web: roles bound what may be done, and orders are checked", async () => {
  await using test = await TestConsole.start({ ni1: "hosts=10.0.0.0/24" }, {
    never_block: ["10.0.0.53"],
  });
  const [looks, acts] = [await Visitor.login(test, "look"), await Visitor.login(test, "act")];
  assert.equal(await status(looks.post("orders", ORDER)), 403);
  const bad: unknown[] = [
    { ...ORDER, reason: "" },
    { ...ORDER, reason: undefined },
    { ...ORDER, host: "ni1; rm -rf /" },
    { ...ORDER, verb: "destroy" },
    { ...ORDER, lifetime: 1e9 },
    { ...ORDER, owner: "root" },
    [],
    "{",
    "x".repeat(100_000),
  ];
  for (const body of bad) {
    assert.equal(await status(acts.post("orders", body)), 400, JSON.stringify(body).slice(0, 60));
  }
  assert.equal(await status(acts.post("orders", { ...ORDER, host: "10.0.0.53" })), 409);
  assert.equal(await status(acts.post("orders", { ...ORDER, host: "192.0.2.1" })), 409);
  assert.equal(await status(acts.post("orders", ORDER)), 201);
  const [order] = test.daemon.console.state.orders(true, 10);
  assert.deepEqual([order?.order.owner, order?.peer, order?.state], ["alice", "ni1", "sent"]);
});

Deno.test("console web: who may administer sees who is logged in, and logs others out", async () => {
  await using test = await TestConsole.start({});
  const [acts, administers] = [
    await Visitor.login(test, "act"),
    await Visitor.login(test, "administer", "root"),
  ];
  assert.equal(await status(acts.get("sessions")), 403);
  assert.equal(await status(acts.post("revoke", { user: "root" })), 403);
  const sessions = await administers.json("sessions") as { user: string; role: string }[];
  assert.deepEqual(sessions.map((s) => s.user).sort(), ["alice", "root"]);
  assert.equal(await status(administers.post("revoke", { user: "alice" })), 200);
  assert.equal(await status(acts.get("me")), 401);
  assert.equal(await status(administers.get("me")), 200);
});

Deno.test("console web: without a session nothing is told, and what is told cannot be framed or sniffed", async () => {
  await using test = await TestConsole.start({ ni1: "" });
  const url = test.daemon.url as string;
  const paths = ["me", "peers", "alerts", "alerts/1", "alerts/1/capture", "rates", "pinholes"];
  for (const path of [...paths, "orders", "outbreaks", "rollouts", "audit", "live"]) {
    assert.equal(await status(fetch(`${url}/api/${path}`)), 401, path);
  }
  assert.equal(await status(fetch(`${url}/../../etc/passwd`)), 404);
  const page = await fetch(url);
  await page.body?.cancel();
  assert.match(
    page.headers.get("content-security-policy") ?? "",
    /default-src 'none'.*frame-ancestors 'none'/,
  );
  assert.equal(page.headers.get("x-content-type-options"), "nosniff");
  const visitor = await Visitor.login(test, "look");
  for (const query of ["limit=1e9", "before=x", "severity=7", "limit=-1"]) {
    assert.equal(await status(visitor.get(`alerts?${query}`)), 400, query);
  }
  assert.deepEqual(await visitor.json("alerts?text=%27%3B+DROP+TABLE+alerts%3B--"), []);
  assert.equal(await status(visitor.post("logout", {})), 200);
  assert.equal(await status(visitor.get("me")), 401);
});

Deno.test("console web: alerts, their packets, and what is new, as it happens", async () => {
  await using test = await TestConsole.start({ ni1: "" });
  const visitor = await Visitor.login(test, "look");
  const live = await visitor.get("live");
  const reader = live.body?.pipeThrough(new TextDecoderStream()).getReader();
  assert.match((await reader?.read())?.value ?? "", /retry/);
  const ni = await test.ni("ni1");
  await ni.start();
  ni.alert(alertEvent("worm"), new Uint8Array([1, 2, 3]));
  await test.waitForAlerts(1);
  let text = "";
  while (!/"alerts"/.test(text)) text += (await reader?.read())?.value ?? "";
  await reader?.cancel();
  const [alert] = await visitor.json("alerts") as { id: number }[];
  const whole = await visitor.json(`alerts/${alert?.id}`) as {
    packets: unknown[];
    problem?: string;
  };
  // What an NI sends as a capture may be anything.
  assert.deepEqual(whole.packets, []);
  const capture = await visitor.get(`alerts/${alert?.id}/capture`);
  assert.match(
    capture.headers.get("content-disposition") ?? "",
    /^attachment; filename="alert-1.pcap"$/,
  );
  assert.deepEqual(await capture.bytes(), new Uint8Array([1, 2, 3]));
});
