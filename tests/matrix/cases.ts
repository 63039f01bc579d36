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

/** All cases. */
export const CASES: readonly MatrixCase[] = [
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
