/**
 * The NI kernel between two interfaces: what nobody watches is forwarded by the kernel's part of it (fast_path.ts), the
 * rest comes here, is scanned, and goes out of the other port.
 *
 * @module
 */
import { EPOLL, type Poller } from "../sys/epoll.ts";
import { type InterfaceState, readInterface, setInterfaceUp } from "../sys/interfaces.ts";
import { E, SystemError } from "../sys/libc.ts";
import { PacketSocket, SendQueue } from "../sys/packet_socket.ts";
import { PcapLink } from "../sys/pcap_link.ts";
import { deleteLink, forwardAll, stopForwarding } from "../sys/rtnetlink.ts";
import { ProgramRefused } from "../sys/bpf.ts";
import { type Count, FastPath, type FastPathRules, type PreparedRules } from "./fast_path.ts";
import type { ContainmentText } from "./orders.ts";
import { FlowTable } from "./flow_table.ts";
import { type Direction, FrameRef } from "./frame.ts";
import { NiKernel } from "./kernel.ts";
import type { KernelPlan, PreventRule } from "./kernel_types.ts";
import { mailEvent } from "./mail_events.ts";
import { ScannerHost, type ScannerSpec } from "./scanner_host.ts";
import {
  cableEnd,
  closeHeld,
  type FrameSource,
  makeCable,
  openTap,
  type PortParts,
  setTapUnderneath,
  silence,
} from "./tap_ports.ts";
import type { TableSettings } from "./stream/table.ts";

/** What the wire does when the NI kernel is gone. */
export type OnExit = "open" | "closed";

/** Between two interfaces, to the host and to the network; or before one that leads to the host. */
export type NiLinks =
  | { readonly host: string; readonly net: string }
  | { readonly attach: string };

/** What can be changed while an NI runs. */
export interface InlineSettings {
  readonly prevent: readonly PreventRule[];
  readonly scanners: ReadonlyMap<string, ScannerSpec>;
  readonly hostNetworks: readonly string[];
  readonly onExit: OnExit;
}

/** How an NI is to stand between two interfaces. */
export interface InlineOptions extends InlineSettings {
  readonly links: NiLinks;
  /** Filters of connections that are put together though no scanner asks for them. */
  readonly reconstruct?: readonly string[];
  /** How streams are put together, where it differs from what is usual. */
  readonly streams?: Partial<TableSettings>;
  /** Hosts that are contained from the first frame on. */
  readonly contained?: readonly ContainmentText[];
  /** Every frame comes to user space: to measure it, or where nothing is to pass unseen. */
  readonly userSpace: boolean;
  /**
   * How frames are moved; `auto` without it. `packet` and `pcap`: no program is attached to the ports, as in kernels that cannot; user space
   * forwards all, over AF_PACKET or libpcap.
   */
  readonly forwarding?: "auto" | "packet" | "pcap";
  readonly event: (event: Readonly<Record<string, unknown>>) => void;
  readonly log: (level: "info" | "warning" | "error", text: string) => void;
}

/** An NI that cannot be; `next` says what to do. */
export class NiError extends Error {
  override readonly name = "NiError";
  readonly next: string;
  constructor(message: string, next: string, options?: ErrorOptions) {
    super(message, options);
    this.next = next;
  }
}

/** What one port has done. */
export interface PortStatus {
  readonly interface: string;
  /** Of the frames that it forwards and scans. */
  readonly direction: Direction;
  readonly running: boolean;
  /** Frames that the kernel forwarded by itself, and those that came to user space. */
  readonly forwarded: { readonly frames: number; readonly bytes: number };
  readonly scanned: { readonly frames: number; readonly bytes: number };
  /** Of those forwarded: a copy came to user space, since scanners read them. */
  readonly copied: { readonly frames: number; readonly bytes: number };
  /** Frames that were lost on the way to user space, since it was too slow; and copies. */
  readonly dropped: number;
  readonly copies_dropped: number;
  /** Frames that could not be sent out of this port, by why. */
  readonly unsent: Readonly<Record<string, number>>;
}

