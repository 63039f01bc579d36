/**
 * The NI kernel (CMU-CS-02-144, section 4.3): takes each frame, drops what a prevent rule covers, gives it to the scanners
 * that subscribed to it, and forwards it when every scanner that may contain it says pass.
 *
 * It knows nothing of interfaces, processes or files: whoever runs it gives it frames and the time, inline and
 * over captures alike.
 *
 * @module
 */
import { Packet, TCP } from "../net/packet.ts";
import { type FrameMemory, VNET_HEADER } from "../sys/packet_socket.ts";
import { frameAlert, streamAlert } from "./alert_events.ts";
import { ContainedHosts } from "./containment.ts";
import { packetFields } from "./event_fields.ts";
import type { ScanRule } from "./fast_path.ts";
import { FinishedFlows } from "./finished_flows.ts";
import { flowKey } from "./flow_id.ts";
import { Fragments } from "./fragments.ts";
import { type Direction, FrameRef, milliseconds } from "./frame.ts";
import { FrameMatcher } from "./frame_matcher.ts";
import { type HeldFrame, HeldFrames } from "./held_frames.ts";
import {
  type KernelCounters,
  kernelCounters,
  type KernelOptions,
  type KernelOutput,
  type KernelPlan,
  type Outcome,
  type RuleCounters,
  type ScanCounters,
} from "./kernel_types.ts";
import type { FrameCopy } from "./recent_frames.ts";
import { resetFrame } from "./reset.ts";
import {
  type FrameFilter,
  frameFilter,
  type Grant,
  RightsChecker,
  type ScannerRights,
  streamFilter,
} from "./rights.ts";
import {
  type ScannerAlert,
  type ScannerCounters,
  scannerCounters,
  ScannerSession,
  type Undelivered,
} from "./scanner_session.ts";
import { everyFrame, scanCounters, scanRules, type Slot } from "./slot.ts";
import type { StreamCounters } from "./stream/context.ts";
import { StreamTable, USUAL_STREAMS } from "./stream/table.ts";
import { type StreamScanner, StreamsOfScanners } from "./streams_of_scanners.ts";

/** What was decided about a datagram by its first fragment: a prevent rule, and what each scanner sees. */
interface DatagramDecision {
  readonly prevented: number | undefined;
  readonly bits: ReadonlyMap<Slot, number>;
}

/** The kernel. */
export class NiKernel {
  /** Counts of all frames. */
  readonly counters: KernelCounters = kernelCounters();
  /** Hosts that are contained now. */
  readonly contained = new ContainedHosts();
  /** What brings their frames here, by filter. */
  #containedRules = new Map<string, ScanRule>();
  /** Counts of each prevent rule. */
  rules: readonly RuleCounters[] = [];
  #prevent: readonly FrameFilter[] = [];
  #programs: KernelPlan["programs"] = [];
  #hostNetworks: readonly string[] = [];
  readonly #scanners = new Map<string, Slot>();
  /** Those that frames are given to. */
  #slots: Slot[] = [];
  #places = 0;
  /** Those that are still to decide about what they were given. */
  readonly #leaving = new Set<Slot>();
  readonly #sessions = new WeakMap<ScannerSession, Slot>();
  readonly #held: HeldFrames;
  readonly #output: KernelOutput;
  readonly #options: KernelOptions;
  readonly #packet = new Packet();
  readonly #streams: StreamTable;
  readonly #streamPolicy: StreamsOfScanners;
  readonly #reconstruct: readonly FrameFilter[];
  readonly #fragments = new Fragments<DatagramDecision>();
  readonly #early = new FrameRef();
  /** A held frame on its way out: one object for all. */
  readonly #out = new FrameRef();
  readonly #matcher: FrameMatcher;
  #grantsVersion = 0;
  #number = 0;
  readonly #now = { seconds: 0, nanoseconds: 0 };

