/**
 * Local pinhole authentication (paper, section 4.1): takes the agents' channels, proves by the kernel who
 * asks and for which socket, and hands the proven request on.
 *
 * @module
 */
import { type IpAddress, ipKind, unmapIp } from "../net/ip.ts";
import type { FiveTuple, Requester } from "../pinhole/pinhole.ts";
import type { PinholeRequest, Verdict } from "../pinhole/request.ts";
import { userName } from "../sys/accounts.ts";
import { EPOLL, type Poller } from "../sys/epoll.ts";
import { libc, SystemError } from "../sys/libc.ts";
import { processProgram, processStart, processVariables } from "../sys/process_facts.ts";
import { type SocketFacts, socketFacts } from "../sys/socket_facts.ts";
import {
  acceptUnix,
  type Credentials,
  isSeqpacket,
  MessageReceiver,
  passCredentials,
  peerCredentials,
  type ReceivedMessage,
  sendUnix,
} from "../sys/unix_socket.ts";
import type { ChannelLimits } from "./limits.ts";
import { LateProgram, LateRequester, Rush } from "./late_program.ts";
import { tracedProcess } from "./traced_process.ts";
import {
  type AgentMessage,
  encodeTicket,
  encodeVerdict,
  LONGEST_MESSAGE,
  type OpenMessage,
  parseAgentMessage,
  type TracedMessage,
} from "./wire.ts";
import { isStillClient, type WrappedClient, WrapperProof } from "./wrapper_proof.ts";

/** What the broker needs to know of its host and of the administrator's wishes. */
export interface BrokerOptions {
  /** `bind` fails with EACCES where there is no pinhole. */
  readonly failBind: boolean;
  /** Accounts that may ask in a delegate's name, besides root and the account of that name. */
  readonly delegates: ReadonlyMap<string, ReadonlySet<string>>;
  /** This network namespace (0n: not known, not compared). */
  readonly namespace: bigint;
  readonly isLocal: (address: IpAddress) => boolean;
  /** Ports that are open to everyone by configuration, as `tcp/21`. */
  readonly openPorts: ReadonlySet<string>;
  readonly limits: ChannelLimits;
  /** Start times of processes are recorded: where sockets alone do not tell who lives. */
  readonly recordStart: boolean;
  /** The list of installed wrappers, where it is not in its usual place. */
  readonly wrapperDirectory?: string;
}

/** What became of a conversation with an agent, for the audit trail. */
export interface BrokerEvent {
  readonly event_type:
    | "channel.refused"
    | "request.refused"
    | "request.disputed"
    | "wrapper.environment"
    | "channel.limit";
  readonly why: string;
  readonly uid: number;
  readonly pid: number;
  readonly program: string;
}

/** Decides about a proven request; answers at once or later, once. */
export type RequestHandler = (request: PinholeRequest, answer: (verdict: Verdict) => void) => void;

interface Channel {
  readonly fd: number;
  readonly peer: Credentials;
  readonly pidStart: bigint;
  program: LateProgram;
  /** undefined until HELLO or JOIN was accepted. */
  delegate: string | undefined;
  /** It was HELLO, and so a process with an account of its own, that made the delegate known. */
  greeted: boolean;
  readonly since: number;
  /** The account whose share of channels it is taken from. */
  charged: number;
  closed: boolean;
  /** The requester of the last request, kept while user and delegate stay the same. */
  requester: Requester | undefined;
  /** The ticket that a wrapper's channel carries; such a channel is good for nothing else. */
  ticket: Uint8Array | undefined;
  /** The client behind the channel, when a wrapper has started it. */
  client: WrappedClient | undefined;
}

/** Who is named in the audit trail. */
interface Asker {
  readonly uid: number;
  readonly pid: number;
}

/** A message that proves its sender wrong: the channel is closed. */
class ProtocolViolation extends Error {}

/** How many descriptors come with a message; 0 for those that are not here. */
const DESCRIPTORS: Readonly<Partial<Record<AgentMessage["type"], number>>> = {
  channel: 2,
  open: 1,
  traced: 2,
};

/** A channel says once who it is. */
function mustBeFirst(channel: Channel, what: string): void {
  if (channel.delegate !== undefined || channel.ticket !== undefined) {
    throw new ProtocolViolation(`second HELLO, WRAP or JOIN: ${what}`);
  }
}

