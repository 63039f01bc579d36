/**
 * The console's page in a real headless Chromium.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import { captureFrame, captureHeader } from "../../lib/net/capture.ts";
import { pageAsset } from "../../lib/sys/assets.ts";
import { makeCertificate } from "../../lib/sys/certificate.ts";
import { alertEvent, TestConsole } from "./support.ts";

const CHROMIUM = "/usr/bin/chromium";
const ignore = !existsSync(CHROMIUM);
/** Where screenshots go, for people; nowhere without it. */
const shots = Deno.env.get("DIAPER_SCREENSHOTS");

const files = () =>
  new Map([
    ["/index.html", { type: "text/html; charset=utf-8", body: pageAsset("console.html") }],
    ["/console.css", { type: "text/css; charset=utf-8", body: pageAsset("console.css") }],
    ["/console.js", { type: "text/javascript; charset=utf-8", body: pageAsset("console.js") }],
  ]);

async function launch(): Promise<Browser> {
  return await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
}

/** A page that fails the test when the browser complains, such as about the content security policy. */
async function open(
  browser: Browser,
  options: Parameters<Browser["newContext"]>[0] = {},
): Promise<{ page: Page; complaints: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(40_000);
  const complaints: string[] = [];
  page.on("console", (m) => {
    if (m.type() === "error" || m.type() === "warning") complaints.push(m.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  return { page, complaints };
}

/** A SYN from the host, in a capture file. */
function capture(): Uint8Array {
  const format = { linkType: 1, precision: "ns", format: "pcap" } as const;
  const frame = Uint8Array.fromHex(
    "0200000000020200000000010800" + "4500002800004000400600000a000001c6336407" +
      "c0000050000000010000000050022000000000" + "00",
  );
  const [head, record] = [captureHeader(format), captureFrame(format, frame, 1_800_000_000, 5)];
  const all = new Uint8Array(head.length + record.length);
  all.set(head);
  all.set(record, head.length);
  return all;
}

const EVIL = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;

Deno.test({
  name: "console page: an administrator logs in, looks, contains a host, and reads who did what",
  ignore,
  // The browser's driver keeps handles of its own until the process ends.
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    await using test = await TestConsole.start(
      {
        "edge-1": "group=edge hosts=10.0.0.0/24",
        "edge-2": "group=edge hosts=10.0.1.0/24",
        "lab": "hosts=10.0.2.0/24",
      },
      {},
      undefined,
      files(),
    );
    const done: string[] = [];
    const ni = await test.ni("edge-1", {
      handlers: {
        order: (order) => {
          done.push(`${order.verb} ${order.host} ${order.reason}`);
          return { ok: true, why: "10 connections are slowed" };
        },
        state: () => ({ scanners: { codered: { pid: 4711, alerts: 3 } } }),
      },
    });
    const hostile = await test.ni("edge-2", { host: EVIL, software: EVIL.slice(0, 64) });
    await Promise.all([ni.start(), hostile.start()]);
    for (let i = 0; i < 40; i++) {
      ni.alert(
        alertEvent(i % 3 === 0 ? "many connections to addresses nobody looked up" : "port scan", {
          src_ip: `10.0.0.${1 + i % 5}`,
          alert: {
            signature: i % 3 === 0 ? "many connections to addresses nobody looked up" : "port scan",
            category: "Worm",
            severity: 1 + i % 3,
            action: i % 2 === 0 ? "blocked" : "allowed",
          },
          detail: { untranslated: 12 + i, window_s: 60 },
        }),
        i === 39 ? capture() : undefined,
      );
    }
    hostile.alert(
      alertEvent(EVIL, {
        src_ip: EVIL,
        scanner: EVIL,
        dest_ip: EVIL,
        proto: EVIL,
        detail: { [EVIL]: EVIL },
      }),
    );
    await test.waitForAlerts(41);
    const browser = await launch();
    try {
      const { page, complaints } = await open(browser);
      await page.goto(test.loginLink("administer"));
      await page.getByRole("heading", { name: "Alerts over time" }).waitFor();
      await page.getByText("2 / 3").waitFor();
      await page.getByRole("button", { name: EVIL }).first().waitFor();
      assert.equal(await page.evaluate("document.title.includes('owned')"), false);
      assert.equal(new URL(page.url()).hash, "", "the link does not stay in the history");
      await shoot(page, "overview");
      for (
        const section of ["Timeline", "NIs", "Pinholes", "Contained", "Scanners", "Audit", "Alerts"]
      ) {
        await page.getByRole("link", { name: section, exact: true }).click();
        await page.getByRole("heading", { level: 2 }).first().waitFor();
        await shoot(page, section.toLowerCase());
      }
      // Filters, then one alert with its packets.
      await page.getByRole("combobox", { name: "NI" }).selectOption("edge-1");
      await page.getByRole("combobox", { name: "Severity" }).selectOption("1");
      // The page forbids code that is text, in its tests too: a 14th row, and no 15th, are waited for by name.
      await page.locator("tbody tr:nth-child(14)").waitFor();
      await page.locator("tbody tr:nth-child(15)").waitFor({ state: "detached" });
      await page.getByRole("button", { name: "many connections" }).first().focus();
      await page.keyboard.press("Enter");
      const dialog = page.getByRole("dialog");
      await dialog.getByText("10.0.0.1:49152 > 198.51.100.7:80 SYN").click();
      await shoot(page, "alert");
      const [download] = await Promise.all([
        page.waitForEvent("download"),
        dialog.getByRole("link", { name: "Download capture" }).click(),
      ]);
      assert.deepEqual(new Uint8Array(await Deno.readFile(await download.path() ?? "")), capture());
      // Containment needs a reason.
      await dialog.getByRole("button", { name: /Contain 10/ }).click();
      const order = page.getByRole("dialog");
      await order.getByRole("button", { name: "Order: slow" }).click();
      assert.equal(done.length, 0, "nothing is ordered without a reason");
      await order.getByLabel("Why").fill("scans like Code-Red");
      await shoot(page, "contain");
      await order.getByRole("button", { name: "Order: slow" }).click();
      await page.getByText("Ordered: slow 10.0.0.5 at edge-1").waitFor();
      await test.until(() => done[0], "order at the NI");
      assert.deepEqual(done, ["slow 10.0.0.5 scans like Code-Red"]);
      await page.getByRole("link", { name: "Contained" }).click();
      await page.getByText("done: 10 connections are slowed").waitFor();
      await shoot(page, "contained-one");
      await page.getByRole("link", { name: "Audit" }).click();
      await page.getByRole("cell", { name: "order.slow" }).waitFor();
      await page.getByRole("button", { name: "Log out" }).click();
      await page.getByText("You are not logged in").waitFor();
      // The browser itself tells of the answer 401.
      assert.deepEqual(complaints.filter((c) => !/status of 401/.test(c)), []);
    } finally {
      await browser.close();
    }
  },
});

Deno.test({
  name: "console page: dark, on a phone, over TLS, for who may only look",
  ignore,
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    await using test = await TestConsole.start(
      { ni1: "" },
      { web: { listen: "127.0.0.1:0", tls: "made" } },
      undefined,
      files(),
      makeCertificate(["127.0.0.1"]),
    );
    const ni = await test.ni("ni1");
    await ni.start();
    for (let i = 0; i < 20; i++) ni.alert(alertEvent("port scan"));
    await test.waitForAlerts(20);
    const browser = await launch();
    try {
      const { page, complaints } = await open(browser, {
        viewport: { width: 390, height: 844 },
        colorScheme: "dark",
        ignoreHTTPSErrors: true,
      });
      const link = test.loginLink("look");
      assert.match(link, /^https:/);
      await page.goto(link);
      await page.getByText("Alerts over time").waitFor();
      await shoot(page, "phone-overview");
      for (const section of ["Alerts", "NIs"]) {
        await page.getByRole("link", { name: section, exact: true }).click();
        await page.getByRole("table").first().waitFor();
        const wide = await page.evaluate(
          "document.documentElement.scrollWidth > document.documentElement.clientWidth",
        );
        assert.equal(wide, false, `${section} does not scroll sideways`);
        await shoot(page, `phone-${section.toLowerCase()}`);
      }
      assert.equal(await page.getByRole("button", { name: /Contain/ }).count(), 0);
      const background = await page.evaluate("getComputedStyle(document.body).backgroundColor");
      assert.equal(background, "rgb(20, 23, 28)");
      assert.deepEqual(complaints, []);
      // A link that was used, in another browser.
      const other = await open(browser, { ignoreHTTPSErrors: true });
      await other.page.goto(link);
      await other.page.getByText("this link was used before").waitFor();
    } finally {
      await browser.close();
    }
  },
});

async function shoot(page: Page, name: string): Promise<void> {
  if (shots === undefined) return;
  await page.waitForLoadState("networkidle", { timeout: 1000 }).catch(() => undefined); // a live page never idles
  await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
}