  /** @throws {FilterError} when a filter is not one. */
  constructor(options: KernelOptions, output: KernelOutput) {
    this.#options = options;
    this.#output = output;
    this.#held = new HeldFrames(options.heldFrames ?? 8192);
    this.#matcher = new FrameMatcher(options.linkType);
    const plan = this.plan(options);
    this.setRules(plan);
    this.setHostNetworks(options.hostNetworks);
    for (const [name, rights] of options.scanners) {
      const slot = this.prepare(name, rights, plan.checkers.get(name));
      this.#scanners.set(name, slot);
      this.#slots.push(slot);
    }
    const { reconstruct = [], linkType } = options;
    this.#reconstruct = reconstruct.map((text) =>
      frameFilter(streamFilter(text || "tcp"), linkType)
    );
    this.#streamPolicy = new StreamsOfScanners(
      // Asked about packets that are made up, which are Ethernet's.
      reconstruct.map((text) => frameFilter(text, 1)),
      options.files,
    );
    this.#slotsChanged();
    this.#streams = new StreamTable(linkType, this.#streamPolicy, output, {
      ...USUAL_STREAMS,
      ...options.streams,
    });
  }

  /** Counts of streams. */
  get streamCounters(): StreamCounters {
    return this.#streams.counters;
  }

  /** Connections that are remembered, and bytes that are held of them. */
  get streamLoad(): { remembered: number; heldBytes: number } {
    return { remembered: this.#streams.size, heldBytes: this.#streams.bytes };
  }

  /** Every scanner has said what it wants. */
  get isSubscribed(): boolean {
    return this.#slots.every(({ session }) => session !== undefined && session.grants.length > 0);
  }

  /** Something waits to be read by a scanner. */
  get hasNews(): boolean {
    return this.#slots.some(({ session }) => session !== undefined && session.out.length > 0);
  }

  /** Connections are over, since the kernel ends. */
  closeStreams(): void {
    this.#streams.close();
  }

  /**
   * Checks rules and rights that are to take the place of those in force, and changes nothing.
   *
   * @throws {FilterError} when a filter is not one.
   */
  plan(options: Pick<KernelOptions, "prevent" | "scanners">): KernelPlan {
    const { linkType } = this.#options;
    const prevent = options.prevent.map(({ filter }) => frameFilter(filter, linkType));
    return {
      prevent,
      programs: prevent.map(({ program }) => program),
      rules: options.prevent.map(({ name, filter }) => {
        const same = this.rules.find((rule) => rule.name === name && rule.filter === filter);
        return same ?? { name, filter, frames: 0, bytes: 0 };
      }),
      checkers: new Map(
        [...options.scanners].map((
          [name, rights],
        ) => [name, new RightsChecker(rights, linkType)]),
      ),
    };
  }

  /** Puts the rules of a plan in force. Rights are put in force scanner by scanner. */
  setRules(plan: KernelPlan): void {
    this.#prevent = plan.prevent;
    this.#programs = plan.programs;
    this.rules = plan.rules;
  }

  /** Networks of the host, as scanners that are started from now on are told. */
  setHostNetworks(networks: readonly string[]): void {
    this.#hostNetworks = networks;
  }

  /** A scanner that is not given frames yet: see {@link adopt}. @throws {FilterError} */
  prepare(name: string, rights: ScannerRights, checker?: RightsChecker): Slot {
    return {
      name,
      number: this.#places++,
      rights,
      checker: checker ?? new RightsChecker(rights, this.#options.linkType),
      counters: this.#scanners.get(name)?.counters ?? scannerCounters(),
      session: undefined,
      grants: [],
      finished: new FinishedFlows(),
    };
  }

  /** From the next frame on frames are given to this one, and not to another one of its name. */
  adopt(slot: Slot): void {
    const old = this.#scanners.get(slot.name);
    this.#scanners.set(slot.name, slot);
    if (old === undefined) this.#slots.push(slot);
    else {
      this.#slots = this.#slots.map((other) => other === old ? slot : other);
      this.#leave(old);
    }
    this.#slotsChanged();
  }

  /** A scanner is given no more frames. What it was given it may still decide about. */
  retire(slot: Slot): void {
    this.#scanners.delete(slot.name);
    this.#slots = this.#slots.filter((other) => other !== slot);
    this.#leave(slot);
    this.#slotsChanged();
  }

  /** Tells the streams which scanners there are. */
  #slotsChanged(): void {
    this.#streamPolicy.setScanners(this.#slots.map((slot) => this.#streamScanner(slot)));
    this.#granted();
  }

  #streamScanner(slot: Slot): StreamScanner {
    return {
      name: slot.name,
      rights: () => slot.rights,
      checker: () => slot.checker,
      grants: () => slot.session?.grants ?? slot.grants,
      down: () => slot.session === undefined,
      open: (facts, subscriptions, contain) => {
        const session = slot.session as ScannerSession;
        for (const [i, count] of session.matched.entries()) {
          if ((subscriptions & (1 << i)) !== 0) count.frames++;
        }
        return session.streams.open(facts, subscriptions, contain);
      },
      late: () => this.#late(slot, `undecided bytes for ${slot.rights.holdLimit} ms`),
    };
  }

  /** Until its process is gone its verdicts are waited for. */
  #leave(slot: Slot): void {
    if (slot.session !== undefined) this.#leaving.add(slot);
  }

  /** Changes the rights of a scanner while it runs: what it asked for is decided anew. */
  setRights(slot: Slot, rights: ScannerRights, checker: RightsChecker): void {
    slot.rights = rights;
    slot.checker = checker;
    slot.session?.setRights(rights, checker);
    if (slot.session === undefined) slot.grants = [];
    this.#granted();
  }

  /** Milliseconds since the epoch, as the kernel was told last. */
  get now(): number {
    return milliseconds(this.#now);
  }

  /** Counts of a scanner. */
  scannerCounters(name: string): ScannerCounters | undefined {
    return this.#scanners.get(name)?.counters;
  }

  /** Frames and requests are of this time from now on. */
  setTime(seconds: number, nanoseconds: number): void {
    this.#now.seconds = seconds;
    this.#now.nanoseconds = nanoseconds;
    this.#streams.setTime(milliseconds(this.#now));
  }

  /** Begins a conversation with a new process of a scanner. */
  connect(place: Slot | string): ScannerSession {
    const slot = typeof place === "string" ? this.slot(place) : place;
    const session = new ScannerSession(
      slot.name,
      slot.rights,
      slot.checker,
      {
        linkType: this.#options.linkType,
        hostNetworks: this.#hostNetworks,
        longestFrame: this.#options.longestFrame ?? LARGEST,
        streamLimit: this.#options.streams?.streamBytes ?? USUAL_STREAMS.streamBytes,
        clock: () => this.#now,
        table: () => this.#streams,
      },
      slot.counters,
      {
        verdict: (frame, pass) => this.#verdict(frame, pass),
        inject: (frame, direction, injection) => this.#inject(slot, frame, direction, injection),
        alert: (alert) => this.#alert(slot, alert),
        streamAlert: (alert, connection, original) =>
          this.#output.event(streamAlert(slot.name, alert, connection, original, this.#now)),
        reset: (frame, direction) => this.#reset(slot, frame, direction),
        finished: (frame) => this.#finished(slot, frame),
        granted: () => {
          this.#granted();
          if (session.grants.length === 1) this.#output.watching?.(slot.name);
        },
        broken: (why) => {
          this.disconnect(session);
          this.#output.broken(session, why);
        },
      },
    );
    slot.session = session;
    this.#sessions.set(session, slot);
    this.#granted();
    return session;
  }

  /** A scanner's process is gone: what it was to decide is decided by its `on_failure`. */
  disconnect(session: ScannerSession): void {
    const slot = this.#sessions.get(session);
    session.end();
    if (slot?.session !== session) return;
    this.#leaving.delete(slot);
    slot.grants = session.grants;
    slot.session = undefined;
    this.#granted();
    session.streams.end();
    for (const number of [...session.awaited]) {
      session.awaited.delete(number);
      this.#failed(slot, number);
    }
  }

  /**
   * Takes a frame.
   *
   * @param memory that holds it, with room for a virtio-net header before it.
   * @param frame its number is given here.
   */
  frame(memory: FrameMemory, frame: FrameRef): Outcome {
    frame.number = ++this.#number;
    const { seconds, nanoseconds } = frame;
    if (seconds !== this.#now.seconds || nanoseconds !== this.#now.nanoseconds) {
      this.setTime(seconds, nanoseconds);
    }
    this.counters.received++;
    if (frame.copy) this.counters.copies++;
    return this.#process(memory, frame);
  }

  /** Frames of hosts that are contained come here, and are judged here. */
  containedRules(): ScanRule[] {
    const before = this.#containedRules;
    // Programs of hosts that stay are kept: each order would compile them all anew.
    this.#containedRules = new Map(
      this.contained.filters().map((text) => [
        text,
        before.get(text) ?? everyFrame(text, this.#options.linkType),
      ]),
    );
    return [...this.#containedRules.values()];
  }

  #mayPass(frame: FrameRef): boolean {
    const { data, start, end, direction, wireLength } = frame;
    const p = this.#packet.decode(data, start, end, this.#options.linkType);
    return this.contained.allows(p, direction, wireLength, this.now);
  }

  /** What was forwarded has been sent: its memory may be used again. */
  settle(): void {
    this.#held.settle();
    this.#streams.settle();
  }

  /** Gives up on verdicts that have been waited for too long. To be called now and then. */
  expire(): void {
    const now = this.now;
    this.counters.incomplete += this.#fragments.expire(now);
    for (const held of [...this.#held.values()]) {
      const age = now - milliseconds(held);
      for (const slot of [...this.#slots, ...this.#leaving]) {
        if (age <= slot.rights.holdLimit || slot.session?.awaited.has(held.number) !== true) {
          continue;
        }
        this.#late(slot, `no verdict for frame ${held.number} in ${slot.rights.holdLimit} ms`);
      }
    }
  }

  /** The earliest time at which a scanner wants to be told of the time; undefined: none does. */
  nextWake(): number | undefined {
    let next: number | undefined;
    for (const { session } of this.#slots) {
      const wake = session?.wake;
      if (wake !== undefined && (next === undefined || wake < next)) next = wake;
    }
    const work = this.#streams.nextWork();
    return work !== undefined && (next === undefined || work < next) ? work : next;
  }

  /** Copies of frames did not come here, since there was no room for them: those who read may have wanted them. */
  lostCopies(count: number): void {
    for (const { session } of this.#slots) session?.lost(count);
  }

  /** Tells the time to scanners that asked for it, and does what streams have to do by now. */
  wake(): void {
    this.#streams.work();
    for (const { session } of this.#slots) {
      if (session?.wake !== undefined && session.wake <= this.now) {
        session.time(this.#now.seconds, this.#now.nanoseconds);
      }
      session?.streams.resume();
    }
  }

  /** The prevent rules as the kernel takes them: the same array as long as they are the same. */
  get preventPrograms(): KernelPlan["programs"] {
    return this.#programs;
  }

  /** Which frames must come here: what scanners subscribed to, and what one that is not there would contain. */
  scanRules(): ScanRule[] {
    return scanRules(this.#slots, this.#reconstruct);
  }

  /** What scanners subscribed to, with what came of it since their processes started. */
  scanCounters(): ScanCounters[] {
    return scanCounters(this.#slots);
  }

  /** Differs whenever {@link scanRules} may have changed. */
  get grantsVersion(): number {
    return this.#grantsVersion;
  }

  /** The place of a scanner, by its name. @throws {RangeError} when there is none. */
  slot(name: string): Slot {
    const slot = this.#scanners.get(name);
    if (slot === undefined) throw new RangeError(`Cannot find a scanner named ${name}`);
    return slot;
  }

  #process(memory: FrameMemory, frame: FrameRef): Outcome {
    const tag = this.#matcher.tagLength(frame);
    const watched = this.#prevent.length + this.#slots.length > 0;
    if (watched && this.#matcher.mayBeFragment(frame, tag)) {
      const p = this.#packet.decode(frame.data, frame.start, frame.end, this.#options.linkType);
      if (FrameMatcher.isExtended(p)) this.#matcher.makePlain(frame, p);
      if (p.version !== 0 && p.fragment) return this.#fragment(memory, frame, tag, p);
    }
    const prevented = frame.copy ? undefined : this.#preventedBy(frame, tag);
    return prevented === undefined ? this.#judge(memory, frame, tag) : this.#drop(prevented, frame);
  }

  /** The prevent rule that covers a frame. */
  #preventedBy(frame: FrameRef, tag: number): number | undefined {
    for (let i = 0; i < this.#prevent.length; i++) {
      if (this.#matcher.matches(this.#prevent[i] as FrameFilter, frame, tag)) return i;
    }
    return undefined;
  }

  #drop(rule: number, frame: FrameRef): Outcome {
    const counters = this.rules[rule] as RuleCounters;
    counters.frames++;
    counters.bytes += frame.wireLength;
    this.counters.prevented++;
    return "dropped";
  }

  /** What was decided about the first fragment of a datagram holds for all of it. */
  #fragment(memory: FrameMemory, frame: FrameRef, tag: number, p: Packet): Outcome {
    const key = Fragments.key(p);
    if (p.fragmentOffset > 0) {
      const known = this.#fragments.decision(key, this.now);
      if (known !== undefined) return this.#follow(memory, frame, tag, known);
      const lead = Math.min(VNET_HEADER, frame.start);
      const early = {
        key,
        bytes: frame.data.slice(frame.start - lead, frame.end),
        start: lead,
        wireLength: frame.wireLength,
        direction: frame.direction,
        time: this.now,
        copy: frame.copy,
      };
      if (this.#fragments.wait(early)) return "held";
      this.counters.incomplete++;
      return "dropped";
    }
    const prevented = frame.copy ? undefined : this.#preventedBy(frame, tag);
    const bits = new Map(
      prevented !== undefined ? [] : this.#slots.map((slot) => {
        const some = this.#subscriptions(slot, frame, tag);
        return [slot, some !== 0 && this.#isFinished(slot, frame) ? 0 : some];
      }),
    );
    const decision = { prevented, bits };
    const ready = this.#fragments.decide(key, decision, this.now);
    const outcome = this.#follow(memory, frame, tag, decision);
    for (const early of ready) this.#followEarly(early, decision);
    return outcome;
  }

  #follow(memory: FrameMemory, frame: FrameRef, tag: number, decision: DatagramDecision): Outcome {
    const { prevented, bits } = decision;
    return prevented === undefined || frame.copy
      ? this.#judge(memory, frame, tag, bits)
      : this.#drop(prevented, frame);
  }

  /** A fragment that waited goes on, in memory from which it can be sent. */
  #followEarly(
    early: Parameters<Fragments<DatagramDecision>["wait"]>[0],
    decision: DatagramDecision,
  ): void {
    const frame = this.#early;
    frame.data = early.bytes;
    frame.start = early.start;
    frame.end = early.bytes.length;
    frame.wireLength = early.wireLength;
    frame.direction = early.direction;
    frame.copy = early.copy;
    frame.seconds = this.#now.seconds;
    frame.nanoseconds = this.#now.nanoseconds;
    frame.number = ++this.#number;
    const copy = this.#held.hold(frame, 0);
    if (copy === undefined) {
      this.counters.incomplete++;
      return;
    }
    this.#held.release(copy);
    frame.data = copy.memory.data;
    frame.start = copy.start;
    frame.end = copy.end;
    this.#follow(copy.memory, frame, this.#matcher.tagLength(frame), decision);
  }

  /** What a prevent rule does not drop: hosts that are contained, then scanners. */
  #judge(
    memory: FrameMemory,
    frame: FrameRef,
    tag: number,
    given?: DatagramDecision["bits"],
  ): Outcome {
    if (frame.copy || this.contained.size === 0 || this.#mayPass(frame)) {
      return this.#scan(memory, frame, tag, given);
    }
    this.counters.contained++;
    return "dropped";
  }

  #scan(
    memory: FrameMemory,
    frame: FrameRef,
    tag: number,
    given?: DatagramDecision["bits"],
  ): Outcome {
    let held: HeldFrame | undefined;
    let dropped = false;
    for (const slot of this.#slots) {
      const some = given?.get(slot) ?? this.#subscriptions(slot, frame, tag);
      if (some === 0 || (given === undefined && this.#isFinished(slot, frame))) continue;
      const contain = some >= CONTAINS && !frame.copy;
      const bits = some & (CONTAINS - 1);
      if (!contain) {
        slot.session?.deliver(frame, bits, false);
        continue;
      }
      if (held === undefined && !dropped) {
        held = this.#held.hold(frame, 0);
      }
      const failure = this.#ask(slot, frame, bits, held);
      if (failure === undefined) (held as HeldFrame).pending++;
      else dropped ||= this.#decideByFailure(slot);
    }
    if (held !== undefined) {
      held.cut ||= dropped;
      if (held.pending > 0) {
        this.counters.held = this.#held.size;
        return "held";
      }
      this.#held.release(held);
    }
    if (dropped) {
      this.counters.failedClosed++;
      return "dropped";
    }
    if (!frame.copy) this.#forward(memory, frame);
    return "forwarded";
  }

  /** Gives a held frame to a scanner; says why it cannot decide about it, when it cannot. */
  #ask(
    slot: Slot,
    frame: FrameRef,
    bits: number,
    held: HeldFrame | undefined,
  ): Undelivered | undefined {
    if (held === undefined) return "queue"; // no room to keep it
    const { session } = slot;
    if (session === undefined || session.grants.length === 0) return "down";
    return session.deliver(frame, bits, true);
  }

  /** Bit n: subscription n matches a frame; and {@link CONTAINS} when one of these is to contain it. */
  #subscriptions(slot: Slot, frame: FrameRef, tag: number): number {
    const grants = slot.session?.grants ?? slot.grants;
    // What it has not subscribed to yet, it would: until then its frames meet `on_failure`.
    if (grants.length === 0) {
      for (const filter of slot.checker.contain) {
        if (this.#matcher.matches(filter, frame, tag)) return CONTAINS | 1;
      }
      return 0;
    }
    let bits = 0;
    for (let i = 0; i < grants.length; i++) {
      const grant = grants[i] as Grant;
      if (grant.right === undefined || grant.streams !== undefined) continue;
      if (!this.#matcher.matches(grant.asked, frame, tag)) continue;
      for (const filter of grant.within) {
        if (!this.#matcher.matches(filter, frame, tag)) continue;
        bits |= grant.right === "contain" ? CONTAINS | (1 << i) : 1 << i;
        break;
      }
    }
    return bits;
  }

  /** True when the frame must be dropped. */
  #decideByFailure(slot: Slot): boolean {
    if (slot.rights.onFailure === "closed") {
      slot.counters.failedClosed++;
      return true;
    }
    slot.counters.failedOpen++;
    return false;
  }

  #forward(
    memory: FrameMemory,
    frame: Pick<FrameRef, "start" | "end" | "direction" | "seconds" | "nanoseconds" | "wireLength">,
  ): void {
    this.counters.forwarded++;
    const { start, end, direction } = frame;
    if (this.#streamPolicy.isActive) this.#streams.frame(memory, start, end, direction, frame);
    else this.#output.forward(memory, start, end, direction, frame);
  }

  #granted(): void {
    this.#grantsVersion++;
    this.#streamPolicy.refresh();
  }

  /** What it still says is late, and then wrong: it must hear that it is over. */
  #late(slot: Slot, why: string): void {
    if (slot.session === undefined) return;
    this.#output.broken(slot.session, why);
    this.disconnect(slot.session);
  }

  #verdict(number: number, pass: boolean): void {
    const held = this.#held.get(number);
    if (held === undefined) return;
    if (!pass && !held.cut) {
      held.cut = true;
      this.counters.cut++;
    }
    this.#decided(held);
  }

  #failed(slot: Slot, number: number): void {
    const held = this.#held.get(number);
    if (held === undefined) return;
    if (this.#decideByFailure(slot) && !held.cut) {
      held.cut = true;
      this.counters.failedClosed++;
    }
    this.#decided(held);
  }

  #decided(held: HeldFrame): void {
    if (--held.pending > 0) return;
    if (!held.cut) {
      const leaving = this.#out;
      leaving.start = held.start;
      leaving.end = held.end;
      leaving.direction = held.direction;
      leaving.wireLength = held.wireLength;
      leaving.seconds = this.#now.seconds;
      leaving.nanoseconds = this.#now.nanoseconds;
      this.#forward(held.memory, leaving);
    }
    this.#held.release(held);
    this.counters.held = this.#held.size;
  }

  /** Ends a connection in the name of one end of it, towards the other. False when the scanner may not contain it. */
  #reset(slot: Slot, copy: FrameCopy, direction: Direction): boolean {
    const frame = new FrameRef();
    frame.data = copy.bytes;
    frame.end = copy.bytes.length;
    frame.wireLength = copy.wireLength;
    frame.number = ++this.#number;
    const tag = this.#matcher.tagLength(frame);
    if (!slot.checker.contain.some((filter) => this.#matcher.matches(filter, frame, tag))) {
      return false;
    }
    const p = this.#packet.decode(copy.bytes, 0, copy.bytes.length, this.#options.linkType);
    const reset = resetFrame(p, copy.direction !== direction);
    if (reset === undefined) return true;
    slot.counters.resets++;
    this.#send(slot, reset, direction, "a reset");
    return true;
  }

  #inject(slot: Slot, frame: Uint8Array, direction: Direction, name: string): void {
    this.counters.injected++;
    this.#send(slot, frame, direction, name);
  }

  /** Sends a frame that did not come from either side. */
  #send(slot: Slot, frame: Uint8Array, direction: Direction, name: string): void {
    const held = new FrameRef();
    held.data = Uint8Array.from(frame);
    held.end = frame.length;
    held.number = ++this.#number;
    const copy = this.#held.hold(held, 0);
    if (copy === undefined) {
      if (slot.session !== undefined) {
        this.#output.broken(slot.session, `no room to inject ${name}`);
      }
      return;
    }
    // Towards the host it looks as if it came from the network, and the other way round.
    this.#output.forward(copy.memory, copy.start, copy.end, direction, {
      ...this.#now,
      wireLength: frame.length,
    });
    this.#held.release(copy);
  }

  #alert(slot: Slot, alert: ScannerAlert): void {
    const [first] = alert.frames;
    const flow = first === undefined ? {} : packetFields(
      this.#packet.decode(first.bytes, 0, first.bytes.length, this.#options.linkType),
    );
    this.#output.event(frameAlert(slot.name, alert, flow, this.#now));
  }

  #finished(slot: Slot, frame: FrameCopy): void {
    const p = this.#packet.decode(frame.bytes, 0, frame.bytes.length, this.#options.linkType);
    if (p.version === 0) return;
    slot.finished.add(flowKey(p), this.now);
    this.#output.finished?.(p, frame.direction, slot.number);
  }

  /** Whether the scanner has said that it need not see the frame's flow. */
  #isFinished(slot: Slot, frame: FrameRef): boolean {
    if (slot.finished.size === 0) return false;
    const p = this.#packet.decode(frame.data, frame.start, frame.end, this.#options.linkType);
    if (p.version === 0) return false;
    const key = flowKey(p);
    if (!slot.finished.has(key, this.now)) return false;
    // The same addresses and ports again are another connection, for every scanner.
    if (!p.isTcp || (p.tcpFlags & (TCP.SYN | TCP.ACK)) !== TCP.SYN) return true;
    for (const { finished } of this.#slots) finished.delete(key);
    this.#output.begun?.(p, frame.direction);
    return false;
  }
}

/** Bytes of the largest frame that there is. */
const LARGEST = 65_535;
/** Above the bits of subscriptions: one of them is to contain the frame. */
const CONTAINS = 0x10000;
