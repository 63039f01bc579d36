/**
 * Pictures of a console's page, taken by a headless Chromium in a namespace of a lab.
 *
 * @module
 */
import { existsSync, writeFileSync } from "node:fs";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import type { LabConsole } from "../tests/lab/console.ts";
import type { Host } from "../tests/lab/host.ts";

const CHROMIUM = "/usr/bin/chromium";
const PATIENCE = 30_000;
/** Chromium's file system, crash and sandbox helpers do not know the namespaces of a lab. */
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];

/** How one picture is taken. */
export interface Picture {
  /** Words that must be in the section. */
  readonly waitFor: string;
  readonly dark?: boolean;
  readonly phone?: boolean;
  /** What is written into the field "Host" before, and words that are not there any more then. */
  readonly fill?: string;
  readonly gone?: string;
}

/** A browser that is logged in. */
export class PageCamera {
  /** Paths of the pictures. */
  readonly pictures: string[] = [];
  /** What the browser complained of, such as the content security policy. */
  readonly complaints: string[] = [];
  readonly #browser: Browser | undefined;
  readonly #context: BrowserContext | undefined;
  readonly #page: Page | undefined;
  readonly #directory: string;

  private constructor(browser: Browser | undefined, page: Page | undefined, directory: string) {
    this.#browser = browser;
    this.#context = page?.context();
    this.#page = page;
    this.#directory = directory;
    page?.setDefaultTimeout(PATIENCE);
    page?.on("console", (m) => {
      if (m.type() === "error" || m.type() === "warning") this.complaints.push(m.text());
    });
    page?.on("pageerror", (error) => this.complaints.push(error.message));
  }

  /** Opens the page at the console's own host, in its namespace. Without Chromium no pictures are taken. */
  static async open(console: LabConsole, host: Host, directory: string): Promise<PageCamera> {
    if (!existsSync(CHROMIUM)) return new PageCamera(undefined, undefined, directory);
    const starter = `${directory}/.chromium`;
    const enter = `exec nsenter --net=/run/netns/${host.namespace} -- ${CHROMIUM} "$@"`;
    writeFileSync(starter, `#!/bin/sh\n${enter}\n`, { mode: 0o700 });
    let browser: Browser | undefined;
    try {
      browser = await chromium.launch({ executablePath: starter, args: ARGUMENTS });
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
      const camera = new PageCamera(browser, await context.newPage(), directory);
      const [link] = await console.ask<{ url: string }>("console", "login", "--role", "act");
      await camera.#page?.goto(link?.url ?? "");
      await camera.#page?.getByRole("heading", { name: "Alerts over time" }).waitFor();
      return camera;
    } catch (error) {
      await browser?.close();
      throw error;
    } finally {
      Deno.removeSync(starter);
    }
  }

  /** Takes one of a section. */
  async shoot(name: string, section: string, picture: Picture): Promise<void> {
    const page = this.#page;
    if (page === undefined) return;
    await page.emulateMedia({ colorScheme: picture.dark === true ? "dark" : "light" });
    await page.setViewportSize(
      picture.phone === true ? { width: 390, height: 844 } : { width: 1280, height: 800 },
    );
    await page.getByRole("link", { name: section, exact: true }).click();
    await page.getByRole("heading", { level: 2 }).first().waitFor();
    const field = page.getByLabel("Host", { exact: true });
    if (await field.count() > 0 && await field.inputValue() !== (picture.fill ?? "")) {
      await field.fill(picture.fill ?? "");
      await field.blur();
    }
    if (picture.gone !== undefined) {
      await page.getByRole("table").getByText(picture.gone).first().waitFor({ state: "detached" });
    }
    await page.getByRole("table").getByText(picture.waitFor).first().waitFor();
    const path = `${this.#directory}/${name}.png`;
    await page.screenshot({ path, fullPage: true });
    this.pictures.push(path);
  }

  /** What there is to say about it, in a line. */
  summary(): string {
    if (this.#page === undefined) return `no pictures: there is no ${CHROMIUM}`;
    if (this.complaints.length === 0) return "the browser complains of nothing";
    return `the browser complains: ${this.complaints[0]}`;
  }

  /** Ends the browser. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context?.close();
    await this.#browser?.close();
  }
}
