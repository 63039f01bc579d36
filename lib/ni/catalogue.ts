/**
 * The scanners that come with Diaper, each with the rights that it needs for what it is for. An administrator's
 * configuration takes their place.
 *
 * @module
 */
import { cageCommand, cageProgram } from "../sys/cage.ts";
import { mailTexts } from "./mail_texts.ts";
import type { ScannerRights } from "./rights.ts";

/** Rights and bounds that are not told. */
export const USUAL_RIGHTS: ScannerRights = {
  read: [],
  contain: [],
  injections: [],
  services: {},
  alertsPerMinute: 60,
  memory: 512 * 1024 * 1024,
  cpu: 80,
  queueFrames: 4096,
  queueBytes: 4 * 1024 * 1024,
  holdLimit: 120_000,
  onFailure: "open",
  options: {},
};

const BUILT_IN: Readonly<Record<string, Partial<ScannerRights> & { readonly summary: string }>> = {
  beacon: {
    summary:
      "programs that call home: connections to one server at regular intervals (alerts only)",
    read: ["tcp", "ip6"],
  },
  codered: {
    summary: "worms: many connections to addresses that no name was translated to",
    read: ["port 53", "tcp"],
    contain: ["tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", "ip6"],
  },
  email: {
    summary: "infected attachments of mail over SMTP, POP3 and IMAP",
    streams: { read: [], contain: ["tcp dst port 25 or 110 or 143 or 587"] },
    injections: mailTexts(),
    // What nobody looked at is not to arrive.
    onFailure: "closed",
    // Mail comes in bursts, and is read in the time that it takes to come.
    cpu: 100,
  },
  http: {
    summary: "HTTP requests that carry known buffer overflows",
    streams: { read: [], contain: ["tcp dst port 80"] },
    onFailure: "closed",
    cpu: 100,
  },
  guard: {
    summary: "spoofing, sniffing, small times to live, and fragments that hide something",
    contain: [""],
  },
  portscan: {
    summary: "scans for open ports, of one host or of many (alerts only)",
    read: ["tcp", "ip6"],
  },
  synbomb: {
    summary: "floods of half-open connections, with true or forged addresses",
    read: ["tcp"],
    contain: ["tcp[tcpflags] & tcp-syn != 0", "ip6"],
  },
};

/** Names of the scanners that come with Diaper, with what each is for. */
export function builtInScanners(): { readonly name: string; readonly summary: string }[] {
  return Object.entries(BUILT_IN).map(([name, { summary }]) => ({ name, summary }));
}

/** The usual rights of a scanner; undefined when there is none of that name. */
export function usualRights(name: string): ScannerRights | undefined {
  if (!Object.hasOwn(BUILT_IN, name)) return undefined;
  const { summary: _, ...rights } = BUILT_IN[name] as Partial<ScannerRights> & { summary: string };
  return { ...USUAL_RIGHTS, ...rights };
}

/** What runs as a scanner: one of Diaper's, or another module or program, with files that it may read. */
export type ScannerProgram =
  | { readonly builtIn: string }
  /** A module in place of Diaper's scanners, which is run with the scanner's name. */
  | { readonly module: string }
  | {
    readonly path: string;
    readonly arguments: readonly string[];
    readonly files: readonly string[];
  };

/**
 * The command that starts a scanner of Diaper's in its cage.
 *
 * @param place a small number that no other running scanner of this NI has: it gets a user of its own.
 */
export function scannerCommand(name: string, rights: ScannerRights, place: number): string[] {
  return cageCommand(name, rights.memory, place);
}

/** Gives each scanner of an NI a user of its own, the same one as long as it is known. */
export class ScannerPlaces {
  readonly #places = new Map<string, number>();

  /** The command that starts a scanner in its cage. */
  command(name: string, program: ScannerProgram, rights: ScannerRights): string[] {
    let place = this.#places.get(name);
    if (place === undefined) {
      const taken = new Set(this.#places.values());
      for (place = 0; taken.has(place);) place++;
      this.#places.set(name, place);
    }
    if ("builtIn" in program) return scannerCommand(program.builtIn, rights, place);
    return "module" in program
      ? cageCommand(name, rights.memory, place, program.module)
      : cageProgram(program, rights.memory, place);
  }
}
