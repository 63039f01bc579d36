/**
 * What the page is told of as it happens (server-sent events): that there is something new, and not what, so that a
 * flood of alerts costs a page no more than a few words a second.
 *
 * @module
 */
import type { StoredAlert } from "../store.ts";

/** Milliseconds between two words to a page. */
const PAUSE_MS = 500;
/** Pages at once; the oldest makes room. */
const MOST_PAGES = 200;
/** A word without meaning, so that a page notices a dead connection. */
const BEAT_MS = 15_000;

/** All pages that listen. */
export class LiveEvents {
  readonly #pages = new Set<ReadableStreamDefaultController<Uint8Array>>();
  readonly #kinds = new Set<string>();
  readonly #encoder = new TextEncoder();
  #fresh = 0;
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #beat = setInterval(() => this.#tell(": still here\n\n"), BEAT_MS);

  /** Alerts were kept. */
  alerts(alerts: readonly StoredAlert[]): void {
    this.#fresh += alerts.length;
    this.#last = alerts.at(-1)?.id ?? this.#last;
    this.changed("alerts");
  }

  /** Something of a kind is different now. */
  changed(kind: string): void {
    this.#kinds.add(kind);
    if (this.#pages.size === 0) return this.#forget();
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const data = { kinds: [...this.#kinds], alerts: this.#fresh, last: this.#last };
      this.#forget();
      this.#tell(`data: ${JSON.stringify(data)}\n\n`);
    }, PAUSE_MS);
  }

  /** A page begins to listen. */
  open(): Response {
    let page: ReadableStreamDefaultController<Uint8Array> | undefined;
    const end = () => {
      if (page !== undefined) this.#end(page);
    };
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        page = controller;
        if (this.#pages.size >= MOST_PAGES) {
          const [oldest] = this.#pages;
          if (oldest !== undefined) this.#end(oldest);
        }
        this.#pages.add(controller);
        controller.enqueue(this.#encoder.encode("retry: 2000\n\n"));
      },
      cancel: end,
    });
    return new Response(stream, { headers: { "Content-Type": "text/event-stream" } });
  }

  /** Ends all. */
  close(): void {
    clearInterval(this.#beat);
    clearTimeout(this.#timer);
    for (const page of [...this.#pages]) this.#end(page);
  }

  #forget(): void {
    this.#kinds.clear();
    this.#fresh = 0;
  }

  #tell(text: string): void {
    const data = this.#encoder.encode(text);
    for (const page of this.#pages) {
      // A page that does not read is not told more: it asks anew when it is back.
      if ((page.desiredSize ?? 0) < -64) this.#end(page);
      else page.enqueue(data);
    }
  }

  #end(page: ReadableStreamDefaultController<Uint8Array>): void {
    if (!this.#pages.delete(page)) return;
    try {
      page.close();
    } catch (error) {
      // The stream was cancelled by the other side before.
      if (!(error instanceof TypeError)) throw error;
    }
  }
}
