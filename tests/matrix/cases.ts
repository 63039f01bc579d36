/**
 * The matrix: all cases, in the order of the table.
 *
 * @module
 */
import type { MatrixCase } from "./case.ts";
import { ACTIVE_CLIENTS } from "./programs/active_clients.ts";
import { BARESIP } from "./programs/baresip.ts";
import { GLOBUS } from "./programs/globus.ts";
import { IPERF2 } from "./programs/iperf2.ts";
import { IPERF3 } from "./programs/iperf3.ts";
import { NUTTCP } from "./programs/nuttcp.ts";
import { OWN } from "./programs/own.ts";
import { PROFTPD } from "./programs/proftpd.ts";
import { PUREFTPD } from "./programs/pureftpd.ts";
import { PYFTPDLIB } from "./programs/pyftpdlib.ts";
import { RCLONE } from "./programs/rclone.ts";
import { TFTP } from "./programs/tftp.ts";
import { UFTP } from "./programs/uftp.ts";
import { VSFTPD } from "./programs/vsftpd.ts";
import { XROOTD } from "./programs/xrootd.ts";

/** Cases where the inside host is its own perimeter, by IPv4. */
const BASE: readonly MatrixCase[] = [
  ...VSFTPD,
  ...PROFTPD,
  ...PUREFTPD,
  ...PYFTPDLIB,
  ...GLOBUS,
  ...IPERF3,
  ...IPERF2,
  ...NUTTCP,
  ...TFTP,
  ...UFTP,
  ...BARESIP,
  ...XROOTD,
  ...OWN,
  ...RCLONE,
  ...ACTIVE_CLIENTS,
];

/** Cases that are played in another network as well, one for each kind of program. */
const ELSEWHERE: readonly string[] = [
  "vsftpd-passive",
  "pyftpdlib-multiplexed-epoll",
  "pyftpdlib-multiplexed-epoll-tls",
  "iperf3-udp",
  "tftp-hpa-client",
  "curl-active",
];

const PYFTPDLIB_IPV6 = {
  pinholes: 2,
  note: "the server binds a port for an instant, to see of which family its own address is",
};

/** What the other networks are, for people. */
const NETWORKS = { ipv6: "IPv6", router: "perimeter on the router" } as const;

function elsewhere(network: keyof typeof NETWORKS): MatrixCase[] {
  return BASE.filter(({ name }) => ELSEWHERE.includes(name)).map((c) => ({
    ...c,
    network,
    ...(network === "ipv6" && c.program === "pyftpdlib" ? PYFTPDLIB_IPV6 : {}),
    name: `${network}-${c.name}`,
    mode: `${c.mode}, ${NETWORKS[network]}`,
  }));
}

/** All cases. */
export const CASES: readonly MatrixCase[] = [
  ...BASE,
  ...elsewhere("ipv6"),
  ...elsewhere("router"),
];
