/**
 * A broker on a poll set in this process, and agents that say what a test wants them to say.
 *
 * @module
 */
import { Broker, type BrokerEvent, type BrokerOptions } from "../../lib/broker/broker.ts";
import { ChannelLimits } from "../../lib/broker/limits.ts";
import type { PinholeRequest, Verdict } from "../../lib/pinhole/request.ts";
import { Poller } from "../../lib/sys/epoll.ts";
import { libc } from "../../lib/sys/libc.ts";
import { ownNamespace } from "../../lib/sys/socket_facts.ts";
import { connectUnix, listenUnix, MessageReceiver, sendUnix } from "../../lib/sys/unix_socket.ts";

/** An answer as an agent reads it. */
export interface Answer {
  readonly sequence: number;
  readonly verdict: number;
  readonly flags: number;
  readonly id: number;
  readonly why: string;
}

/** The broker under test and what came out of it. */
export class BrokerHarness implements Disposable {
  readonly poller = new Poller();
  readonly requests: PinholeRequest[] = [];
  readonly events: BrokerEvent[] = [];
  readonly broker: Broker;
  readonly path: string;
  /** How requests are answered; by default all are opened as number 7. */
  answer: (request: PinholeRequest) => Verdict = () => ({ kind: "open", id: 7, why: "rule 1" });
  readonly #directory: string;
  readonly #agents: number[] = [];

  /** @param options what differs from a broker whose host has the address 127.0.0.2. */
  constructor(options: Partial<BrokerOptions> = {}) {
    this.#directory = Deno.makeTempDirSync({ prefix: "diaper-broker-" });
    Deno.chmodSync(this.#directory, 0o755);
    this.path = `${this.#directory}/agent.sock`;
    const listener = listenUnix(this.path, "seqpacket");
    Deno.chmodSync(this.path, 0o666);
    this.broker = new Broker(
      this.poller,
      listener,
      {
        failBind: false,
        delegates: new Map(),
        namespace: ownNamespace(),
        isLocal: (a) => a.text === "127.0.0.2" || a.text === "::1",
        openPorts: new Set(["tcp/2121"]),
        limits: new ChannelLimits(1000, 100),
        recordStart: false,
        ...options,
      },
      (request, answer) => {
        this.requests.push(request);
        answer(this.answer(request));
      },
      (event) => this.events.push(event),
    );
  }

  /** Has the broker do all that is to be done. */
  work(): void {
    while (this.poller.wait(0) > 0);
  }

  /** A new agent, connected. */
  connect(): FakeAgent {
    const fd = connectUnix(this.path, "seqpacket");
    this.#agents.push(fd);
    return new FakeAgent(fd, this);
  }

  /** A connection that the caller closes; by default to the broker. */
  connectRaw(path = this.path): { readonly fd: number; readonly agent: FakeAgent } {
    const fd = connectUnix(path, "seqpacket");
    return { fd, agent: new FakeAgent(fd, this) };
  }

  /** A new agent that has said HELLO. */
  greeted(delegate = ""): FakeAgent {
    const agent = this.connect();
    agent.send(helloMessage(delegate));
    agent.read();
    return agent;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#agents) libc.close(fd);
    this.broker.close();
    this.poller.close();
    Deno.removeSync(this.#directory, { recursive: true });
  }
}

/** The far end of a channel. */
export class FakeAgent {
  readonly #fd: number;
  readonly #harness: BrokerHarness;
  readonly #receiver = new MessageReceiver(512);

  constructor(fd: number, harness: BrokerHarness) {
    this.#fd = fd;
    this.#harness = harness;
  }

  /** Sends bytes and descriptors; true when they were taken. */
  send(bytes: Uint8Array, fds: readonly number[] = []): boolean {
    return sendUnix(this.#fd, bytes, fds) === bytes.length;
  }

  /** The next answer; "end" when the broker has closed the channel, "none" when it says nothing. */
  read(): Answer | "end" | "none" {
    this.#harness.work();
    const message = this.#receiver.receive(this.#fd);
    if (typeof message === "string") return message;
    const view = new DataView(message.data.buffer, 0, message.data.length);
    const text = message.data.subarray(32, message.data.indexOf(0, 32));
    return {
      sequence: view.getUint32(8, true),
      verdict: view.getUint32(16, true),
      flags: view.getUint32(20, true),
      id: view.getUint32(24, true),
      why: new TextDecoder().decode(text),
    };
  }
}

/** A message's header with room for its body. */
export function message(type: number, length: number, sequence = 1): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(length));
  view.setUint32(0, 0x31525044, true);
  view.setUint16(4, type, true);
  view.setUint16(6, length, true);
  view.setUint32(8, sequence, true);
  return view;
}

/** HELLO. */
export function helloMessage(delegate = ""): Uint8Array<ArrayBuffer> {
  const view = message(1, 96);
  view.setUint32(16, 1, true);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(new TextEncoder().encode(delegate), 24);
  return bytes;
}

/** CHANNEL, with what {@link openMessage} asks for. */
export function channelMessage(): Uint8Array<ArrayBuffer> {
  const bytes = openMessage();
  bytes[4] = 2;
  return bytes;
}

/** OPEN for a source given as bytes, and the control connection's local address. */
export function openMessage(
  source: readonly number[] = [198, 51, 100, 7],
  control: readonly number[] = [127, 0, 0, 2],
): Uint8Array<ArrayBuffer> {
  const view = message(3, 88, 42);
  const bytes = new Uint8Array(view.buffer);
  bytes[16] = source.length === 4 ? 4 : 6;
  bytes[17] = control.length === 0 ? 0 : control.length === 4 ? 4 : 6;
  bytes.set(source, 20);
  bytes.set(control, 36);
  return bytes;
}

/** An inet socket, bound when `port` is given (0: the kernel chooses); the caller closes it. */
export function boundSocket(
  port: number | undefined,
  address: readonly number[] = [127, 0, 0, 2],
  type: "tcp" | "udp" = "tcp",
): number {
  const v6 = address.length === 16;
  const fd = libc.socket(v6 ? 10 : 2, type === "tcp" ? 1 : 2, 0);
  if (port === undefined) return fd;
  const name = new Uint8Array(v6 ? 28 : 16);
  name[0] = v6 ? 10 : 2;
  name[2] = port >> 8;
  name[3] = port & 0xff;
  name.set(address, v6 ? 8 : 4);
  if (libc.bind(fd, name, name.length) !== 0) throw new Error(`Cannot bind port ${port}`);
  return fd;
}

/** Uses a descriptor and closes it. */
export function withFd<T>(fd: number, work: (fd: number) => T): T {
  try {
    return work(fd);
  } finally {
    libc.close(fd);
  }
}
