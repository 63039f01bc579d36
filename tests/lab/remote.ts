/**
 * A controller at the lab's perimeter and brokers on inside hosts, over the controller's own SSH server or
 * over a stock sshd with `diaper gate`.
 *
 * @module
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { newKeyPair, publicKeyOf } from "../../lib/sys/ssh.ts";
import { authorizedKeyLine } from "../../lib/controller/authorized_keys.ts";
import { knownControllerLine } from "../../lib/broker/known_controllers.ts";
import { DIAPER_BINARY, diaperDirectory, DiaperHost } from "./diaper.ts";
import type { Host } from "./host.ts";
import type { Lab } from "./lab.ts";
import type { LabProcess } from "./process.ts";

/** Which SSH server brokers come to. */
export type SshKind = "embedded" | "sshd";

/** The controller that is wanted. */
export interface ControllerSpec {
  readonly server: SshKind;
  /** Rules of the site policy, one a line. */
  readonly policy: readonly string[];
  /** Ports that are always open; those of FTP without it. */
  readonly openPorts?: readonly string[];
  /** Remote delegates; each gets a key. */
  readonly delegates: readonly string[];
  /** nftables at the lab's perimeter by default. */
  readonly enforcer?: string;
  /** More settings of the section `controller`, as lines of YAML. */
  readonly controller?: readonly string[];
  /** More settings of the section `perimeter`; not without outside interfaces. */
  readonly perimeter?: readonly string[];
  /** When there are several controllers on a host: a name, a port, whose keys it takes, its first word. */
  readonly name?: string;
  readonly port?: number;
  readonly like?: RemoteSite;
  readonly ready?: RegExp;
  /** More lines of the configuration. */
  readonly settings?: readonly string[];
  /** The program; the built binary without it. */
  readonly command?: string;
}

/** Where the SSH server listens. */
export const SSH_PORT = 7422;

const GATE_ACCOUNT = "nobody";

/** True when there is a stock sshd. */
export const hasSshd: boolean = existsSync("/usr/sbin/sshd");

/** A controller, what leads to it, and the keys that it knows. */
export class RemoteSite {
  readonly controller: DiaperHost;
  readonly lab: Lab;
  readonly port: number;
  /** Its host key, as base64. */
  readonly hostKey: string;
  /** The sshd, when there is one. */
  readonly sshd: LabProcess | undefined;
  readonly #keys: ReadonlyMap<string, string>;
  /** The account that brokers come as. */
  readonly user: string;

  private constructor(
    lab: Lab,
    controller: DiaperHost,
    hostKey: string,
    keys: ReadonlyMap<string, string>,
    sshd: LabProcess | undefined,
    port: number,
  ) {
    this.port = port;
    this.lab = lab;
    this.controller = controller;
    this.hostKey = hostKey;
    this.#keys = keys;
    this.sshd = sshd;
    this.user = sshd === undefined ? "diaper" : GATE_ACCOUNT;
  }

  /** Starts a controller on a host, by default on the lab's perimeter between its two sides. */
  static async start(
    lab: Lab,
    spec: ControllerSpec,
    outside: readonly string[],
    host: Host = lab.perimeter,
  ): Promise<RemoteSite> {
    const base = diaperDirectory(lab, host, spec.name);
    const port = spec.port ?? SSH_PORT;
    const hostKey = newKeyPair("controller");
    const path = `${base}/host_key`;
    writeFileSync(path, hostKey.privateKey, { mode: 0o600 });
    const keys = new Map<string, string>();
    const lines: string[] = [];
    for (const delegate of spec.delegates) {
      const privateKey = spec.like?.key(delegate) ?? newKeyPair(delegate).privateKey;
      keys.set(delegate, privateKey);
      lines.push(authorizedKeyLine(delegate, publicKeyOf(privateKey), gateCommand(base), []));
    }
    const authorized = `${base}/authorized_keys`;
    writeFileSync(authorized, lines.join("\n") + "\n", { mode: 0o644 });
    writeFileSync(`${base}/site.policy`, spec.policy.map((rule) => rule + "\n").join(""));
    const controller = await DiaperHost.role(
      lab,
      host,
      ["controller", "--enforcer", spec.enforcer ?? "nftables"],
      [
        ...(outside.length === 0 ? [] : [
          "perimeter:",
          "  hooks: [forward]",
          `  outside: [${outside.join(", ")}]`,
          `  open_ports: [${(spec.openPorts ?? ["tcp/21", "tcp/2121"]).join(", ")}]`,
          ...(spec.perimeter ?? []).map((line) => `  ${line}`),
        ]),
        "controller:",
        spec.server === "embedded"
          ? `  listen: ["${host.address(4)}:${port}"]`
          : `  gate_account: ${GATE_ACCOUNT}`,
        `  host_key: ${path}`,
        `  authorized_keys: ${authorized}`,
        ...(spec.controller ?? []).map((line) => `  ${line}`),
        ...(spec.settings ?? []),
      ],
      spec.command,
      {
        ...(spec.name === undefined ? {} : { name: spec.name }),
        ...(spec.ready === undefined ? {} : { ready: spec.ready }),
      },
    );
    const sshd = spec.server === "embedded" ? undefined : await startSshd(host, base, authorized);
    return new RemoteSite(lab, controller, hostKey.publicKey, keys, sshd, port);
  }

