/**
 * Kills processes of a case's inside program in the middle of a session, and waits for what becomes of its
 * pinholes.
 *
 * @module
 */
import type { AuditLine } from "../lab/diaper.ts";
import type { CaseRun } from "./case_run.ts";
import { type Field, killProcess } from "./field.ts";

/**
 * Whom the signal meets: the process that asked for the pinhole, every process of the program, or every one
 * but the one that asked. The last may rightly let the session go on.
 */
export type Victim = "the one that asked" | "all" | "the others";

/** Names of cases whose sessions last long enough on the first host's slow link, one for each kind of program. */
export const KILLED: readonly string[] = [
  ...["vsftpd-passive", "proftpd-passive", "pureftpd-passive"],
  ...[
    "pyftpdlib-multiplexed-epoll",
    "pyftpdlib-threaded-epoll-tls",
    "pyftpdlib-multiprocess-poll-tls",
  ],
  ...["globus-up-p4", "globus-threads", "iperf3-udp", "nuttcp-server", "musl", "udt"],
  ...["lftp-active-tls", "curl-active", "nuttcp-client-udp"],
];

/** What became of the pinholes. */
export interface Killed {
  /** Milliseconds from the signal until each was closed. */
  readonly closed: readonly number[];
  /** Pinholes that the kernel's perimeter held afterwards. */
  readonly remaining: number;
}

/**
 * Starts a session from the first outside host, waits for a pinhole, and kills.
 *
 * @throws {Error} when a pinhole is not closed in time, though nobody has its socket any more.
 */
export async function killOnce(field: Field, run: CaseRun, victim: Victim): Promise<Killed> {
  const { daemon } = run;
  await run.listen(1);
  const session = run.begin(0);
  const opened = await daemon.waitForEvent((e) => e.event_type === "pinhole.opened", 30_000);
  const asker = Number(opened["pid"]);
  const spared = victim === "all" ? [] : [asker];
  // Found before the clock starts: reading /proc takes its time.
  const victims = victim === "the one that asked" ? [asker] : field.programs([field.inside])
    .filter((pid) => pid !== daemon.daemon.pid && !spared.includes(pid));
  const at = Date.now();
  for (const pid of victims) killProcess(pid);
  // Those that they have started meanwhile.
  if (victim !== "the one that asked") {
    await field.kill([field.inside], [daemon.daemon.pid, ...spared]);
  }
  const closing = (e: AuditLine) => e.event_type === "pinhole.closed" && e["id"] === opened["id"];
  await daemon.waitForEvent(closing, 10_000).catch((error: unknown) => {
    throw new Error(`${opened["program"]}: killed, but its pinhole stays: ${error}`);
  });
  // Others that were opened meanwhile end with the session.
  session.process.kill("SIGKILL");
  await field.kill([field.inside, ...field.outside], [daemon.daemon.pid]);
  await session.result;
  const ids = () =>
    daemon.events().filter((e) => e.event_type === "pinhole.opened").map((e) => e["id"]);
  for (let known = -1; known !== ids().length;) {
    known = ids().length;
    for (const id of ids()) {
      await daemon.waitForEvent((e) => e.event_type === "pinhole.closed" && e["id"] === id);
    }
  }
  const closed = daemon.events().filter(closing).map((e) => Date.parse(e.timestamp) - at);
  return { closed, remaining: (await daemon.kernelPinholes()).length };
}
