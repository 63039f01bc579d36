/**
 * What a real program has to tell of itself to be a case of the matrix.
 *
 * @module
 */
import type { ProgramOptions, RunResult } from "../lab/host.ts";
import type { Field, Network } from "./field.ts";

/** A command. */
export interface Command extends Pick<ProgramOptions, "env" | "hosts"> {
  /** The program, by path or by name. */
  readonly program: string;
  /** Its arguments. */
  readonly args: readonly string[];
  /** Written to its standard input. */
  readonly input?: string;
}

/** A port that somebody listens on, which says that a program is ready. */
export interface Port {
  /** Transport protocol. */
  readonly protocol: "tcp" | "udp";
  /** Number. */
  readonly port: number;
}

/** A case that is made ready in one field. Clients and peers count from 0. */
export interface Play {
  /** The listening end: inside and under the agent for a server, at each outside host for a client. */
  readonly listen: (host: number) => Command;
  /** Where it listens. */
  readonly ready: (host: number) => Port;
  /** One session: from an outside host for a server, inside and under the agent for a client. */
  readonly session: (host: number) => Command;
  /**
   * For a program inside that does not end by itself: what an outside host does with it, after which it is
   * ended. The result is that of this command.
   */
  readonly use?: (host: number) => Command;
  /**
   * Checks what arrived, after the session's program has ended.
   *
   * @throws {Error} when it is not what was sent.
   */
  readonly verify: (host: number, result: RunResult) => Promise<void> | void;
}

/** One way to run one program. */
export interface MatrixCase {
  /** Name on the command line: program and mode, `vsftpd-passive`. */
  readonly name: string;
  /** What it is, for people. */
  readonly program: string;
  /** The mode, for people. */
  readonly mode: string;
  /** The Debian package whose version the table tells. */
  readonly package: string;
  /** How it serves several at once, for people. */
  readonly model: string;
  /** The end that is inside and runs under the agent. */
  readonly inside: "server" | "client";
  /** The server serves one client at a time, so that each gets a server of its own. */
  readonly serverEach?: boolean;
  /** Ports open to all: the server's control port; for a client mostly none. */
  readonly open: readonly string[];
  /** The network that it is played in; `host` without it. */
  readonly network?: Network;
  /** Milliseconds after a session in which the server takes no other: what it does then is not the agent's. */
  readonly rest?: number;
  /** More options of `diaper run`. */
  readonly run?: readonly string[];
  /** Pinholes of one session: exactly, or from and to. */
  readonly pinholes: number | readonly [number, number];
  /**
   * False where the perimeter would let the traffic through anyhow, since it is the inside that starts
   * every flow. With true the session must fail without the agent.
   */
  readonly needed: boolean;
  /** Why the broker refuses what the program asks for without need; any other refusal is an error. */
  readonly refused?: string;
  /** Pinholes that stay open until the inside program ends, of all clients together; 0 without it. */
  readonly lasting?: number;
  /** Files of this machine that it cannot do without. */
  readonly files: readonly string[];
  /** What people should know of it; told in the table. */
  readonly note?: string;
  /**
   * Why the program itself cannot do it. Then the proof is that it fails with neither agent nor perimeter,
   * and nothing else is tried.
   */
  readonly broken?: string;
  /** Milliseconds for one session; 60,000 without it. */
  readonly patience?: number;
  /** Makes the files that both ends need. */
  readonly prepare: (field: Field) => Promise<Play> | Play;
}