/** What kernels without TCX, or without bpf(2), answer. */
const NOT_THERE: ReadonlySet<number> = new Set([E.INVAL, E.NOSYS]);
/** A rule that every frame matches. */
const ALL = [{ code: 0x06, jt: 0, jf: 0, k: 0xffffffff }];
const EVERYTHING = { asked: ALL, within: [ALL] };
const NO_RULES: FastPathRules["prevent"] = [];
/** Bytes of an Ethernet header with a tag. */
const TAGGED_HEADER = 18;
/** Batches taken from one port before the other has its turn. */
const BATCHES = 4;
/** Batches of copies that are taken before a batch of frames is worked on; a flood of copies must not hold frames up for long. */
const COPY_BATCHES = 32;
/** Milliseconds between two looks at what is due. */
const TICK = 100;
/** How long a link that is away is looked for again. Milliseconds. */
const LINK_CHECK = 1000;

/** Where frames go: AF_PACKET or libpcap. */
type FrameSink = Pick<SendQueue, "add" | "flush" | "failures">;

interface Port extends PortParts {
  readonly direction: Direction;
  queue: FrameSink;
  fastPath: FastPath | undefined;
  /** As it was looked at last. */
  running: boolean;
  /** Copies that were lost, as far as scanners know. */
  copiesLost: number;
}

/** The NI kernel, inline. */
export class InlineNi {
  readonly #options: InlineOptions;
  #settings: InlineSettings;
  /** Prevent rules of which the fast path began to count anew, with what it had counted. */
  #counted = new Map<string, Count>();
  readonly #poller: Poller;
  readonly #kernel: NiKernel;
  readonly #host: ScannerHost;
  readonly #ports: readonly [Port, Port];
  /** Descriptors of the way back into an attached interface. */
  #held: readonly number[] = [];
  readonly #frame = new FrameRef();
  #flows: FlowTable | undefined;
  #grants = -1;
  /** Rules that want copies are in force. */
  #copies = false;
  #closed = false;
  #nextTick = 0;
  #nextLinkCheck = 0;

