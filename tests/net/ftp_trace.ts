/**
 * Makes a trace with the published statistics of the FTP traces of the Lawrence Berkeley National Laboratory
 * that the paper used: in 10 days 22,000 control and 49,000 data connections between 320 servers and 5,832
 * clients, in 3,200,000 packets. It is synthetic: sessions arrive as a Poisson process with rates by the hour
 * (Paxson and Floyd, 1995), servers and clients are as popular as Zipf's law has it, connections of a session
 * are geometrically distributed and their sizes heavy-tailed. Packets of data are cut after their headers, and
 * TCP checksums are 0.
 *
 * @module
 */
import { addWords, finishChecksum } from "../../lib/net/checksum.ts";

/** The published figures. */
export const PUBLISHED = {
  seconds: 10 * 86_400,
  controls: 22_000,
  data: 49_000,
  packets: 3_200_000,
  servers: 320,
  clients: 5832,
} as const;

/** One frame of the trace; the memory is used anew for the next. */
export interface TraceFrame {
  /** Seconds since the trace began. */
  readonly time: number;
  readonly frame: Uint8Array;
  readonly wireLength: number;
}

/** How the trace is to be. */
export interface TraceOptions {
  /** Share of all connections, packets, servers, clients and of the time; 1 is the whole trace. */
  readonly scale: number;
  readonly seed: number;
}

/** Weight of each hour of a day, from midnight. */
const HOURS = [
  5,
  4,
  4,
  3,
  3,
  4,
  6,
  10,
  14,
  18,
  20,
  20,
  18,
  19,
  21,
  20,
  18,
  15,
  12,
  11,
  10,
  9,
  8,
  7,
];
const WEEKEND = 0.45;
const MEAN_DATA = PUBLISHED.data / PUBLISHED.controls;
/** Handshake, greeting, USER and PASS with their replies, QUIT with its reply, both FINs and the last ACK. */
const CONTROL_PACKETS = 3 + 1 + 4 + 2 + 3;
/** Agreement on a port, the command for it, and their replies; handshake and end of the data connection. */
const PACKETS_EACH = 5 + 6;

interface Session {
  readonly start: number;
  readonly server: number;
  readonly client: number;
  /** Packets of each data connection, handshake and end not counted. */
  readonly data: readonly number[];
}

/** The frames of the trace, in order of time. */
export function* ftpTrace({ scale, seed }: TraceOptions): Generator<TraceFrame> {
  const random = generator(seed);
  const running = new Heap();
  const sessions = plan(scale, random);
  const frame = new Frame();
  let next = 0;
  for (;;) {
    const session = sessions[next];
    const head = running.first();
    if (session !== undefined && (head === undefined || session.start <= head)) {
      next++;
      running.push(converse(session, random));
      continue;
    }
    const step = running.pop();
    if (step === undefined) return;
    yield frame.of(step);
  }
}

function plan(scale: number, random: () => number): Session[] {
  const scaled = (value: number) => Math.max(1, Math.round(value * scale));
  const [controls, data] = [scaled(PUBLISHED.controls), scaled(PUBLISHED.data)];
  const [servers, clients] = [scaled(PUBLISHED.servers), scaled(PUBLISHED.clients)];
  const starts = arrivals(controls, PUBLISHED.seconds * scale, random);
  const counts = starts.map(() => geometric(MEAN_DATA, random));
  for (let total = counts.reduce((a, b) => a + b, 0); total !== data;) {
    const i = Math.floor(random() * controls);
    const change = total < data ? 1 : (counts[i] as number) > 0 ? -1 : 0;
    counts[i] = (counts[i] as number) + change;
    total += change;
  }
  const left = scaled(PUBLISHED.packets) - controls * CONTROL_PACKETS - data * PACKETS_EACH;
  const sizes = shares(data, Math.max(data, left), random);
  const [whichServer, whichClient] = [zipf(servers, random), zipf(clients, random)];
  let used = 0;
  return starts.map((start, i) => {
    const count = counts[i] as number;
    const session = {
      start,
      // Everybody comes at least once.
      server: i < servers ? i : whichServer(),
      client: i < clients ? i : whichClient(),
      data: sizes.slice(used, used + count),
    };
    used += count;
    return session;
  });
}

/** Moments of a Poisson process of which it is known how many there are. */
function arrivals(count: number, seconds: number, random: () => number): number[] {
  const hours = Array.from({ length: Math.max(1, Math.ceil(seconds / 3600)) }, (_, hour) => {
    const day = Math.floor(hour / 24) % 7;
    return (HOURS[hour % 24] as number) * (day >= 5 ? WEEKEND : 1);
  });
  const pick = weighted(hours, random);
  return Array.from({ length: count }, () => (pick() + random()) * 3600)
    .map((time) => Math.min(time, seconds)).sort((a, b) => a - b);
}