/** Variables by which a user might hope to get code into a wrapper or its program. */
const INTRUDING = /^(LD_.*|GCONV_PATH|GLIBC_TUNABLES|DIAPER_(SOCKET|FD|WRAPPER_FD))$/;

/** Longest time from connect to HELLO, in milliseconds. */
const HELLO_MS = 10_000;
/** Messages taken from one channel in one round, so that a talkative one does not starve the rest. */
const MESSAGES_PER_ROUND = 64;

/** The broker's end of all agents' channels, on a poll set. */
export class Broker {
  readonly #poller: Poller;
  readonly #listener: number;
  readonly #options: BrokerOptions;
  readonly #request: RequestHandler;
  readonly #report: (event: BrokerEvent) => void;
  readonly #wrappers: WrapperProof;
  readonly #receiver = new MessageReceiver(LONGEST_MESSAGE);
  readonly #channels = new Map<number, Channel>();
  /** Channels without HELLO, oldest first. */
  readonly #unproven = new Set<Channel>();
  readonly #rush = new Rush();

  /** @param listener a listening SEQPACKET socket; the broker closes it in the end. */
  constructor(
    poller: Poller,
    listener: number,
    options: BrokerOptions,
    request: RequestHandler,
    report: (event: BrokerEvent) => void,
  ) {
    this.#poller = poller;
    this.#listener = listener;
    this.#options = options;
    this.#request = request;
    this.#report = report;
    this.#wrappers = new WrapperProof(options.wrapperDirectory);
    // What an agent says before it is accepted shall be signed by the kernel as well.
    passCredentials(listener);
    poller.add(listener, EPOLL.IN, () => this.#accept());
  }

  /** Channels that are open now. */
  get channels(): number {
    return this.#channels.size;
  }

  /**
   * Closes channels that have not said HELLO in time. To be called about once a second.
   *
   * @param now milliseconds since the epoch.
   */
  tick(now: number): void {
    for (const channel of this.#unproven) {
      if (now - channel.since < HELLO_MS) break;
      this.#refuseChannel(channel, "no HELLO in time");
    }
  }

  /** Closes all channels and the listener. */
  close(): void {
    this.#poller.remove(this.#listener);
    libc.close(this.#listener);
    for (const channel of [...this.#channels.values()]) this.#drop(channel);
  }

  #accept(): void {
    for (let i = 0; i < 128; i++) {
      const fd = acceptUnix(this.#listener);
      if (fd === "none") return;
      if (fd === "limit") {
        this.#report({
          event_type: "channel.limit",
          why: "no descriptor is left for another channel",
          uid: -1,
          pid: -1,
          program: "",
        });
        // Level-triggered: unwatched until a descriptor is free, or it would be ready for ever.
        this.#poller.change(this.#listener, 0);
        this.#options.limits.pause(() => this.#poller.change(this.#listener, EPOLL.IN));
        return;
      }
      const peer = peerCredentials(fd);
      const refused = this.#options.limits.take(peer.uid);
      if (refused !== undefined) {
        libc.close(fd);
        this.#report({
          event_type: "channel.limit",
          why: refused,
          uid: peer.uid,
          pid: peer.pid,
          program: "",
        });
        continue;
      }
      passCredentials(fd);
      this.#open(fd, peer, undefined);
    }
  }

