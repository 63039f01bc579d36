/**
 * The perimeter as chains of iptables: the same policy as the nftables driver's (nftables_rules.ts), in
 * the words in which iptables-save prints it back, so that what is found can be compared.
 *
 * @module
 */
import type { OpenPort, PerimeterOptions } from "./nftables_rules.ts";

/** What the perimeter is to be. `prefix` begins the names of all our chains. */
export interface ChainOptions extends Omit<PerimeterOptions, "table" | "priority" | "nat"> {
  readonly prefix: string;
}

/** A chain of ours with its rules, each as what follows `-A CHAIN`. */
export interface OwnChain {
  readonly name: string;
  /** The built-in chain whose first rule jumps to this one. */
  readonly hook: "INPUT" | "FORWARD" | undefined;
  readonly rules: readonly string[];
}

/** Names of chains that the perimeter can have besides its tree of pinholes. */
export function ownChainNames(prefix: string): string[] {
  return [`${prefix}-IN`, `${prefix}-INPUT`, `${prefix}-FORWARD`];
}

/**
 * The perimeter's chains for one address family, without the tree.
 *
 * @param pinholes what follows `-A` for the rules that let pinholes in.
 */
export function ownChains(
  options: ChainOptions,
  family: 4 | 6,
  ports: readonly OpenPort[],
  pinholes: readonly string[],
): OwnChain[] {
  const { prefix } = options;
  const chains: OwnChain[] = [
    { name: `${prefix}-IN`, hook: undefined, rules: inboundRules(family, ports, pinholes) },
  ];
  if (options.input) {
    chains.push({
      name: `${prefix}-INPUT`,
      hook: "INPUT",
      rules: [
        "-i lo -j ACCEPT",
        ...(family === 6 ? neighbourRules() : []),
        ...(options.allowDhcp ? dhcpRules(family) : []),
        `-j ${prefix}-IN`,
        ...pingRules(options, family),
        DROP,
      ],
    });
  }
  if (options.forward !== undefined) {
    chains.push({
      name: `${prefix}-FORWARD`,
      hook: "FORWARD",
      rules: [
        ...outboundRules(options, family),
        `-j ${prefix}-IN`,
        ...pingRules(options, family),
        DROP,
      ],
    });
  }
  return chains;
}

const DROP = '-m comment --comment "diaper:dropped" -j DROP';
const INVALID = '-m conntrack --ctstate INVALID -m comment --comment "diaper:invalid" -j DROP';
const RESET = "-j REJECT --reject-with tcp-reset";

/** See the reasons in nftables_rules.ts: the order is the same. */
function inboundRules(
  family: 4 | 6,
  ports: readonly OpenPort[],
  pinholes: readonly string[],
): string[] {
  const errors = family === 4 ? [3, 11, 12] : [1, 2, 3, 4];
  const open = new Set(ports.map((p) => `${p.protocol} ${p.port}`));
  return [
    INVALID,
    ...pinholes,
    "-m conntrack --ctstate ESTABLISHED --ctdir REPLY -j ACCEPT",
    ...errors.map((type) => `${icmp(family, type)} -m conntrack --ctstate RELATED -j ACCEPT`),
    ...[...open].map((text) => {
      const [protocol, port] = text.split(" ");
      return `-p ${protocol} -m ${protocol} --dport ${port} -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT`;
    }),
    ...["FIN", "RST"].map((flag) =>
      `-p tcp -m tcp --tcp-flags ${flag} ${flag} -m conntrack --ctstate ESTABLISHED -j ACCEPT`
    ),
    `-p tcp -m conntrack --ctstate ESTABLISHED -m comment --comment "diaper:dropped" ${RESET}`,
  ];
}

function icmp(family: 4 | 6, type: number): string {
  return family === 4
    ? `-p icmp -m icmp --icmp-type ${type}`
    : `-p ipv6-icmp -m icmp6 --icmpv6-type ${type}`;
}

function neighbourRules(): string[] {
  const local = "-s fe80::/10";
  return [
    `${icmp(6, 135)} -m hl --hl-eq 255 -j ACCEPT`,
    `${icmp(6, 136)} -m hl --hl-eq 255 -j ACCEPT`,
    `${local} ${icmp(6, 134)} -m hl --hl-eq 255 -j ACCEPT`,
    `${local} ${icmp(6, 130)} -m hl --hl-eq 1 -j ACCEPT`,
  ];
}

function dhcpRules(family: 4 | 6): string[] {
  return family === 4
    ? ["-p udp -m udp --sport 67 --dport 68 -j ACCEPT"]
    : ["-s fe80::/10 -d fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT"];
}

function pingRules(options: ChainOptions, family: 4 | 6): string[] {
  return options.allowPing ? [`${icmp(family, family === 4 ? 8 : 128)} -j ACCEPT`] : [];
}

/** What crosses the perimeter outwards; each interface has rules of its own. */
function outboundRules(options: ChainOptions, family: 4 | 6): string[] {
  const { inside = [], outside = [] } = options.forward ?? {};
  const rules = (match: string) => [
    `${match}${INVALID}`,
    `${match}-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW ` +
    `-m comment --comment "diaper:dropped" ${RESET}`,
    `${match}-j ACCEPT`,
  ];
  if (inside.length > 0) return inside.flatMap((name) => rules(`-i ${name} `));
  if (outside.length === 1) return rules(`! -i ${outside[0]} `);
  // More than one interface to the outside: a chain says for each that it is not from inside.
  const skip = `${options.prefix}-IN`;
  return [
    ...outside.flatMap((name) => [
      `-i ${name} -j ${skip}`,
      ...pingRules(options, family).map((ping) => `-i ${name} ${ping}`),
      `-i ${name} ${DROP}`,
    ]),
    ...rules(""),
  ];
}
