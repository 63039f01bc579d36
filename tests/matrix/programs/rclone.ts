/**
 * rclone, written in Go, whose system calls no library sees: by `diaper run --trace seccomp`. It serves by
 * HTTP what it reads from an outside host by FTP, and its port opens for that host alone.
 *
 * @module
 */
import type { MatrixCase } from "../case.ts";
import { command, fetched } from "./common.ts";
import { vsftpdSite } from "./vsftpd.ts";

const FTP = 21;
const HTTP = 8001;

/** The cases. */
export const RCLONE: readonly MatrixCase[] = [{
  name: "rclone-seccomp",
  program: "rclone",
  mode: "Go, --trace seccomp",
  package: "rclone",
  model: "one process, Go's scheduler",
  inside: "client",
  run: ["--trace", "seccomp"],
  open: [],
  pinholes: 1,
  needed: true,
  files: ["/usr/bin/rclone", "/usr/sbin/vsftpd", "/usr/bin/curl"],
  prepare: async (field) => {
    const { config, data } = await vsftpdSite(field, "vsftpd", {}, false);
    const password = (await field.inside.must("rclone", ["obscure", "lab"])).trim();
    const local = (host: number) => field.path(`got-${host}`);
    return {
      listen: () => command("vsftpd", config),
      ready: () => ({ protocol: "tcp", port: FTP }),
      session: (i) =>
        command("rclone", ...[
          ...["serve", "http", "--config", "", "--addr", `${field.address}:${HTTP + i}`],
          `:ftp,host=${field.source(i)},user=anonymous,pass=${password}:`,
        ]),
      use: (i) =>
        command("curl", ...[
          ...["--silent", "--show-error", "--fail", "--output", local(i)],
          ...[
            "--connect-timeout",
            "1",
            "--retry",
            "50",
            "--retry-all-errors",
            "--retry-delay",
            "1",
          ],
          `http://${field.address}:${HTTP + i}/data`,
        ]),
      verify: fetched(local, data),
    };
  },
}];
