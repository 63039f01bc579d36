/**
 * Real programs: vsftpd with TLS under the agent, whose sessions live in a jail, and clients in
 * active mode under the agent, which wait for the server to come to them.
 */
import assert from "node:assert/strict";
import {
  Broker,
  type BrokerEvent,
  type Build,
  execute,
  inNamespace,
  underAgent,
  withBuild,
} from "./support.ts";

const PROGRAMS = [
  "/usr/sbin/vsftpd",
  "/usr/bin/curl",
  "/usr/bin/lftp",
  "/usr/bin/openssl",
  "/usr/bin/ss",
];
const HAS_PROGRAMS = PROGRAMS.every((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
});

const NOBODY = 65534;

async function configure(directory: string, force: "YES" | "NO"): Promise<string> {
  const certificate = `${directory}/certificate.pem`;
  const made = await execute("openssl", [
    ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=host"],
    ...["-keyout", `${directory}/key.pem`, "-out", certificate],
  ]);
  assert.equal(made.code, 0, made.stderr);
  await Deno.mkdir(`${directory}/empty`);
  await Deno.mkdir(`${directory}/files`);
  const content = new Uint8Array(300_000);
  for (let i = 0; i < content.length; i++) content[i] = i * 7919 % 251;
  await Deno.writeFile(`${directory}/files/data`, content);
  const configuration = `${directory}/vsftpd.conf`;
  await Deno.writeTextFile(
    configuration,
    [
      "listen=YES",
      "background=NO",
      "listen_port=2121",
      "anonymous_enable=YES",
      "no_anon_password=YES",
      `anon_root=${directory}/files`,
      "ssl_enable=YES",
      "allow_anon_ssl=YES",
      `force_anon_data_ssl=${force}`,
      `force_anon_logins_ssl=${force}`,
      "require_ssl_reuse=NO",
      `rsa_cert_file=${certificate}`,
      `rsa_private_key_file=${directory}/key.pem`,
      "pasv_min_port=40000",
      "pasv_max_port=40100",
      `secure_chroot_dir=${directory}/empty`,
      "",
    ].join("\n"),
  );
  return configuration;
}

/** Starts the server $SERVER, waits until it listens, runs the rest, ends the server. */
function script(use: string): string {
  return `
$SERVER &
server=$!
until [ -n "$(ss -Hltn sport = :2121)" ]; do kill -0 $server; done
${use}
kill $server
wait $server || true
`;
}

/** Runs a script in a namespace; $WATCHED before a program there puts it under the agent. */
async function play(
  build: Build,
  settings: { server: "watched" | "plain"; force: "YES" | "NO"; use: string },
): Promise<BrokerEvent[]> {
  const directory = `${build.directory}/${crypto.randomUUID()}`;
  await Deno.mkdir(directory);
  const configuration = await configure(directory, settings.force);
  const broker = await Broker.start(build);
  try {
    const watched = underAgent(build, broker.path).join(" ");
    const { command, args } = inNamespace([
      "env",
      `SERVER=${settings.server === "watched" ? watched : ""} vsftpd ${configuration}`,
      `WATCHED=${watched}`,
      `DATA=${directory}/files/data`,
      ...["sh", "-euc", script(settings.use)],
    ]);
    const { code, stdout, stderr } = await execute(command, args);
    assert.equal(code, 0, stdout + stderr);
  } finally {
    await broker.stop();
  }
  assert.ok(broker.events.every(({ event }) => event !== "error"));
  return broker.events;
}

Deno.test({
  name: "vsftpd with TLS asks from its jail, for the right host and port (needs root)",
  ignore: Deno.uid() !== 0 || !HAS_PROGRAMS,
  fn: () =>
    withBuild(async (build) => {
      const events = await play(build, {
        server: "watched",
        force: "YES",
        use: `for host in 2 3 4; do
          curl -sS -k --ssl-reqd --interface 10.77.0.$host ftp://10.77.0.1:2121/data | cmp - $DATA
        done`,
      });
      const opens = events.filter(({ event }) => event === "open");
      assert.deepEqual(opens.map(({ source }) => source), ["10.77.0.2", "10.77.0.3", "10.77.0.4"]);
      const server = events.find(({ by }) => by === "connect");
      assert.equal(server?.uid, 0);
      for (const open of opens) {
        assert.equal(open.uid, NOBODY);
        assert.equal(open.pid, open.channel_pid);
        assert.notEqual(open.pid, server?.pid);
        assert.equal(open.local, "10.77.0.1");
        assert.ok(open.port !== undefined && open.port >= 40000 && open.port <= 40100);
        assert.equal(open.control, "10.77.0.1");
        assert.equal(open.control_port, 2121);
      }
      assert.equal(new Set(opens.map(({ pid }) => pid)).size, 3);
    }),
});

Deno.test({
  name: "clients in active mode ask for the server they are connected to (needs root)",
  ignore: Deno.uid() !== 0 || !HAS_PROGRAMS,
  fn: () =>
    withBuild(async (build) => {
      const lftp = [
        "set ssl:verify-certificate no",
        "set ftp:ssl-force yes",
        "set ftp:ssl-protect-data yes",
        "set ftp:passive-mode off",
        "set net:socket-bind-ipv4 10.77.0.1",
        "cat data",
      ].join("; ");
      const events = await play(build, {
        server: "plain",
        force: "NO",
        // lftp listens without bind; curl 7.88 has no active mode with TLS that works.
        use: `
          $WATCHED lftp -c "open -u ftp,x ftp://10.77.0.5:2121; ${lftp}" | cmp - $DATA
          $WATCHED curl -sS --interface 10.77.0.1 -P 10.77.0.1 ftp://10.77.0.5:2121/data | cmp - $DATA
        `,
      });
      const opens = events.filter(({ event }) => event === "open");
      assert.deepEqual(opens.map(({ source }) => source), ["10.77.0.5", "10.77.0.5"]);
      for (const open of opens) {
        assert.equal(open.pid, open.channel_pid);
        assert.equal(open.local, "10.77.0.1");
        assert.equal(open.control, "10.77.0.1");
      }
    }),
});
