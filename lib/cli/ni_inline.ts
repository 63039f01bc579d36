/**
 * The main thread of an inline NI: signals and output.
 *
 * @module
 */
import type { NiNews, NiOrder } from "../ni/worker.ts";
import { libc } from "../sys/libc.ts";
import { startWorker } from "../sys/runtime.ts";
import { notifySystemd } from "../sys/systemd.ts";
import { unixPair } from "../sys/unix_socket.ts";
import { daemonLog } from "./daemon_log.ts";
import { CliError, EXIT } from "./exit.ts";
import { NiConsole, ownAddressRules, readNiConsole } from "./ni_console.ts";
import { printMessage } from "./output.ts";

/**
 * Runs an NI until a signal ends it.
 *
 * @param show prints an event.
 * @param consoleFile what it is told about its console; without it there is none.
 * @throws {CliError} without root, or when it cannot stand between the interfaces.
 */
export async function runInline(
  options: NiOrder["options"],
  show: (event: Readonly<Record<string, unknown>>) => void,
  consoleFile?: string,
): Promise<void> {
  if (Deno.uid() !== 0) {
    throw new CliError(EXIT.NOT_PERMITTED, "an inline NI needs root", "sudo diaper ni");
  }
  const log = daemonLog();
  const consoleConfig = consoleFile === undefined ? undefined : readNiConsole(consoleFile);
  const started = new Date().toISOString();
  const console = consoleConfig === undefined ? undefined : new NiConsole(consoleConfig, {
    apply: () => Promise.reject(new Error("this NI cannot change its scanners while it runs")),
    status: () => ({ host: options.host, net: options.net, pid: Deno.pid, started_at: started }),
    order: undefined,
    configure: undefined,
    log: (level, text) => log[level]("{text}", { text }),
  });
  const withOwn = consoleConfig === undefined
    ? options
    : { ...options, prevent: [...options.prevent, ...ownAddressRules()] };
  const [ours, theirs] = unixPair("stream");
  const worker = startWorker("ni");
  let open = true;
  const stop = () => {
    if (!open) return;
    open = false;
    notifySystemd("STOPPING=1");
    libc.close(ours);
  };
  const status = () => {
    if (open) libc.write(ours, Uint8Array.of(0x73), 1);
  };
  const signals = [["SIGTERM", stop], ["SIGINT", stop], ["SIGUSR2", status]] as const;
  for (const [signal, handler] of signals) Deno.addSignalListener(signal, handler);
  try {
    const last = await new Promise<Record<string, unknown>>((resolve, reject) => {
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new CliError(EXIT.FAILED, `the NI kernel failed: ${event.message}`));
      };
      worker.onmessage = ({ data }: MessageEvent<NiNews>) => {
        if (data.news === "event") {
          console?.event(data.event);
          show(data.event);
        } else if (data.news === "log") log[data.level]("{text}", { text: data.text });
        else if (data.news === "status") printMessage(JSON.stringify(data.status));
        else if (data.news === "stopped") resolve(data.status);
        else if (data.news === "failed") reject(new CliError(EXIT.FAILED, data.message, data.next));
        else {
          log.info("NI between {host} and {net}", { host: options.host, net: options.net });
          notifySystemd("READY=1");
          console?.start().catch(reject);
        }
      };
      worker.postMessage({ options: withOwn, wake: theirs } satisfies NiOrder);
    });
    printMessage(JSON.stringify(last));
  } finally {
    for (const [signal, handler] of signals) Deno.removeSignalListener(signal, handler);
    worker.terminate();
    await console?.stop();
    stop();
    libc.close(theirs);
  }
}
