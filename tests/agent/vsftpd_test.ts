/** The main path on the real server: vsftpd with TLS, whose sessions live in a jail. */
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

const HAS_PROGRAMS = ["/usr/sbin/vsftpd", "/usr/bin/curl", "/usr/bin/openssl"].every((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
});

const NOBODY = 65534;

async function configure(directory: string): Promise<string> {
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
      "force_anon_data_ssl=YES",
      "force_anon_logins_ssl=YES",
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

/** Starts the server, waits until it listens, then fetches from each of three hosts in turn. */
const SCRIPT = `
"$@" &
server=$!
until [ -n "$(ss -Hltn sport = :2121)" ]; do kill -0 $server; done
for host in 2 3 4; do
  curl -sS -k --ssl-reqd --interface 10.77.0.$host $MODE ftp://10.77.0.1:2121/data | cmp - $DATA
done
kill $server
wait $server || true
`;

async function fetchThrice(build: Build, mode: string): Promise<BrokerEvent[]> {
  const directory = `${build.directory}/${crypto.randomUUID()}`;
  await Deno.mkdir(directory);
  const configuration = await configure(directory);
  const broker = await Broker.start(build);
  try {
    const server = [...underAgent(build, broker.path), "vsftpd", configuration];
    const variables = [`MODE=${mode}`, `DATA=${directory}/files/data`];
    const { command, args } = inNamespace([
      ...["env", ...variables, "sh", "-euc", SCRIPT, "sh"],
      ...server,
    ]);
    const { code, stdout, stderr } = await execute(command, args);
    assert.equal(code, 0, stdout + stderr);
  } finally {
    await broker.stop();
  }
  return broker.events;
}

Deno.test({
  name: "vsftpd with TLS asks from its jail, for the right host and port (needs root)",
  ignore: Deno.uid() !== 0 || !HAS_PROGRAMS,
  fn: () =>
    withBuild(async (build) => {
      const events = await fetchThrice(build, "--ftp-pasv");
      const opens = events.filter(({ event }) => event === "open");
      assert.deepEqual(opens.map(({ source }) => source), ["10.77.0.2", "10.77.0.3", "10.77.0.4"]);
      const server = events.find(({ event, by }) => event === "channel" && by === "connect");
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
      assert.ok(events.every(({ event }) => event !== "error"));
    }),
});
