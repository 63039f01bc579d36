/**
 * Ports that simulated devices print by name, from the vendors' command references. Not all that a vendor
 * knows: enough that a reader of their lists meets names and numbers mixed.
 *
 * @module
 */

const IOS = {
  tcp: {
    bgp: 179,
    chargen: 19,
    cmd: 514,
    daytime: 13,
    discard: 9,
    domain: 53,
    echo: 7,
    exec: 512,
    finger: 79,
    ftp: 21,
    "ftp-data": 20,
    gopher: 70,
    hostname: 101,
    ident: 113,
    irc: 194,
    klogin: 543,
    kshell: 544,
    login: 513,
    lpd: 515,
    nntp: 119,
    "pim-auto-rp": 496,
    pop2: 109,
    pop3: 110,
    smtp: 25,
    sunrpc: 111,
    tacacs: 49,
    talk: 517,
    telnet: 23,
    time: 37,
    uucp: 540,
    whois: 43,
    www: 80,
  },
  udp: {
    biff: 512,
    bootpc: 68,
    bootps: 67,
    discard: 9,
    dnsix: 195,
    domain: 53,
    echo: 7,
    isakmp: 500,
    "mobile-ip": 434,
    nameserver: 42,
    "netbios-dgm": 138,
    "netbios-ns": 137,
    "netbios-ss": 139,
    "non500-isakmp": 4500,
    ntp: 123,
    "pim-auto-rp": 496,
    rip: 520,
    snmp: 161,
    snmptrap: 162,
    sunrpc: 111,
    syslog: 514,
    tacacs: 49,
    talk: 517,
    tftp: 69,
    time: 37,
    who: 513,
    xdmcp: 177,
  },
};
const EOS = {
  tcp: {
    bgp: 179,
    domain: 53,
    ftp: 21,
    https: 443,
    msdp: 639,
    smtp: 25,
    ssh: 22,
    telnet: 23,
    www: 80,
  },
  udp: { bfd: 3784, bootpc: 68, bootps: 67, domain: 53, ntp: 123, rip: 520, snmp: 161, tftp: 69 },
};
const FOUNDRY = {
  tcp: { bgp: 179, dns: 53, ftp: 21, http: 80, smtp: 25, ssh: 22, ssl: 443, telnet: 23 },
  udp: { bootpc: 68, bootps: 67, dns: 53, ntp: 123, snmp: 161, "snmp-trap": 162, tftp: 69 },
};
const VENDORS = { ios: IOS, nxos: IOS, ftos: IOS, eos: EOS, foundry: FOUNDRY };

type Table = Readonly<Record<string, number>>;

/** The name that a vendor prints for a port, or undefined. */
export function portName(
  port: number,
  proto: string,
  vendor: keyof typeof VENDORS | undefined,
): string | undefined {
  if (vendor === undefined) return undefined;
  const key = `${vendor} ${proto === "udp" ? "udp" : "tcp"}`;
  let names = NAMES.get(key);
  if (names === undefined) {
    const table: Table = VENDORS[vendor][proto === "udp" ? "udp" : "tcp"];
    names = new Map(Object.entries(table).map(([name, n]) => [n, name]));
    NAMES.set(key, names);
  }
  return names.get(port);
}

const NAMES = new Map<string, Map<number, string>>();

/** The port that a word stands for, or undefined. */
export function portNumber(word: string | undefined, proto: string): number | undefined {
  if (word === undefined) return undefined;
  if (/^[0-9]{1,5}$/.test(word)) return Number(word) <= 65535 ? Number(word) : undefined;
  for (const vendor of Object.values(VENDORS)) {
    const table: Table = vendor[proto === "udp" ? "udp" : "tcp"];
    if (table[word] !== undefined) return table[word];
  }
  return undefined;
}
