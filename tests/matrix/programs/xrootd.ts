/**
 * xrootd: many clients over one port; nothing is to be opened.
 *
 * @module
 */
import type { MatrixCase } from "../case.ts";
import { command, fetched } from "./common.ts";

const PORT = 1094;

/** The cases. */
export const XROOTD: readonly MatrixCase[] = [{
  name: "xrootd",
  program: "xrootd",
  mode: "file server",
  package: "xrootd-server",
  model: "threads, epoll",
  inside: "server",
  open: [`tcp/${PORT}`],
  pinholes: 0,
  needed: false,
  files: ["/usr/bin/xrootd", "/usr/bin/xrdcp"],
  prepare: (field) => {
    const root = field.directory("root");
    const data = field.random("root/data", field.bytes);
    const admin = field.directory("admin");
    Deno.chmodSync(admin, 0o777);
    const config = field.file(
      "xrootd.cfg",
      `all.export /\noss.localroot ${root}\nall.adminpath ${admin}\nall.pidpath ${admin}\n` +
        `xrd.port ${PORT}\nxrd.network nodnr\nxrd.protocol xrootd *\n`,
    );
    const local = (host: number) => field.path(`got-${host}`);
    return {
      listen: () => command("xrootd", "-R", "nobody", "-c", config, "-p", String(PORT)),
      ready: () => ({ protocol: "tcp", port: PORT }),
      session: (i) =>
        command("xrdcp", "--nopbar", "--force", `root://${field.address}:${PORT}//data`, local(i)),
      verify: fetched(local, data),
    };
  },
}];
