/**
 * What is needed of etcd (version 3.4 or later), by its JSON gateway: keys, and changes that are made only
 * while a key is what it is believed to be.
 *
 * @module
 */

/** Where etcd is, and how to prove who we are. */
export interface EtcdOptions {
  /** Base URLs of its members, such as `https://192.0.2.1:2379`. */
  readonly endpoints: readonly string[];
  /** PEM texts; undefined without TLS client authentication. */
  readonly ca?: string | undefined;
  readonly certificate?: string | undefined;
  readonly key?: string | undefined;
}

/** A key with its value. */
export interface EtcdEntry {
  readonly key: string;
  readonly value: string;
  /** It is another one after each change of the key, also when the value stays the same. */
  readonly revision: string;
}

/** A change within a transaction. */
export type EtcdChange =
  | { readonly put: string; readonly value: string }
  | { readonly delete: string };

/** What a key must be for changes to be made. */
export type EtcdCondition =
  | { readonly key: string; readonly value: string }
  | { readonly key: string; readonly revision: string }
  | { readonly key: string; readonly absent: true };

/** etcd did not do what it was asked, or did not answer: what was asked may or may not have been done. */
export class EtcdError extends Error {
  override readonly name = "EtcdError";
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const base64 = (text: string) => encoder.encode(text).toBase64();
const fromBase64 = (text: string) => decoder.decode(Uint8Array.fromBase64(text));

/** A client. One member that answers is enough. */
export class Etcd {
  readonly #options: EtcdOptions;
  readonly #client: Deno.HttpClient;
  #at = 0;

  constructor(options: EtcdOptions) {
    this.#options = options;
    const { ca, certificate, key } = options;
    this.#client = Deno.createHttpClient({
      ...(ca === undefined ? {} : { caCerts: [ca] }),
      ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }),
    });
  }

  /** Makes changes, all or none, if a key is what is said of it; else false. */
  async change(
    condition: EtcdCondition,
    changes: readonly EtcdChange[],
    timeout: number,
  ): Promise<boolean> {
    const answer = await this.#ask("/v3/kv/txn", {
      compare: [comparison(condition)],
      success: changes.map((c) =>
        "put" in c
          ? { request_put: { key: base64(c.put), value: base64(c.value) } }
          : { request_delete_range: { key: base64(c.delete) } }
      ),
    }, timeout);
    return answer["succeeded"] === true;
  }

  /** One key; undefined when there is none. */
  async get(key: string, timeout: number): Promise<EtcdEntry | undefined> {
    return entries(await this.#ask("/v3/kv/range", { key: base64(key) }, timeout))[0];
  }

  /** All entries whose keys begin with a prefix, in the order of keys. */
  async *list(prefix: string, timeout: number): AsyncGenerator<EtcdEntry> {
    const end = prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
    let from = prefix;
    for (;;) {
      const answer = await this.#ask("/v3/kv/range", {
        key: base64(from),
        range_end: base64(end),
        limit: PAGE,
      }, timeout);
      const page = entries(answer);
      yield* page;
      if (answer["more"] !== true) return;
      from = (page[page.length - 1] as EtcdEntry).key + "\0";
    }
  }

  /** Lets go of all connections. */
  close(): void {
    this.#client.close();
  }

  async #ask(
    path: string,
    body: unknown,
    timeout: number,
  ): Promise<Record<string, unknown>> {
    const { endpoints } = this.#options;
    const base = endpoints[this.#at % endpoints.length] as string;
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    // A connection that is still being made is not ended by the signal: nobody waits for it all the same.
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        abort.abort();
        reject(new Error(`nothing in ${Math.round(timeout)} ms`));
      }, timeout);
    });
    try {
      return await Promise.race([this.#fetch(base + path, body, abort.signal), late]);
    } catch (error) {
      this.#at++; // another member may do better
      if (error instanceof EtcdError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new EtcdError(`etcd at ${base} does not answer: ${why}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  async #fetch(url: string, body: unknown, signal: AbortSignal): Promise<Record<string, unknown>> {
    const response = await fetch(url, {
      method: "POST",
      body: JSON.stringify(body),
      client: this.#client,
      signal,
    });
    const value = await response.json() as Record<string, unknown>;
    if (!response.ok) throw new EtcdError(`etcd: ${String(value["error"] ?? response.status)}`);
    return value;
  }
}

const PAGE = 1000;

function comparison(c: EtcdCondition): Record<string, string> {
  const key = base64(c.key);
  if ("value" in c) return { key, target: "VALUE", result: "EQUAL", value: base64(c.value) };
  if ("revision" in c) return { key, target: "MOD", result: "EQUAL", mod_revision: c.revision };
  return { key, target: "CREATE", result: "EQUAL", create_revision: "0" };
}

function entries(answer: Record<string, unknown>): EtcdEntry[] {
  const kvs = (answer["kvs"] ?? []) as { key: string; value?: string; mod_revision: string }[];
  return kvs.map((kv) => ({
    key: fromBase64(kv.key),
    value: fromBase64(kv.value ?? ""),
    revision: kv.mod_revision,
  }));
}
