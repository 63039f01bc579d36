/**
 * Doctor's checks of rights, kernel and libraries.
 *
 * @module
 */
import type { Config } from "../controller/config.ts";
import { missingCapabilities } from "../sys/capabilities.ts";
import {
  probeBoundInactive,
  probeConntrack,
  probeDestroyNotices,
  probeMemfd,
  probeNamespaceCookie,
  probePidfd,
  type ProbeResult,
  probeSeccompNotification,
  probeSeqpacket,
  probeSocketCookie,
} from "../sys/kernel_features.ts";
import { Libnftables } from "../sys/libnftables.ts";
import { raiseDescriptorLimit } from "../sys/limits.ts";
import { type Check, fail, messageOf, notLooked, pass, warn } from "./doctor_check.ts";

/** Descriptors that a daemon needs besides one for each channel. */
const OTHER_DESCRIPTORS = 1024;
const CONTAINER =
  "if this is a container, give it the capability and the kernel module from outside";

/** The checks that need no configuration. */
export function kernelChecks(): Check[] {
  return [rights(), libraries(), nftables(), conntrack(), ...features()];
}

/** Whether a daemon may have as many descriptors as the configuration lets agents take. */
export function descriptorCheck(config: Config): Check {
  const limit = raiseDescriptorLimit();
  const needed = config.broker.max_channels + OTHER_DESCRIPTORS;
  const name = "descriptors";
  const text = `${limit} descriptors are allowed, ${needed} may be needed`;
  return limit >= needed ? pass(name, text) : warn(
    name,
    text,
    `LimitNOFILE=${needed} in the service's unit, ulimit -Hn ${needed} in a shell, or a smaller broker.max_channels`,
  );
}

function rights(): Check {
  const name = "rights";
  const uid = Deno.uid();
  if (uid !== 0) {
    return warn(
      name,
      `run by uid ${uid}: what only root can see is not looked at`,
      "sudo diaper doctor",
    );
  }
  const missing = missingCapabilities([
    "CAP_NET_ADMIN",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_SYS_PTRACE",
  ]);
  if (missing.length === 0) return pass(name, "root, with the capabilities that are needed");
  const text = `root, but without ${missing.join(", ")}`;
  const mend = "add to CapabilityBoundingSet= of the unit, or to the container's capabilities";
  // Without the others names of programs are missing, pinholes of supervised programs of other users,
  // or a group's access to the control socket.
  return missing.includes("CAP_NET_ADMIN") ? fail(name, text, mend) : warn(name, text, mend);
}

function libraries(): Check {
  const name = "libraries";
  try {
    new Libnftables().close();
    return pass(name, "libnftables.so.1 loads");
  } catch (error) {
    return fail(name, messageOf(error), "apt-get install libnftables1 (Fedora: nftables-libs)");
  }
}

/** What the driver uses of nf_tables, as one transaction that the kernel checks and forgets. */
function nftables(): Check {
  const name = "nf_tables";
  if (Deno.uid() !== 0) return notLooked(name, "the kernel's packet filter");
  const table = `diaper_doctor_${Deno.pid}`;
  const sets = ([["ip", "ipv4"], ["ip6", "ipv6"]] as const).map(([family, name]) =>
    `add set inet ${table} s_${family} { type inet_proto . ${name}_addr . ${name}_addr . inet_service; ` +
    `flags timeout; counter; }
add rule inet ${table} c meta nfproto ${name} meta l4proto . ${family} saddr . ${family} daddr . ` +
    `th dport @s_${family} accept`
  ).join("\n");
  let nft: Libnftables;
  try {
    nft = new Libnftables();
  } catch (error) {
    return fail(name, `cannot be asked: ${messageOf(error)}`, "see libraries");
  }
  try {
    const { ok, error } = nft.run(
      `add table inet ${table}
add chain inet ${table} c { type filter hook input priority 0; policy accept; }
${sets}
add rule inet ${table} c ct state established,related accept`,
      { dryRun: true },
    );
    if (ok) return pass(name, "takes sets of tuples with timeouts and counters (tried, not kept)");
    const first = error.split("\n")[0] ?? "no reason given";
    return fail(
      name,
      `the kernel refused a trial: ${first}`,
      `modprobe nf_tables nft_ct; the kernel needs CONFIG_NF_TABLES_INET and CONFIG_NFT_CT; ${CONTAINER}`,
    );
  } finally {
    nft.close();
  }
}