/** Divides a total into heavy-tailed parts of at least 1. */
function shares(parts: number, total: number, random: () => number): number[] {
  const weights = Array.from({ length: parts }, () => Math.min(random() ** (-1 / 1.1), 20_000));
  const sum = weights.reduce((a, b) => a + b, 0);
  const sizes = weights.map((w) => 1 + Math.floor(w / sum * (total - parts)));
  for (let left = total - sizes.reduce((a, b) => a + b, 0); left > 0; left--) {
    const i = Math.floor(random() * parts);
    sizes[i] = (sizes[i] as number) + 1;
  }
  return sizes;
}

interface Step {
  readonly time: number;
  readonly from: Endpoint;
  readonly to: Endpoint;
  readonly flags: number;
  readonly text: string;
  /** Bytes of payload on the wire, when they are not those of the text. */
  readonly length: number;
}

interface Endpoint {
  readonly address: number;
  readonly port: number;
  sequence: number;
}

const FIN = 1, SYN = 2, PSH = 8, ACK = 16;

/** One session: its steps in order of time. */
function* converse(session: Session, random: () => number): Generator<Step> {
  const { server, client } = session;
  // Servers are inside, clients anywhere; documentation and benchmark networks.
  const serverAddress = (192 << 24 | 0 << 16 | (2 + (server >> 8)) << 8 | (server & 255)) >>> 0;
  const clientAddress = (198 << 24 | (18 + (client >> 16)) << 16 | client) >>> 0;
  const delay = 0.01 + 0.15 * random();
  const port = () => 1024 + Math.floor(random() * 64_000);
  const [mine, theirs] = [end(clientAddress, port()), end(serverAddress, 21)];
  let time = session.start;
  const step = (from: Endpoint, to: Endpoint, flags: number, text = "", length = text.length) => {
    const made: Step = { time, from, to, flags, text, length };
    time += delay / 2;
    return made;
  };
  const ask = function* (command: string, reply: string): Generator<Step> {
    yield step(mine, theirs, PSH | ACK, `${command}\r\n`);
    yield step(theirs, mine, PSH | ACK, `${reply}\r\n`);
  };
  yield* handshake(mine, theirs, step);
  yield step(theirs, mine, PSH | ACK, "220 FTP server ready.\r\n");
  yield* ask("USER anonymous", "331 Guest login ok, send your e-mail address.");
  yield* ask("PASS guest@", "230 Guest login ok.");
  let bursting = 0;
  for (const packets of session.data) {
    // Connections come in bursts (mget), with somebody thinking between them.
    if (bursting-- > 0) time += random();
    else {
      bursting = geometric(3, random);
      time += -Math.log(1 - random()) * 40;
    }
    const passive = random() < 0.6;
    const owner = passive ? serverAddress : clientAddress;
    const listening = end(owner, port());
    const text = `${[24, 16, 8, 0].map((bits) => (owner >>> bits) & 255).join(",")},${
      listening.port >> 8
    },${listening.port & 255}`;
    if (passive) yield* ask("PASV", `227 Entering Passive Mode (${text})`);
    else yield* ask(`PORT ${text}`, "200 PORT command successful.");
    yield step(mine, theirs, PSH | ACK, "RETR file\r\n");
    const calling = end(passive ? clientAddress : serverAddress, passive ? port() : 20);
    yield* handshake(calling, listening, step);
    yield step(theirs, mine, PSH | ACK, "150 Opening data connection.\r\n");
    const [sender, receiver] = passive ? [listening, calling] : [calling, listening];
    const gap = 1460 / (20_000 * Math.exp(1.2 * gaussian(random)) + 2000);
    for (let i = 0; i < packets; i++) {
      // Every third packet is an acknowledgement.
      const back = i % 3 === 2;
      const made = back
        ? step(receiver, sender, ACK)
        : step(sender, receiver, ACK, "", i === packets - 1 ? 700 : 1460);
      time += gap - delay / 2;
      yield made;
    }
    yield* farewell(sender, receiver, step);
    yield step(theirs, mine, PSH | ACK, "226 Transfer complete.\r\n");
  }
  time += -Math.log(1 - random()) * 10;
  yield* ask("QUIT", "221 Goodbye.");
  yield* farewell(theirs, mine, step);

  function end(address: number, number: number): Endpoint {
    return { address, port: number, sequence: Math.floor(random() * 2 ** 32) };
  }
}

type MakeStep = (from: Endpoint, to: Endpoint, flags: number) => Step;

function* handshake(from: Endpoint, to: Endpoint, step: MakeStep): Generator<Step> {
  yield step(from, to, SYN);
  yield step(to, from, SYN | ACK);
  yield step(from, to, ACK);
}

