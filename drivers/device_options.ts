/**
 * How a network device is configured, and how its driver reaches it: address, pinned host key, secrets from
 * files, names of the ACLs.
 *
 * @module
 */
import { z } from "zod";
import type { DeviceAccess, DeviceConnection } from "./device_link.ts";
import { type Dialect, readDialect } from "./dialect.ts";
import { EnforcerError } from "./enforcer.ts";
import { openSsh, type SshConnection } from "./transport/ssh.ts";

const file = z.string().regex(/^\/[^\0]*$/, { error: "expected an absolute path" });

const aclName = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,60}$|^[0-9]{3,4}$/, {
  error: "expected a name of letters, digits, - and _",
});

const schema = z.strictObject({
  host: z.string().min(1).max(255).regex(/^[A-Za-z0-9.:_-]+$/, { error: "expected a host" }),
  port: z.int().min(1).max(65535).optional(),
  user: z.string().min(1).max(64),
  password_file: file.optional(),
  /** An OpenSSH or PEM private key without passphrase. */
  key_file: file.optional(),
  enable_password_file: file.optional(),
  /** `SHA256:…` or `ssh-ed25519 AAAA…`; several while a key changes. */
  host_key: z.union([z.string(), z.array(z.string()).min(1)]).transform((k) => [k].flat())
    .refine(
      (keys) => keys.every((k) => /^(SHA256:[A-Za-z0-9+/]{43}|(ssh|ecdsa)-\S+ \S+.*)$/.test(k)),
      {
        error: "expected SHA256:… as ssh-keygen -lf prints it, or a public key",
      },
    ),
  old_algorithms: z.boolean().default(false),
  acl: aclName.default("DIAPER"),
  acl6: aclName.default("DIAPER6"),
  /** The interface that the ACL is applied to, where its counters are asked for by interface. */
  interface: z.string().max(64).regex(/^[A-Za-z0-9 ./:_-]+$/).optional(),
  capacity: z.int().min(1).max(1_000_000).optional(),
  optimal_batch: z.int().min(1).max(100_000).optional(),
  /** Longest time of one operation, in seconds. */
  timeout: z.number().min(0.1).max(3600).default(60),
  connect_timeout: z.number().min(0.1).max(600).default(10),
  /** Directory for transcripts of all sessions, without secrets. */
  transcripts: file.optional(),
  /** Which IronWare it is. */
  variant: z.enum(["netiron", "fastiron"]).default("netiron"),
  /** A dialect of one's own. */
  dialect: file.optional(),
  junos: z.strictObject({
    transport: z.enum(["netconf", "cli"]).default("netconf"),
    candidate: z.enum(["private", "exclusive"]).default("private"),
    /** Name of an ephemeral instance, to use instead of the candidate. */
    ephemeral: aclName.optional(),
    /** Minutes after which the device undoes a commit that was not confirmed; 0: commits at once. */
    confirm: z.int().min(0).max(60).default(0),
  }).prefault({}),
});

/** A checked device configuration. */
export type DeviceConfig = z.output<typeof schema>;

/** The keys of the section `enforcer` of a configuration, for a device. */
export const deviceSchema: z.ZodType<DeviceConfig> = schema;

/** Secrets that log in. */
export interface DeviceSecrets {
  readonly password?: string | undefined;
  readonly privateKey?: string | undefined;
  readonly enable?: string | undefined;
}

/**
 * Reads the secrets of a device from their files.
 *
 * @throws {EnforcerError} when a file cannot be read, or others than its owner can.
 */
export function readSecrets(config: DeviceConfig): DeviceSecrets {
  return {
    password: readSecret(config.password_file)?.replace(/\r?\n$/, ""),
    privateKey: readSecret(config.key_file),
    enable: readSecret(config.enable_password_file)?.replace(/\r?\n$/, ""),
  };
}

function readSecret(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    const { mode } = Deno.statSync(path);
    if (mode !== null && (mode & 0o077) !== 0) {
      throw new EnforcerError(`${path} can be read by others than its owner`, `chmod 600 ${path}`);
    }
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof EnforcerError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new EnforcerError(`Cannot read the secret ${path}: ${why}`, "check path and owner");
  }
}

/** Opens a stream on a connection: a shell, or a subsystem. */
export type OpenStream = (connection: SshConnection) => Promise<DeviceConnection["stream"]>;

/**
 * How a configured device is reached.
 *
 * @param defaultPort when the configuration says none.
 * @param start what is opened on the connection.
 */
export function accessTo(
  config: DeviceConfig,
  secrets: DeviceSecrets,
  driver: string,
  defaultPort: number,
  start: OpenStream,
): DeviceAccess {
  if (secrets.password === undefined && secrets.privateKey === undefined) {
    throw new EnforcerError(
      `There is nothing to log in to ${config.host} with`,
      "set password_file or key_file",
    );
  }
  const port = config.port ?? defaultPort;
  return {
    name: `${driver} ${config.host}:${port}`,
    answers: { user: config.user, password: secrets.password, enable: secrets.enable },
    timeout: config.timeout,
    transcripts: config.transcripts,
    open: async () => {
      const connection = await openSsh({
        host: config.host,
        port,
        user: config.user,
        hostKeys: config.host_key,
        password: secrets.password,
        privateKey: secrets.privateKey,
        oldAlgorithms: config.old_algorithms,
        connectTimeout: config.connect_timeout,
      });
      try {
        return { stream: await start(connection), close: () => connection.close() };
      } catch (error) {
        await connection.close();
        throw error;
      }
    },
  };
}

/** The dialect to use: the built-in one, or the configuration's own. */
export function dialectFor(config: DeviceConfig, builtIn: string, name: string): Dialect {
  if (config.dialect === undefined) return readDialect(builtIn, `${name}.yaml`);
  try {
    return readDialect(Deno.readTextFileSync(config.dialect), config.dialect);
  } catch (error) {
    if (error instanceof EnforcerError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new EnforcerError(`Cannot read the dialect ${config.dialect}: ${why}`, "check the path");
  }
}
