/**
 * libnftables(3) in this process: commands in nft(8)'s language for what is not done often enough to
 * be spoken in raw netlink (tables, chains, rules). Callers pass only text that they made themselves
 * from checked values.
 *
 * @module
 */
const SYMBOLS = {
  nft_ctx_new: { parameters: ["u32"], result: "pointer" },
  nft_ctx_free: { parameters: ["pointer"], result: "void" },
  nft_ctx_buffer_output: { parameters: ["pointer"], result: "i32" },
  nft_ctx_buffer_error: { parameters: ["pointer"], result: "i32" },
  nft_ctx_get_output_buffer: { parameters: ["pointer"], result: "pointer" },
  nft_ctx_get_error_buffer: { parameters: ["pointer"], result: "pointer" },
  nft_ctx_output_set_flags: { parameters: ["pointer", "u32"], result: "void" },
  nft_ctx_set_dry_run: { parameters: ["pointer", "bool"], result: "void" },
  nft_run_cmd_from_buffer: { parameters: ["pointer", "buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

const LIBRARY = "libnftables.so.1";
const JSON_OUTPUT = 1 << 4;
const TERSE = 1 << 11;
/** Numbers for protocols, priorities, symbols and times: output that no /etc file changes. */
const NUMERIC = (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10);

/** What a command did: `ok`, what it printed, and its error messages. */
export interface NftResult {
  readonly ok: boolean;
  readonly output: string;
  readonly error: string;
}

/** libnftables is not installed or cannot be used. */
export class LibnftablesMissing extends Error {
  override readonly name = "LibnftablesMissing";
}

/** A context of the library. */
export class Libnftables {
  readonly #library: Deno.DynamicLibrary<typeof SYMBOLS>;
  readonly #context: Deno.PointerObject;
  #open = true;

  /** @throws {LibnftablesMissing} when the library cannot be loaded. */
  constructor() {
    try {
      this.#library = Deno.dlopen(LIBRARY, SYMBOLS);
    } catch (error) {
      throw new LibnftablesMissing(`Cannot load ${LIBRARY}: ${(error as Error).message}`);
    }
    const nft = this.#library.symbols;
    const context = nft.nft_ctx_new(0);
    if (context === null) {
      this.#library.close();
      throw new LibnftablesMissing(`${LIBRARY} did not make a context: out of memory`);
    }
    this.#context = context;
    nft.nft_ctx_buffer_output(context);
    nft.nft_ctx_buffer_error(context);
  }

  /**
   * Runs commands (several, by line, are one atomic transaction).
   *
   * @param options `json`: print JSON; `dryRun`: let the kernel check but change nothing. Elements
   * of sets are never listed.
   */
  run(commands: string, options: { json?: boolean; dryRun?: boolean } = {}): NftResult {
    if (commands.includes("\0")) throw new RangeError("Cannot run nft commands with a zero byte");
    const nft = this.#library.symbols;
    const flags = TERSE | NUMERIC | (options.json === true ? JSON_OUTPUT : 0);
    nft.nft_ctx_output_set_flags(this.#context, flags);
    nft.nft_ctx_set_dry_run(this.#context, options.dryRun === true);
    const code = nft.nft_run_cmd_from_buffer(
      this.#context,
      new TextEncoder().encode(`${commands}\0`),
    );
    return {
      ok: code === 0,
      output: text(nft.nft_ctx_get_output_buffer(this.#context)),
      error: text(nft.nft_ctx_get_error_buffer(this.#context)).trim(),
    };
  }

  /** Frees the context; harmless when done twice. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#library.symbols.nft_ctx_free(this.#context);
    this.#library.close();
  }
}

function text(pointer: Deno.PointerValue): string {
  return pointer === null ? "" : new Deno.UnsafePointerView(pointer).getCString();
}