function* farewell(from: Endpoint, to: Endpoint, step: MakeStep): Generator<Step> {
  yield step(from, to, FIN | ACK);
  yield step(to, from, FIN | ACK);
  yield step(from, to, ACK);
}

/** Steps as frames of Ethernet, IPv4 and TCP. */
class Frame {
  readonly #bytes = new Uint8Array(54 + 256);
  readonly #view = new DataView(this.#bytes.buffer);

  of({ time, from, to, flags, text, length }: Step): TraceFrame {
    const view = this.#view;
    this.#bytes.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0]);
    view.setUint16(16, 40 + length);
    view.setUint32(18, 0x4000); // identification 0, don't fragment
    view.setUint32(22, 0x40060000); // time to live 64, TCP
    view.setUint32(26, from.address);
    view.setUint32(30, to.address);
    view.setUint16(24, finishChecksum(addWords(0, this.#bytes, 14, 34)));
    view.setUint16(34, from.port);
    view.setUint16(36, to.port);
    view.setUint32(38, from.sequence);
    view.setUint32(42, (flags & ACK) === 0 ? 0 : to.sequence);
    view.setUint32(46, 0x50000000 | flags << 16 | 0xffff);
    view.setUint32(50, 0);
    for (let i = 0; i < text.length; i++) this.#bytes[54 + i] = text.charCodeAt(i);
    const taken = length + ((flags & (SYN | FIN)) === 0 ? 0 : 1);
    from.sequence = (from.sequence + taken) >>> 0;
    return { time, frame: this.#bytes.subarray(0, 54 + text.length), wireLength: 54 + length };
  }
}

/** Sessions under way, the one with the earliest next step first. */
class Heap {
  readonly #items: { step: Step; rest: Generator<Step> }[] = [];

  first(): number | undefined {
    return this.#items[0]?.step.time;
  }

  push(rest: Generator<Step>): void {
    const next = rest.next();
    if (next.done === true) return;
    const items = this.#items;
    items.push({ step: next.value, rest });
    for (let i = items.length - 1; i > 0;) {
      const parent = (i - 1) >> 1;
      if (!this.#swap(i, parent)) return;
      i = parent;
    }
  }

  /** Takes the earliest step; what follows it in its session takes its place. */
  pop(): Step | undefined {
    const items = this.#items;
    const top = items[0];
    if (top === undefined) return undefined;
    const { step } = top;
    const next = top.rest.next();
    if (next.done !== true) top.step = next.value;
    else {
      const last = items.pop() as typeof top;
      if (items.length > 0) items[0] = last;
    }
    for (let i = 0;;) {
      const [left, right] = [2 * i + 1, 2 * i + 2];
      const least = right < items.length && this.#before(right, left) ? right : left;
      if (least >= items.length || !this.#swap(least, i)) return step;
      i = least;
    }
  }

  #before(i: number, j: number): boolean {
    const items = this.#items as readonly { step: Step }[];
    return (items[i] as { step: Step }).step.time < (items[j] as { step: Step }).step.time;
  }

  /** Puts `i` in the place of `j` when it comes before it. */
  #swap(i: number, j: number): boolean {
    if (!this.#before(i, j)) return false;
    const items = this.#items;
    [items[i], items[j]] = [items[j] as typeof items[0], items[i] as typeof items[0]];
    return true;
  }
}

/** Random numbers that are the same for the same seed (xoshiro128**). */
function generator(seed: number): () => number {
  const state = Uint32Array.from([seed, 0x9e3779b9, 0x243f6a88, 0xb7e15162]);
  const next = () => {
    const [a, b, c, d] = state as unknown as [number, number, number, number];
    const turned = Math.imul(b, 5);
    const result = Math.imul((turned << 7) | (turned >>> 25), 9) >>> 0;
    const e = d ^ b;
    state[2] = c ^ a;
    state[1] = b ^ (c ^ a);
    state[0] = a ^ e;
    state[2] ^= b << 9;
    state[3] = (e << 11) | (e >>> 21);
    return result / 2 ** 32;
  };
  for (let i = 0; i < 20; i++) next();
  return next;
}

/** 0, 1, 2, ... with the given mean. */
function geometric(mean: number, random: () => number): number {
  return Math.floor(Math.log(1 - random()) / Math.log(mean / (1 + mean)));
}

function gaussian(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

function zipf(count: number, random: () => number): () => number {
  return weighted(Array.from({ length: count }, (_, i) => 1 / (i + 1)), random);
}

/** Indices with the given weights. */
function weighted(weights: readonly number[], random: () => number): () => number {
  let sum = 0;
  const sums = weights.map((weight) => sum += weight);
  return () => {
    const wanted = random() * sum;
    let [low, high] = [0, sums.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] as number) > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}
