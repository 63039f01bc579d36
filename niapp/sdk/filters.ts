/**
 * Filters that several scanners need, in the words of pcap-filter(7). It looks into TCP over IPv4 only: over IPv6 the
 * flags are looked at where they are without extension headers, and what has such headers goes to the scanner.
 *
 * @module
 */

/** IPv6 packets with headers that a filter cannot look through. */
export const IPV6_EXTENDED =
  "(ip6 and (ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 44 or ip6[6] = 60 or ip6[6] = 51))";

/** The first packet of a connection's handshake. */
export const SYN: string = "(tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn) or " +
  `(ip6 and ip6[6] = 6 and ip6[53] & 0x12 = 2) or ${IPV6_EXTENDED}`;

/** The first two packets of a handshake. */
export const HANDSHAKE: string = "(tcp[tcpflags] & tcp-syn != 0) or " +
  `(ip6 and ip6[6] = 6 and ip6[53] & 2 != 0) or ${IPV6_EXTENDED}`;

/** Later fragments, which have no ports, and the first ones. */
export const FRAGMENTS = "(ip[6:2] & 0x3fff != 0) or (ip6 and ip6[6] = 44)";