function conntrack(): Check {
  const name = "conntrack";
  if (Deno.uid() !== 0) return notLooked(name, "connection tracking");
  const why = probeConntrack();
  return why === undefined
    ? pass(name, "connections can be ended when their pinhole closes")
    : fail(
      name,
      `connections cannot be ended when their pinhole closes: ${why}`,
      `modprobe nf_conntrack_netlink (CONFIG_NF_CT_NETLINK); ${CONTAINER}`,
    );
}

interface Feature {
  readonly name: string;
  readonly probe: () => ProbeResult;
  readonly good: string;
  readonly bad: string;
  readonly mend: string;
  readonly needed: boolean;
}

const FEATURES: readonly Feature[] = [
  {
    name: "unix-seqpacket",
    probe: probeSeqpacket,
    good: "agents can talk to the broker (SOCK_SEQPACKET)",
    bad: "agents cannot talk to the broker",
    mend: "allow AF_UNIX in the unit (RestrictAddressFamilies=) or the container's seccomp profile",
    needed: true,
  },
  {
    name: "socket-cookie",
    probe: probeSocketCookie,
    good: "sockets have identities (SO_COOKIE)",
    bad: "sockets have no identities",
    mend: "use Linux 4.6 or newer",
    needed: true,
  },
  {
    name: "netns-cookie",
    probe: probeNamespaceCookie,
    good: "network namespaces have identities (SO_NETNS_COOKIE)",
    bad: "a socket of another network namespace cannot be told from one of this host",
    mend: "use Linux 5.14 or newer",
    needed: false,
  },
  {
    name: "destroy-notices",
    probe: probeDestroyNotices,
    good: "the kernel tells when a socket is gone (a notice came)",
    bad: "pinholes close up to a second late",
    mend: "modprobe inet_diag tcp_diag udp_diag (CONFIG_INET_DIAG, CONFIG_INET_UDP_DIAG)",
    needed: false,
  },
  {
    name: "bound-inactive",
    probe: probeBoundInactive,
    good: "bound sockets are listed before they listen (TCP_BOUND_INACTIVE)",
    bad: "after a restart, sockets that are bound but do not listen yet cannot be found again",
    mend: "use Linux 6.8 or newer",
    needed: false,
  },
  {
    name: "memfd",
    probe: probeMemfd,
    good: "programs can run from memory (memfd_create)",
    bad: "the binary cannot run from memory, only from its cache directory",
    mend: "sysctl vm.memfd_noexec=0, or see that /var/cache/diaper can be used",
    needed: false,
  },
  {
    name: "pidfd",
    probe: probePidfd,
    good: "processes can be held on to (pidfd_open)",
    bad: "a process that ended cannot be told from a new one with its number as surely",
    mend: "use Linux 5.3 or newer, or allow pidfd_open in the container's seccomp profile",
    needed: false,
  },
  {
    name: "seccomp-notify",
    probe: probeSeccompNotification,
    good: "system calls can be supervised (diaper run --trace seccomp)",
    bad: "static programs and those in Go cannot be supervised",
    mend: "use Linux 5.19 or newer with CONFIG_SECCOMP_FILTER",
    needed: false,
  },
];

function features(): Check[] {
  return FEATURES.map(({ name, probe, good, bad, mend, needed }) => {
    const why = probe();
    if (why === undefined) return pass(name, good);
    return (needed ? fail : warn)(name, `${bad}: ${why}`, mend);
  });
}
