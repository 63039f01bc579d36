/**
 * One subsystem at an SSH server whose host key is pinned.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { connect } from "node:net";
import type { ClientChannel } from "./ssh2.d.ts";
import { Client, KEY_TYPE, SSH_ALGORITHMS } from "./ssh.ts";

/** Where to, and as whom. */
export interface SubsystemOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Private key, as text. */
  readonly privateKey: string;
  /** Host keys that are taken, as base64. */
  readonly pins: ReadonlySet<string>;
  readonly subsystem: string;
  /** Milliseconds from the first word to the subsystem. */
  readonly timeout: number;
  /** The address that it comes from; the system chooses without it. */
  readonly localAddress?: string | undefined;
}

/** What becomes of it. */
export interface SubsystemEvents {
  /** It is open. `end` ends the connection, and says why. */
  readonly open: (channel: ClientChannel, end: (why?: string) => void) => void;
  /** The connection is over, or never was; called once. */
  readonly ended: (why: string) => void;
}

const STRANGER = "its host key is not the one that was pinned: this may be somebody else";

/** Opens it; the result ends the connection. */
export function openSubsystem(
  options: SubsystemOptions,
  events: SubsystemEvents,
): (why?: string) => void {
  const client = new Client();
  let why = "the connection was closed";
  let stranger = false;
  const end = (text?: string) => {
    if (stranger) why = STRANGER;
    else if (text !== undefined) why = text;
    client.end();
    socket.destroy();
  };
  const timer = setTimeout(() => end("does not answer"), options.timeout);
  const socket = connect({
    host: options.host,
    port: options.port,
    noDelay: true,
    ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
  });
  socket.on("error", (error) => end(error.message));
  socket.on("close", () => {
    clearTimeout(timer);
    events.ended(why);
  });
  client.on("error", (error) => end(error.message));
  client.on("ready", () => {
    client.subsys(options.subsystem, (error, channel) => {
      clearTimeout(timer);
      if (error !== undefined) return end(error.message);
      events.open(channel, end);
    });
  });
  client.connect({
    sock: socket,
    username: options.user,
    privateKey: options.privateKey,
    readyTimeout: options.timeout,
    keepaliveInterval: 0,
    algorithms: { ...SSH_ALGORITHMS, serverHostKey: [KEY_TYPE] },
    hostVerifier: (key: Buffer) => {
      stranger = !options.pins.has(key.toString("base64"));
      return !stranger;
    },
  });
  return end;
}