  /** Where it is, as in `remote.controllers`. */
  get address(): string {
    return `${this.controller.host.address(4)}:${this.port}`;
  }

  /** The private key of a delegate. */
  key(delegate: string): string {
    const key = this.#keys.get(delegate);
    if (key === undefined) throw new Error(`The site has no delegate ${delegate}`);
    return key;
  }

  /**
   * Starts a broker on a host and waits until it is connected.
   *
   * @param others more controllers that it knows.
   */
  async broker(
    host: Host,
    delegate: string,
    settings: readonly string[] = [],
    others: readonly RemoteSite[] = [],
  ): Promise<DiaperHost> {
    const base = diaperDirectory(this.lab, host);
    const sites = [this, ...others];
    mkdirSync(`${base}/keys`, { mode: 0o700, recursive: true });
    writeFileSync(`${base}/keys/${delegate}`, this.key(delegate), { mode: 0o600 });
    writeFileSync(
      `${base}/known_controllers`,
      sites.map((s) =>
        knownControllerLine({ host: s.controller.host.address(4), port: s.port }, s.hostKey) +
        "\n"
      ).join(""),
    );
    const broker = await DiaperHost.role(this.lab, host, ["agent-broker"], [
      "remote:",
      `  controllers: [${sites.map((s) => `"${s.address}"`).join(", ")}]`,
      `  user: ${this.user}`,
      `  delegate: ${delegate}`,
      `  keys: ${base}/keys`,
      `  known_controllers: ${base}/known_controllers`,
      ...settings,
    ]);
    await broker.waitForEvent((e) => e.event_type === "controller.connected", 20_000);
    return broker;
  }

  /** Arguments of the OpenSSH client for a delegate. */
  sshArguments(delegate: string): string[] {
    const base = this.lab.path(`ssh-${delegate}`);
    mkdirSync(base, { recursive: true, mode: 0o700 });
    writeFileSync(`${base}/key`, this.key(delegate), { mode: 0o600 });
    writeFileSync(
      `${base}/known_hosts`,
      knownControllerLine(
        { host: this.controller.host.address(4), port: SSH_PORT },
        this.hostKey,
      ) + "\n",
    );
    return [
      ...["-F", "none", "-i", `${base}/key`, "-p", String(SSH_PORT), "-T"],
      ...["-o", "BatchMode=yes", "-o", `UserKnownHostsFile=${base}/known_hosts`],
      ...["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5"],
      `${this.user}@${this.controller.host.address(4)}`,
    ];
  }
}

/** How sshd finds diaper: `--config` comes with the command, since sshd clears the environment. */
function gateCommand(base: string): string {
  const path = `${base}/diaper`;
  if (!existsSync(path)) {
    const script = `#!/bin/sh\nDIAPER_CONFIG=${base}/diaper.yaml exec ${DIAPER_BINARY} "$@"\n`;
    writeFileSync(path, script, { mode: 0o755 });
    chmodSync(path, 0o755);
  }
  return path;
}

/** A stock sshd, with a configuration that man pages recommend. */
async function startSshd(host: Host, base: string, authorized: string): Promise<LabProcess> {
  const config = `${base}/sshd_config`;
  writeFileSync(
    config,
    [
      `ListenAddress ${host.address(4)}`,
      `Port ${SSH_PORT}`,
      `HostKey ${base}/host_key`,
      "PidFile none",
      "UsePAM no",
      "PasswordAuthentication no",
      "KbdInteractiveAuthentication no",
      "PermitUserRC no",
      "StrictModes no",
      `AllowUsers ${GATE_ACCOUNT}`,
      `AuthorizedKeysFile ${authorized}`,
      `Subsystem diaper ${base}/diaper gate`,
      "",
    ].join("\n"),
  );
  mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  // The forced command is run by the account's shell; sshd alone sees an account that has one.
  const passwd = `${base}/passwd`;
  writeFileSync(
    passwd,
    readFileSync("/etc/passwd", "utf8").split("\n").map((line) =>
      line.startsWith(`${GATE_ACCOUNT}:`)
        ? [...line.split(":").slice(0, 5), "/", "/bin/sh"].join(":")
        : line
    ).join("\n"),
    { mode: 0o644 },
  );
  const sshd = host.spawn("unshare", [
    ...["--mount", "--propagation", "private", "sh", "-c"],
    `mount --bind ${passwd} /etc/passwd && exec /usr/sbin/sshd -D -e -f ${config}`,
  ]);
  await host.waitForListener("tcp", SSH_PORT);
  return sshd;
}
