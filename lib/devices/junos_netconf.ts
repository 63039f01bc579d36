/**
 * The NETCONF side of the simulated Junos device: both framings, the operations of RFC 6241 that matter for locks and
 * commits, and Junos' own for configuration, counters and the ephemeral database.
 *
 * @module
 */
import { SaxesParser } from "saxes";
import type { Candidate, JunosDevice } from "./junos.ts";
import type { DeviceChannel } from "./ssh_server.ts";
import { Hangup } from "./terminal.ts";

interface Element {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: Element[];
  text: string;
}

const END = "]]>]]>";
const BASE = "urn:ietf:params:netconf:base";

/** Talks with one client until it is gone. */
export async function talkJunosNetconf(device: JunosDevice, channel: DeviceChannel): Promise<void> {
  const talk = new Talk(device, channel);
  try {
    await talk.run();
  } catch (error) {
    if (!(error instanceof Hangup)) throw error;
  } finally {
    talk.gone();
  }
}

class Talk {
  readonly #device: JunosDevice;
  readonly #channel: DeviceChannel;
  readonly #session: number;
  readonly #decoder = new TextDecoder();
  #input = "";
  #closed = false;
  #wake: (() => void) | undefined;
  #chunked = false;
  #candidate: Candidate | undefined;
  #over = false;

  constructor(device: JunosDevice, channel: DeviceChannel) {
    this.#device = device;
    this.#channel = channel;
    this.#session = device.nextSession();
    channel.onData = (piece) => {
      this.#input += this.#decoder.decode(piece, { stream: true });
      this.#wake?.();
    };
    channel.onClose = () => {
      this.#closed = true;
      this.#wake?.();
    };
  }

  gone(): void {
    this.#device.release(this.#session);
  }