  #open(
    fd: number,
    peer: Credentials,
    delegate: string | undefined,
    client?: WrappedClient,
  ): Channel {
    const now = Date.now();
    const channel: Channel = {
      fd,
      peer,
      pidStart: this.#options.recordStart ? processStart(peer.pid) ?? 0n : 0n,
      program: new LateProgram(
        peer.pid,
        client?.record.target ?? (this.#rush.add(now) ? undefined : processProgram(peer.pid)),
      ),
      delegate,
      greeted: false,
      since: now,
      charged: peer.uid,
      closed: false,
      requester: undefined,
      ticket: undefined,
      client,
    };
    this.#channels.set(fd, channel);
    if (delegate === undefined) this.#unproven.add(channel);
    this.#poller.add(fd, EPOLL.IN | EPOLL.RDHUP, () => this.#readable(channel));
    return channel;
  }

  #readable(channel: Channel): void {
    for (let i = 0; i < MESSAGES_PER_ROUND && !channel.closed; i++) {
      const message = this.#receiver.receive(channel.fd);
      if (message === "none") return;
      if (message === "end") return this.#drop(channel);
      let mayHoldMore = false;
      try {
        mayHoldMore = this.#message(channel, message);
      } catch (error) {
        if (!(error instanceof ProtocolViolation)) throw error;
        this.#refuseChannel(channel, error.message);
      } finally {
        // Whatever was passed and not taken over is dropped at once: a copy here keeps a socket alive.
        for (const fd of message.fds) libc.close(fd);
      }
      if (!mayHoldMore) return;
    }
  }

  /** Does what a message asks for; true when the channel is likely to hold more. */
  #message(channel: Channel, received: ReceivedMessage): boolean {
    if (received.truncated) throw new ProtocolViolation("message is too long");
    const message = parseAgentMessage(received.data);
    if (typeof message === "string") throw new ProtocolViolation(message);
    const sender = received.credentials;
    if (sender === undefined || sender.pid !== channel.peer.pid) {
      if (message.type !== "channel") {
        throw new ProtocolViolation(
          `process ${sender?.pid ?? "?"} speaks over the channel of process ${channel.peer.pid}`,
        );
      }
    }
    const fdsWanted = DESCRIPTORS[message.type] ?? 0;
    if (received.fds.length !== fdsWanted) {
      throw new ProtocolViolation(
        `${message.type} with ${received.fds.length} descriptors, not ${fdsWanted}`,
      );
    }
    if (message.type === "hello") {
      this.#hello(channel, message);
      return false;
    }
    if (message.type === "wrap") {
      this.#wrap(channel, message, sender as Credentials);
      return false;
    }
    if (message.type === "join") {
      this.#join(channel, message, sender as Credentials);
      return false;
    }
    if (channel.delegate === undefined) throw new ProtocolViolation("no HELLO before the rest");
    const { client } = channel;
    if (client !== undefined && !isStillClient(sender?.pid ?? 0, client)) {
      throw new ProtocolViolation(
        `process ${sender?.pid ?? "?"} is not ${client.record.target} as its wrapper started it`,
      );
    }
    const { fds } = received;
    if (message.type === "channel") {
      const socket = fds[1] as number;
      const child = this.#child(channel, fds, sender);
      if (child !== undefined) this.#ask(child, message, socket, sender as Credentials);
      // Who asks over a channel of its own waits for the answer: only a parent's is likely to hold more.
      return true;
    }
    if (message.type === "open") {
      this.#ask(channel, message, fds[0] as number, sender as Credentials);
    }
    if (message.type === "traced") this.#askForTraced(channel, message, fds);
    // CLOSE is a hint only: the kernel's notice of the socket's end decides.
    return false;
  }

  #hello(channel: Channel, message: AgentMessage & { type: "hello" }): void {
    mustBeFirst(channel, "HELLO");
    const account = userName(channel.peer.uid);
    if (account === undefined) {
      const why = `uid ${channel.peer.uid} has no account on this host`;
      this.#answer(channel, message.sequence, { kind: "refused", why });
      return this.#refuseChannel(channel, why);
    }
    const delegate = message.delegate === "" ? account : message.delegate;
    const allowed = channel.peer.uid === 0 || delegate === account ||
      this.#options.delegates.get(delegate)?.has(account) === true;
    if (!allowed) {
      const why = `${account} may not ask in the name of ${delegate}`;
      this.#answer(channel, message.sequence, { kind: "refused", why });
      return this.#refuseChannel(channel, why);
    }
    channel.delegate = delegate;
    channel.greeted = true;
    this.#unproven.delete(channel);
    this.#answer(channel, message.sequence, { kind: "open", id: 0, why: delegate });
  }

  /** A wrapper, before it becomes its program: it gets a ticket for that. */
  #wrap(
    channel: Channel,
    message: AgentMessage & { type: "wrap" },
    sender: Credentials,
  ): void {
    mustBeFirst(channel, "WRAP");
    // From here on at the user's cost, or one user could use up the delegate's share of channels.
    const full = this.#options.limits.move(channel.charged, sender.uid);
    if (full === undefined) channel.charged = sender.uid;
    const ticket = full ?? this.#wrappers.admit(channel.peer, sender, message);
    if (typeof ticket === "string") {
      this.#answer(channel, message.sequence, { kind: "refused", why: ticket });
      // Told of the user who tried, not of the delegate.
      return this.#refuseChannel(channel, ticket, sender.uid);
    }
    const set = processVariables(channel.peer.pid).filter((name) => INTRUDING.test(name));
    if (set.length > 0) {
      const why = `started with ${set.join(", ")}: without effect`;
      const { pid } = channel.peer;
      const program = channel.program.path;
      this.#report({ event_type: "wrapper.environment", why, uid: sender.uid, pid, program });
    }
    channel.ticket = ticket;
    if (sendUnix(channel.fd, encodeTicket(message.sequence, ticket)) < 0) this.#drop(channel);
  }

  /** The program, over a channel of its own, with its wrapper's ticket. */
  #join(
    channel: Channel,
    message: AgentMessage & { type: "join" },
    sender: Credentials,
  ): void {
    mustBeFirst(channel, "JOIN");
    const client = sender.uid !== channel.peer.uid
      ? `ticket: presented with the rights of uid ${channel.peer.uid} by uid ${sender.uid}`
      : userName(sender.uid) === undefined
      ? `uid ${sender.uid} has no account on this host`
      : this.#wrappers.join(message.ticket, channel.peer);
    if (typeof client === "string") {
      this.#answer(channel, message.sequence, { kind: "refused", why: client });
      return this.#refuseChannel(channel, client);
    }
    channel.client = client;
    channel.program = new LateProgram(channel.peer.pid, client.record.target);
    channel.delegate = client.record.delegate;
    this.#unproven.delete(channel);
    this.#answer(channel, message.sequence, { kind: "open", id: 0, why: channel.delegate });
  }

  #child(
    parent: Channel,
    fds: number[],
    sender: Credentials | undefined,
  ): Channel | undefined {
    const fd = fds[0] as number;
    let peer: Credentials;
    try {
      peer = peerCredentials(fd);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      throw new ProtocolViolation(`channel is not a socket: ${error.message}`);
    }
    if (sender === undefined || peer.pid !== sender.pid) {
      throw new ProtocolViolation("a channel was passed by another process than its maker");
    }
    // A datagram socket would have no end, a listening one no messages.
    if (!isSeqpacket(fd)) throw new ProtocolViolation("channel is not a seqpacket connection");
    const refused = this.#options.limits.take(peer.uid);
    if (refused !== undefined) {
      this.#report({
        event_type: "channel.limit",
        why: refused,
        uid: peer.uid,
        pid: peer.pid,
        program: parent.program.path,
      });
      return undefined;
    }
    fds.shift(); // taken over: not to be closed with the message
    return this.#open(fd, peer, parent.delegate, parent.client);
  }

  #ask(channel: Channel, message: OpenMessage, fd: number, sender: Credentials): void {
    const requester = this.#requester(channel, sender.uid);
    if (requester === undefined) {
      const why = `uid ${sender.uid} has no account on this host`;
      return this.#refuse(channel, message.sequence, sender, why);
    }
    this.#askFor(channel, message, fd, requester);
  }

  /** The sender asks for a process that it traces: who that is, the kernel says here too. */
  #askForTraced(channel: Channel, message: TracedMessage, fds: readonly number[]): void {
    const [socket = -1, pidfd = -1] = fds;
    if (!channel.greeted || channel.delegate === undefined) {
      throw new ProtocolViolation("only a channel that said HELLO itself may speak for others");
    }
    const traced = tracedProcess(channel.peer.uid, pidfd, socket, message.descriptor);
    if (typeof traced === "string") {
      return this.#refuse(channel, message.sequence, channel.peer, traced);
    }
    const user = userName(traced.uid);
    if (user === undefined) {
      const why = `uid ${traced.uid} has no account on this host`;
      return this.#refuse(channel, message.sequence, traced, why);
    }
    this.#askFor(channel, message, socket, {
      delegate: channel.delegate,
      user,
      uid: traced.uid,
      pid: traced.pid,
      pidStart: this.#options.recordStart ? processStart(traced.pid) ?? 0n : 0n,
      program: processProgram(traced.pid),
    });
  }

  #askFor(
    channel: Channel,
    message: OpenMessage | TracedMessage,
    fd: number,
    requester: Requester,
  ): void {
    const facts = socketFacts(fd);
    if (facts === undefined) {
      return this.#refuseChannel(channel, "descriptor is not a TCP or UDP socket");
    }
    const tuple = this.#tuple(message, facts);
    if (typeof tuple === "string") {
      return this.#refuse(channel, message.sequence, requester, tuple, requester.program);
    }
    if (message.otherSource !== undefined) this.#dispute(channel, message, tuple, requester);
    if (this.#options.isLocal(tuple.source)) {
      const why = "the source is this host itself, no pinhole is needed";
      return this.#answer(channel, message.sequence, { kind: "open", id: 0, why });
    }
    this.#request(
      { tuple, requester, cookie: facts.cookie, boundAt: message.boundAt, ttl: undefined },
      (verdict) => this.#answer(channel, message.sequence, verdict),
    );
  }

  #requester(channel: Channel, uid: number): Requester | undefined {
    if (channel.requester?.uid === uid) return channel.requester;
    const user = userName(uid);
    if (user === undefined || channel.delegate === undefined) return undefined;
    return channel.requester = new LateRequester(
      { delegate: channel.delegate, user, uid, pid: channel.peer.pid, pidStart: channel.pidStart },
      channel.program,
    );
  }

  /** The pinhole that a proven socket and a claimed external host make, or why there can be none. */
  #tuple(message: OpenMessage | TracedMessage, facts: SocketFacts): FiveTuple | string {
    const { namespace, isLocal, openPorts } = this.#options;
    if (namespace !== 0n && facts.namespace !== 0n && namespace !== facts.namespace) {
      return "the socket is in another network namespace than this perimeter";
    }
    if (facts.port === 0) return "the socket is not bound to a port";
    const name = `${facts.protocol}/${facts.port}`;
    if (openPorts.has(name)) return `${name} is open to everyone by configuration`;
    if (facts.port < 1024) {
      return `${name} is a privileged port: only the configuration may open it`;
    }
    if (message.source === undefined) {
      return "several hosts are connected to the program, and nothing tells which the port is for";
    }
    const source = unmapIp(message.source);
    if (ipKind(source) !== "host") return `source ${source.text} is not one host's address`;
    let destination = unmapIp(facts.address);
    if (ipKind(destination) === "unspecified") {
      if (message.controlAddress === undefined) {
        return "the socket is bound to every address, and no control connection tells which one";
      }
      destination = unmapIp(message.controlAddress);
    }
    if (!isLocal(destination)) return `${destination.text} is not an address of this host`;
    if (destination.family !== source.family) {
      return `source ${source.text} and destination ${destination.text} are of two families`;
    }
    return {
      protocol: facts.protocol,
      source,
      sourcePort: message.sourcePort,
      destination,
      destinationPort: facts.port,
    };
  }

  /** The agent was not sure; what it has chosen stands, and is judged like any other request. */
  #dispute(
    channel: Channel,
    message: OpenMessage | TracedMessage,
    tuple: FiveTuple,
    sender: Asker,
  ): void {
    this.#report({
      event_type: "request.disputed",
      why:
        `${tuple.protocol}/${tuple.destinationPort} is for ${tuple.source.text}, whose turn it was; ` +
        `what was last read came from ${message.otherSource?.text}`,
      uid: sender.uid,
      pid: sender.pid,
      program: channel.program.path,
    });
  }

  #refuse(
    channel: Channel,
    sequence: number,
    { uid, pid }: Asker,
    why: string,
    program = channel.program.path,
  ): void {
    this.#report({ event_type: "request.refused", why, uid, pid, program });
    this.#answer(channel, sequence, { kind: "refused", why });
  }

  #answer(channel: Channel, sequence: number, verdict: Verdict): void {
    if (channel.closed) return;
    const sent = sendUnix(
      channel.fd,
      encodeVerdict(sequence, verdict, this.#options.failBind && verdict.kind !== "open"),
    );
    if (sent === -1) this.#refuseChannel(channel, "the agent does not take its answers");
    else if (sent < 0) this.#drop(channel);
  }

  #refuseChannel(channel: Channel, why: string, uid = channel.peer.uid): void {
    this.#report({
      event_type: "channel.refused",
      why,
      uid,
      pid: channel.peer.pid,
      program: channel.program.path,
    });
    this.#drop(channel);
  }

  #drop(channel: Channel): void {
    if (channel.closed) return;
    channel.closed = true;
    this.#channels.delete(channel.fd);
    this.#unproven.delete(channel);
    if (channel.ticket !== undefined) this.#wrappers.forget(channel.ticket);
    this.#options.limits.release(channel.charged);
    this.#poller.remove(channel.fd);
    libc.close(channel.fd);
  }
}
