/**
 * pyftpdlib: one process and thread for all clients, a thread a client, or a process a client; each by
 * three ways to wait.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { MatrixCase } from "../case.ts";
import { command, fetched } from "./common.ts";
import { curl, lftp } from "./ftp.ts";

const PROGRAM = fileURLToPath(new URL("../../programs/ftp_server.py", import.meta.url));
const LIBRARY = "/usr/lib/python3/dist-packages/pyftpdlib/__init__.py";
const PORT = 21;
const MODELS = ["multiplexed", "threaded", "multiprocess"] as const;
const POLLERS = ["epoll", "poll", "select"] as const;

function pyftpdlib(
  model: typeof MODELS[number],
  poller: typeof POLLERS[number],
  tls: boolean,
): MatrixCase {
  return {
    name: `pyftpdlib-${model}-${poller}${tls ? "-tls" : ""}`,
    program: "pyftpdlib",
    package: "python3-pyftpdlib",
    mode: `passive${tls ? ", TLS" : ""}`,
    model: `${model}, ${poller}`,
    inside: "server",
    open: [`tcp/${PORT}`],
    pinholes: 1,
    needed: true,
    files: [LIBRARY, "/usr/bin/python3", "/usr/bin/curl", "/usr/bin/lftp"],
    prepare: async (field) => {
      const root = field.directory("root");
      const data = field.random("root/data", field.bytes);
      const { certificate, key } = await field.certificate();
      const local = (host: number) => field.path(`got-${host}`);
      return {
        listen: () =>
          command(
            "/usr/bin/python3",
            ...[PROGRAM, field.address, String(PORT), root, model, poller],
            ...(tls ? [certificate, key] : []),
          ),
        ready: () => ({ protocol: "tcp", port: PORT }),
        session: (host) => {
          const transfer = { server: field.address, port: PORT, remote: "data" };
          // curl 7.88 and this server do not agree on TLS sessions, without the agent as well.
          return tls
            ? lftp({ ...transfer, local: local(host), certificate })
            : curl({ ...transfer, local: local(host) });
        },
        verify: fetched(local, data),
      };
    },
  };
}

/** The cases. */
export const PYFTPDLIB: readonly MatrixCase[] = MODELS.flatMap((model) =>
  POLLERS.flatMap((poller) => [
    pyftpdlib(model, poller, true),
    ...(model === "multiplexed" ? [pyftpdlib(model, poller, false)] : []),
  ])
);