  async run(): Promise<void> {
    const versions = this.#device.netconfVersions;
    const capabilities = [
      ...versions.map((version) => `${BASE}:${version}`),
      "urn:ietf:params:netconf:capability:candidate:1.0",
      "urn:ietf:params:netconf:capability:confirmed-commit:1.0",
      "urn:ietf:params:netconf:capability:validate:1.0",
      "http://xml.juniper.net/netconf/junos/1.0",
    ].map((c) => `<capability>${c}</capability>`).join("\n");
    this.#channel.write(
      `<!-- No zombies were killed during the creation of this user interface -->\n` +
        `<!-- user ${this.#device.user}, class j-super-user -->\n` +
        `<hello xmlns="${
          BASE.replace("netconf", "xml:ns:netconf")
        }:1.0">\n<capabilities>\n${capabilities}\n` +
        `</capabilities>\n<session-id>${this.#session}</session-id>\n</hello>\n${END}\n`,
    );
    const hello = parse(await this.#message());
    const theirs = findAll(hello, "capability").map((c) => c.text.trim());
    this.#chunked = versions.includes("1.1") && theirs.includes(`${BASE}:1.1`);
    while (!this.#over) {
      const rpc = parse(await this.#message());
      this.#device.clock.begin();
      const id = rpc.attributes["message-id"] ?? "";
      const [operation] = rpc.children;
      const body = operation === undefined
        ? rpcError("operation is missing")
        : await this.#operation(operation);
      await this.#device.clock.settle();
      if (this.#device.faults.silent) continue;
      this.#send(
        `<rpc-reply xmlns="urn:ietf:params:xml:ns:netconf:base:1.0" ` +
          `xmlns:junos="http://xml.juniper.net/junos/17.3R2/junos" message-id="${escape(id)}">\n` +
          `${body}\n</rpc-reply>\n`,
      );
    }
    this.#channel.end();
  }

  async #operation(operation: Element): Promise<string> {
    const device = this.#device;
    const child = (name: string) => operation.children.find((c) => c.name === name);
    switch (operation.name) {
      case "open-configuration": {
        const instance = child("ephemeral-instance")?.text.trim();
        if (instance !== undefined) return this.#open("ephemeral", instance);
        return this.#open(child("private") === undefined ? "shared" : "private");
      }
      case "lock":
      case "lock-configuration":
        return this.#open("exclusive");
      case "close-configuration":
      case "unlock":
      case "unlock-configuration":
        this.#candidate = undefined;
        device.release(this.#session);
        return "<ok/>";
      case "discard-changes":
        if (this.#candidate !== undefined) {
          this.#candidate.config = device.committed.copy();
          this.#candidate.touched.clear();
        }
        return "<ok/>";
      case "load-configuration":
        return this.#load(operation);
      case "commit":
      case "commit-configuration": {
        if (this.#candidate === undefined) this.#open("shared");
        const candidate = this.#candidate as Candidate;
        if (child("check") !== undefined) {
          const problem = device.check(candidate, this.#session);
          return problem === undefined
            ? "<commit-results>\n<routing-engine>\n<name>re0</name>\n<commit-check-success/>\n</routing-engine>\n</commit-results>"
            : rpcError(problem);
        }
        const minutes = Number(child("confirm-timeout")?.text.trim() ?? "10");
        const confirm = child("confirmed") === undefined ? 0 : minutes;
        const problem = await device.commit(candidate, this.#session, confirm, this.#channel);
        return problem === undefined ? "<ok/>" : rpcError(problem);
      }
      case "validate": {
        const problem = this.#candidate === undefined
          ? undefined
          : device.check(this.#candidate, this.#session);
        return problem === undefined ? "<ok/>" : rpcError(problem);
      }
      case "get-configuration":
        return this.#configuration(operation);
      case "get-firewall-filter-information":
      case "get-firewall-information":
        return this.#counters(child("filtername")?.text.trim() ?? "");
      case "close-session":
        this.#over = true;
        return "<ok/>";
      default:
        return rpcError("syntax error", operation.name);
    }
  }

  #open(kind: Candidate["kind"], instance?: string): string {
    const candidate = this.#device.open(kind, this.#session, instance);
    if (typeof candidate === "string") return rpcError(candidate);
    this.#candidate = candidate;
    return "<ok/>";
  }

  #load(operation: Element): string {
    const text = operation.children.find((c) => c.name === "configuration-set")?.text ?? "";
    if (operation.attributes["rollback"] === "0") {
      if (this.#candidate !== undefined) this.#candidate.config = this.#device.committed.copy();
      return "<load-configuration-results>\n<ok/>\n</load-configuration-results>";
    }
    if (operation.attributes["action"] !== "set") return rpcError("only action=set is simulated");
    if (this.#candidate === undefined) this.#open("shared");
    const errors: string[] = [];
    for (const line of text.split("\n").map((l) => l.trim()).filter((l) => l !== "")) {
      const problem = this.#device.statement(this.#candidate as Candidate, line, this.#channel);
      if (problem === undefined) continue;
      const severity = problem.startsWith("warning:") ? "warning" : "error";
      errors.push(rpcError(problem.replace(/^(warning|error): /, ""), line, severity));
    }
    const count = errors.filter((e) => e.includes(">error<")).length;
    const result = count === 0 ? "<ok/>" : `<load-error-count>${count}</load-error-count>`;
    return `<load-configuration-results>\n${
      errors.join("\n")
    }\n${result}\n</load-configuration-results>`;
  }

  #configuration(operation: Element): string {
    if (operation.attributes["format"] !== "set") return rpcError("only format=set is simulated");
    const ephemeral = this.#candidate?.kind === "ephemeral" ? this.#candidate.config : undefined;
    const { faults } = this.#device;
    if (faults.garbage !== undefined) {
      this.#channel.write(faults.garbage);
      faults.garbage = undefined;
    }
    let text = (ephemeral ?? this.#device.committed).lines().join("\n");
    if (faults.truncateList > 0) text = text.slice(0, faults.truncateList);
    faults.truncateList = 0;
    return `<configuration-set>\n${escape(text)}\n</configuration-set>`;
  }

  #counters(filter: string): string {
    const counters = this.#device.counters(filter).map(({ name, counter }) =>
      `<counter>\n<counter-name>${escape(name)}</counter-name>\n` +
      `<packet-count>${counter.packets}</packet-count>\n<byte-count>${counter.bytes}</byte-count>\n</counter>`
    ).join("\n");
    return `<firewall-information xmlns="http://xml.juniper.net/junos/17.3R2/junos-filter">\n` +
      `<filter-information>\n<filter-name>${escape(filter)}</filter-name>\n${counters}\n` +
      `</filter-information>\n</firewall-information>`;
  }

  #send(text: string): void {
    if (!this.#chunked) return this.#channel.write(`${text}${END}\n`);
    const bytes = new TextEncoder().encode(text);
    // Chunks of an odd size, so that they end in the middle of things.
    for (let at = 0; at < bytes.length; at += 4093) {
      const piece = bytes.subarray(at, at + 4093);
      this.#channel.write(`\n#${piece.length}\n`);
      this.#channel.write(piece);
    }
    this.#channel.write("\n##\n");
  }

  async #message(): Promise<string> {
    for (;;) {
      const found = this.#chunked ? takeChunked(this.#input) : takeMarked(this.#input);
      if (found !== undefined) {
        this.#input = found.rest;
        return found.message;
      }
      if (this.#closed) throw new Hangup("the client is gone");
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
  }
}

function takeMarked(input: string): { message: string; rest: string } | undefined {
  const at = input.indexOf(END);
  if (at === -1) return undefined;
  return { message: input.slice(0, at), rest: input.slice(at + END.length) };
}

/** Chunk lengths count bytes; what comes in here is ASCII. */
function takeChunked(input: string): { message: string; rest: string } | undefined {
  let at = 0;
  let message = "";
  for (;;) {
    const head = /^\n*#(\d+|#)\n/.exec(input.slice(at, at + 40));
    if (head === null) return undefined;
    at += head[0].length;
    if (head[1] === "#") return { message, rest: input.slice(at) };
    const length = Number(head[1]);
    if (input.length < at + length) return undefined;
    message += input.slice(at, at + length);
    at += length;
  }
}

function parse(text: string): Element {
  const parser = new SaxesParser();
  const root: Element = { name: "", attributes: {}, children: [], text: "" };
  const stack = [root];
  const local = (name: string) => name.slice(name.indexOf(":") + 1);
  parser.on("opentag", (tag) => {
    const element = {
      name: local(tag.name),
      attributes: tag.attributes as Record<string, string>,
      children: [],
      text: "",
    };
    stack.at(-1)?.children.push(element);
    stack.push(element);
  });
  parser.on("text", (t) => void ((stack.at(-1) as Element).text += t));
  parser.on("closetag", () => void stack.pop());
  parser.on("error", () => {
    throw new Hangup("the client sent no XML");
  });
  parser.write(text.trim()).close();
  return root.children[0] ?? root;
}

function findAll(element: Element, name: string): Element[] {
  return element.children.flatMap((c) => c.name === name ? [c] : findAll(c, name));
}

function rpcError(message: string, bad?: string, severity = "error"): string {
  const tag = message.includes("locked") ? "lock-denied" : "operation-failed";
  const info = bad === undefined
    ? ""
    : `\n<error-info>\n<bad-element>${escape(bad)}</bad-element>\n</error-info>`;
  return `<rpc-error>\n<error-type>protocol</error-type>\n<error-tag>${tag}</error-tag>\n` +
    `<error-severity>${severity}</error-severity>\n` +
    `<error-message>\n${escape(message)}\n</error-message>${info}\n</rpc-error>`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