  /** @throws {NiError} {SystemError} {FilterError} when it cannot stand there. */
  constructor(options: InlineOptions, poller: Poller) {
    this.#options = options;
    this.#settings = options;
    this.#poller = poller;
    const { links } = options;
    const { mtu } = this.#lookAt("attach" in links ? links.attach : links.host);
    this.#kernel = new NiKernel({
      linkType: 1,
      longestFrame: mtu + TAGGED_HEADER,
      // The fast path drops them; what comes here all the same (see #rules) is dropped here.
      prevent: options.prevent,
      scanners: new Map([...options.scanners].map(([name, { rights }]) => [name, rights])),
      hostNetworks: options.hostNetworks,
      reconstruct: options.reconstruct ?? [],
      streams: options.streams ?? {},
    }, {
      forward: (memory, start, end, direction) =>
        this.#port(direction).queue.add(memory, start, end),
      event: (event) => options.event(mailEvent(event) ?? event),
      broken: (session, why) => this.#host.break(session, why),
      watching: (name) => options.log("info", `scanner ${name} watches`),
      finished: (packet, direction, scanner) => this.#flows?.finish(packet, direction, scanner),
      begun: (packet, direction) => this.#flows?.forget(packet, direction),
    });
    this.#host = new ScannerHost(this.#kernel, poller, options.scanners, {
      ended: (name, why, again) => this.#scannerEnded(name, why, again),
      message: (name, line) => options.log("info", `scanner ${name}: ${line}`),
      worked: () => this.#sendAll(),
    });
    if ("attach" in links) {
      const tap = openTap(this.#lookAt(links.attach));
      this.#held = tap.held;
      this.#ports = [withQueue(tap.host, "from-host"), withQueue(tap.net, "to-host")];
      return;
    }
    const [host, net] = [this.#look(links.host), this.#look(links.net)];
    if (host.mtu !== net.mtu) {
      throw new NiError(
        `${host.name} takes packets of ${host.mtu} bytes and ${net.name} of ${net.mtu}`,
        `ip link set ${net.name} mtu ${host.mtu}, or the other way round`,
      );
    }
    this.#ports = this.#open(host, net);
  }

  /** Begins to forward. */
  start(): void {
    this.#clock();
    const { forwarding = "auto", contained = [] } = this.#options;
    for (const order of contained) {
      const { verb, host, reason, owner, until } = order;
      const problem = this.#kernel.contained.obey(order, this.#kernel.now);
      const end = new Date(until).toISOString();
      if (problem === undefined) {
        this.#options.log("info", `${verb} ${host} until ${end}, as before: ${reason} (${owner})`);
      } else this.#options.log("error", `${host} is not contained as before: ${problem}`);
    }
    if (forwarding !== "auto" || !this.#attachBoth()) this.#withoutFastPath();
    this.#setUnderneath(this.#settings.onExit);
    for (const port of this.#ports) {
      this.#poller.add(port.receive.fd, EPOLL.IN, () => this.#receive(port));
      const { copies } = port;
      if (copies !== undefined) {
        this.#poller.add(copies.fd, EPOLL.IN, () => this.#receiveCopies(port, BATCHES));
      }
    }
    this.#host.start();
  }

  /**
   * Puts other rules, rights and scanners in force. No frame is lost or forwarded twice; scanners that stay the same go
   * on. When this throws nothing was changed.
   *
   * @throws {FilterError} {ProgramRefused}
   */
  reload(settings: InlineSettings): void {
    const plan = this.#kernel.plan({
      prevent: settings.prevent,
      scanners: new Map([...settings.scanners].map(([name, { rights }]) => [name, rights])),
    });
    const samePrevent = sameText(settings.prevent, this.#settings.prevent);
    if (!samePrevent) this.#replacePrevent(plan);
    const anew = !sameText(settings.hostNetworks, this.#settings.hostNetworks);
    this.#kernel.setHostNetworks(settings.hostNetworks);
    this.#host.reconfigure(plan, settings.scanners, anew);
    const onExit = this.#settings.onExit;
    this.#settings = settings;
    // Programs that let frames past the filter underneath are there before it, and after it.
    if (onExit === "open") this.#followGrants(true);
    if (settings.onExit !== onExit) this.#setUnderneath(settings.onExit);
    this.#followGrants(true);
  }

  /**
   * Contains a host, or lets it go.
   *
   * @returns why that cannot be.
   */
  contain(order: ContainmentText): string | undefined {
    this.#clock();
    const problem = this.#kernel.contained.obey(order, this.#kernel.now);
    this.#followGrants(true);
    return problem;
  }

  /** Milliseconds that may pass before {@link work} must be called again. */
  timeout(): number {
    const wake = this.#kernel.nextWake();
    const now = Date.now();
    return Math.max(0, Math.min(TICK, wake === undefined ? TICK : Math.ceil(wake - now)));
  }

  /** What is to be done after each round of the poll set. */
  work(): void {
    this.#clock();
    this.#kernel.wake();
    this.#host.flush();
    this.#sendAll();
    this.#followGrants();
    const now = performance.now();
    if (now < this.#nextTick) return;
    this.#nextTick = now + TICK;
    this.#kernel.expire();
    for (const host of this.#kernel.contained.expire(this.#kernel.now)) {
      this.#options.log("info", `${host} is not contained any more: its time is over`);
      this.#followGrants(true);
    }
    this.#host.tick();
    this.#sendAll();
    this.#tellLostCopies();
    if (now >= this.#nextLinkCheck) {
      this.#nextLinkCheck = now + LINK_CHECK;
      this.#checkLinks();
    }
  }

  /** Every scanner has said what it wants, and the fast path brings it. */
  get isReady(): boolean {
    return this.#kernel.isSubscribed && this.#grants === this.#kernel.grantsVersion;
  }

  /** Counts, for people and for the end. */
  status(): Record<string, unknown> {
    this.#tellLostCopies();
    const [host, net] = this.#ports;
    return {
      ports: [this.#portStatus(host), this.#portStatus(net)],
      fast_path: host.fastPath !== undefined,
      frames: this.#kernel.counters,
      contained: this.#kernel.contained.status(),
      streams: { ...this.#kernel.streamCounters, ...this.#kernel.streamLoad },
      rules: [
        ...this.#kernel.rules.map((rule, i) => {
          const { frames, bytes } = this.#countOf(rule, i);
          return {
            kind: "prevent",
            name: rule.name,
            filter: rule.filter,
            frames: rule.frames + frames,
            bytes: rule.bytes + bytes,
          };
        }),
        ...this.#kernel.scanCounters(),
      ],
      scanners: Object.fromEntries(
        [...this.#settings.scanners.keys()].map((name) => [name, {
          pid: this.#host.pids.get(name) ?? null,
          ...this.#kernel.scannerCounters(name),
        }]),
      ),
    };
  }

  /** Steps aside. What the wire does then was told by `onExit`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#host.close();
    this.#flows?.close();
    for (const port of this.#ports) {
      port.queue.flush();
      this.#poller.remove(port.receive.fd);
      if (port.copies !== undefined) this.#poller.remove(port.copies.fd);
      port.fastPath?.close();
      closePort(port);
    }
    closeHeld(this.#held);
    if (this.#settings.onExit === "open" && !("attach" in this.#options.links)) this.#openWire();
  }

  /** Programs on both ports. False in kernels that have no such programs. */
  #attachBoth(): boolean {
    const [host, net] = this.#ports;
    try {
      this.#flows = new FlowTable();
      for (const port of [host, net]) {
        const fromHost = port.direction === "from-host";
        const stop = this.#takesAll;
        port.fastPath = new FastPath(
          { ...port.at, fromHost, flows: this.#flows, stop },
          this.#rules(),
        );
      }
      if (this.#takesAll) this.#takeFromPorts("packet");
      return true;
    } catch (error) {
      host.fastPath?.close();
      host.fastPath = undefined;
      this.#flows?.close();
      this.#flows = undefined;
      if (error instanceof SystemError && NOT_THERE.has(error.code)) return false;
      this.close();
      throw error;
    }
  }

  /** User space takes the frames from the ports themselves, all of them. */
  #withoutFastPath(): void {
    const { forwarding = "auto", links } = this.#options;
    if ("attach" in links) {
      this.close();
      throw new NiError(
        "Without the fast path an NI cannot be attached to an interface",
        "use Linux 6.6 or later, or stand between two interfaces",
      );
    }
    const why = forwarding !== "auto"
      ? "the fast path is switched off"
      : "this kernel cannot attach the fast path (Linux 6.6 can)";
    const exit = this.#settings.onExit === "open"
      ? "; after kill -9 nothing is forwarded, whatever on_exit says"
      : "";
    this.#options.log("warning", `${why}: every frame goes through user space${exit}`);
    this.#takeFromPorts(forwarding);
  }

  /** Instead of from the cables, which are not needed then. */
  #takeFromPorts(how: InlineOptions["forwarding"]): void {
    for (const port of this.#ports) {
      port.receive.close();
      port.copies?.close();
      port.copies = undefined;
      for (const cable of [port.cable, port.copyCable]) deleteLink(cable);
      if (how === "pcap") {
        const link = new PcapLink(port.state.name);
        port.receive = link;
        port.queue = link;
      } else port.receive = new PacketSocket(port.state.name);
    }
  }

  /** Has traffic control forward everything, for when there is nobody else. */
  #openWire(): void {
    const [host, net] = this.#ports;
    forwardAll(host.state.index, net.state.index);
    forwardAll(net.state.index, host.state.index);
  }

  #lookAt(name: string): InterfaceState {
    let state: InterfaceState;
    try {
      state = readInterface(name);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      throw new NiError(error.message, "ip link shows the interfaces that there are", {
        cause: error,
      });
    }
    if (!state.ethernet) {
      throw new NiError(`${name} is not an Ethernet`, "choose another interface");
    }
    return state;
  }

  #look(name: string): InterfaceState {
    this.#lookAt(name);
    const own = Deno.networkInterfaces().filter((i) =>
      i.name === name && !i.address.startsWith("fe80:")
    );
    if (own.length > 0) {
      throw new NiError(
        `${name} has an address of this machine (${own[0]?.address}), which would be cut off`,
        `ip address flush dev ${name}, or choose another interface`,
      );
    }
    // Its own stack must not speak on either wire.
    silence(name);
    setInterfaceUp(name);
    return readInterface(name);
  }

  #open(host: InterfaceState, net: InterfaceState): [Port, Port] {
    const ports: Port[] = [];
    try {
      ports.push(withQueue(openPort(host, net), "from-host"));
      ports.push(withQueue(openPort(net, host), "to-host"));
    } catch (error) {
      for (const port of ports) closePort(port);
      throw error;
    }
    return ports as [Port, Port];
  }

  /**
   * User space takes all frames from two ports themselves: without the hop over the cable. The programs stop them there, so
   * that nothing that is underneath forwards them too while this process lives.
   */
  get #takesAll(): boolean {
    return this.#options.userSpace && !("attach" in this.#options.links);
  }

  /** Until a scanner has said what it wants, what it may contain comes to user space, and meets `on_failure`. */
  #rules(): FastPathRules {
    if (this.#takesAll) return { prevent: NO_RULES, scan: [EVERYTHING] };
    const scan = this.#options.userSpace
      ? [EVERYTHING]
      : [...this.#kernel.containedRules(), ...this.#kernel.scanRules()];
    return {
      prevent: this.#kernel.preventPrograms,
      scan,
      last: this.#settings.onExit === "closed",
    };
  }

  /** Other prevent rules: programs for both ports are ready before either is changed. */
  #replacePrevent(plan: KernelPlan): void {
    // Where user space takes all, it also drops what a rule prevents.
    const rules = { ...this.#rules(), ...(this.#takesAll ? {} : { prevent: plan.programs }) };
    const prepared: PreparedRules[] = [];
    try {
      for (const { fastPath } of this.#ports) {
        if (fastPath !== undefined) prepared.push(fastPath.prepare(rules));
      }
    } catch (error) {
      for (const one of prepared) one.discard();
      throw error;
    }
    // What was counted so far, by rule: the new counters begin at nothing.
    this.#counted = new Map(
      this.#kernel.rules.map((rule, i) => [keyOf(rule), this.#countOf(rule, i)]),
    );
    this.#kernel.setRules(plan);
    for (const one of prepared) one.commit();
  }

  /** What the fast path counted of a prevent rule, on both ports. */
  #countOf(rule: PreventRule, place: number): Count {
    const counts = this.#ports.map((port) => port.fastPath?.prevented(place));
    const before = this.#counted.get(keyOf(rule));
    return {
      frames: counts.reduce((sum, c) => sum + (c?.frames ?? 0), before?.frames ?? 0),
      bytes: counts.reduce((sum, c) => sum + (c?.bytes ?? 0), before?.bytes ?? 0),
    };
  }

  /** What is underneath the programs, for the time when they are gone. */
  #setUnderneath(onExit: OnExit): void {
    const [host] = this.#ports;
    if ("attach" in this.#options.links) return setTapUnderneath(host.state.index, onExit);
    // Without the programs it would forward everything a second time.
    if (onExit === "open" && this.#flows !== undefined) this.#openWire();
    else {
      for (const { state } of this.#ports) stopForwarding(state.index);
    }
  }

  /** The port out of which frames of a direction go. */
  #port(direction: Direction): Port {
    const [host, net] = this.#ports;
    return direction === "from-host" ? net : host;
  }

  #receive(port: Port): void {
    const { receive } = port;
    const frame = this.#frame;
    this.#clock();
    for (let i = 0; i < BATCHES; i++) {
      const n = this.#take(receive);
      // What one of these frames answers to may have come as a copy, which is there by now: it is told before.
      if (n > 0 && this.#copies) {
        for (const other of this.#ports) this.#receiveCopies(other, COPY_BATCHES);
      }
      frame.direction = port.direction;
      frame.copy = false;
      this.#give(receive, n);
      this.#sendAll();
      this.#host.flush(false);
      if (n < receive.starts.length) return;
    }
  }

  /** Takes copies of frames that the kernel has forwarded by itself. */
  #receiveCopies(port: Port, batches: number): void {
    const { copies } = port;
    if (copies === undefined) return;
    const frame = this.#frame;
    this.#clock();
    for (let i = 0; i < batches; i++) {
      const n = this.#take(copies);
      frame.direction = port.direction;
      frame.copy = true;
      this.#give(copies, n);
      if (n < copies.starts.length) return;
      this.#host.flush(false);
    }
  }

  /** Gives the frames received last to the kernel. */
  #give({ memory, starts, ends }: FrameSource, n: number): void {
    const frame = this.#frame;
    frame.data = memory.data;
    for (let j = 0; j < n; j++) {
      frame.start = starts[j] as number;
      frame.end = ends[j] as number;
      frame.wireLength = frame.end - frame.start;
      this.#kernel.frame(memory, frame);
    }
  }

  #tellLostCopies(): void {
    for (const port of this.#ports) {
      const dropped = port.copies?.statistics().dropped ?? port.copiesLost;
      if (dropped === port.copiesLost) continue;
      this.#kernel.lostCopies(dropped - port.copiesLost);
      port.copiesLost = dropped;
    }
  }

  /** Frames that are there. A port that is down has none, and the kernel tells so once. */
  #take(receive: FrameSource): number {
    try {
      return receive.receive();
    } catch (error) {
      if (error instanceof SystemError && error.code === E.NETDOWN) return 0;
      throw error;
    }
  }

  #sendAll(): void {
    for (const { queue } of this.#ports) queue.flush();
    this.#kernel.settle();
  }

  #clock(): void {
    const now = performance.timeOrigin + performance.now();
    const seconds = Math.floor(now / 1000);
    this.#frame.seconds = seconds;
    this.#frame.nanoseconds = Math.floor((now - seconds * 1000) * 1e6);
    this.#kernel.setTime(seconds, this.#frame.nanoseconds);
  }

  /** Scanners that subscribed, came or went change what the fast path may forward by itself. */
  #followGrants(always = false): void {
    const version = this.#kernel.grantsVersion;
    if (version === this.#grants && !always) return;
    this.#grants = version;
    const rules = this.#rules();
    this.#copies = rules.scan.some(({ copy }) => copy === true);
    try {
      for (const { fastPath } of this.#ports) fastPath?.replace(rules);
    } catch (error) {
      if (!(error instanceof ProgramRefused)) throw error;
      // Filters of scanners make more than the kernel takes: user space sees all and decides as exactly.
      this.#options.log(
        "warning",
        "scanners' filters are too large for the fast path, all frames come to user space",
      );
      for (const { fastPath } of this.#ports) fastPath?.replace({ ...rules, scan: [EVERYTHING] });
    }
  }

  #checkLinks(): void {
    for (const port of this.#ports) {
      try {
        const { running } = readInterface(port.state.name);
        if (running === port.running) continue;
        port.running = running;
        this.#options.log(
          running ? "info" : "warning",
          `${port.state.name}: the link is ${running ? "back" : "lost"}`,
        );
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        throw new NiError(
          `${port.state.name} is gone: ${error.message}`,
          "put it back and start again",
        );
      }
    }
  }

  #scannerEnded(name: string, why: string, again: number | undefined): void {
    const next = again === undefined ? "it is not started again" : `again in ${again} ms`;
    this.#options.log(
      again === undefined ? "error" : "warning",
      `scanner ${name}: ${why}; ${next}`,
    );
    this.#options.event({
      timestamp: new Date().toISOString(),
      event_type: "alert",
      alert: {
        signature: again === undefined ? "scanner stopped" : "scanner ended",
        category: "Diaper",
        severity: again === undefined ? 1 : 2,
        action: "allowed",
      },
      scanner: name,
      detail: { why, again_ms: again ?? null },
    });
  }

  #portStatus(port: Port): PortStatus {
    return {
      interface: port.state.name,
      direction: port.direction,
      running: readInterface(port.state.name).running,
      forwarded: port.fastPath?.forwarded() ?? { frames: 0, bytes: 0 },
      scanned: port.fastPath?.scanned() ?? { frames: 0, bytes: 0 },
      copied: port.fastPath?.copied() ?? { frames: 0, bytes: 0 },
      copies_dropped: port.copies?.statistics().dropped ?? 0,
      dropped: port.receive.statistics().dropped + port.receive.oversized,
      unsent: { ...port.queue.failures },
    };
  }
}

/** What tells prevent rules apart. */
function keyOf(rule: PreventRule): string {
  return JSON.stringify([rule.name, rule.filter]);
}

function sameText(first: unknown, second: unknown): boolean {
  return JSON.stringify(first) === JSON.stringify(second);
}

function withQueue(parts: PortParts, direction: Direction): Port {
  const { running } = parts.state;
  const queue = new SendQueue(parts.send);
  return { ...parts, direction, queue, fastPath: undefined, running, copiesLost: 0 };
}

/** A port between two interfaces. */
function openPort(state: InterfaceState, peer: InterfaceState): PortParts {
  const [cable, far, copyCable, farCopies] = ["a", "b", "e", "f"]
    .map((letter) => cableEnd(state.index, letter)) as [string, string, string, string];
  const opened: PacketSocket[] = [];
  const open = (name: string, options?: ConstructorParameters<typeof PacketSocket>[1]) => {
    const socket = new PacketSocket(name, options);
    opened.push(socket);
    return socket;
  };
  try {
    makeCable(cable, far);
    makeCable(copyCable, farCopies);
    return {
      state,
      cable,
      receive: open(far),
      copyCable,
      copies: open(farCopies),
      send: open(state.name, { sendOnly: true }),
      at: {
        index: state.index,
        peer: peer.index,
        cable: readInterface(cable).index,
        copies: readInterface(copyCable).index,
      },
    };
  } catch (error) {
    for (const socket of opened) socket.close();
    for (const name of [cable, copyCable]) deleteLink(name);
    throw error;
  }
}

function closePort(port: PortParts): void {
  port.receive.close();
  port.copies?.close();
  port.send.close();
  for (const cable of [port.cable, port.copyCable]) deleteLink(cable);
}
