/** A worm and a browser behind one NI, with a real name server and a real web server. */
import assert from "node:assert/strict";
import { labPossible } from "../lab/lab.ts";
import { NiLab } from "./inline_lab.ts";

Deno.test({
  name: `ni inline: a worm is slowed to one connection in six seconds, a browser is not${
    labPossible ? "" : " (skipped: labs need root)"
  }`,
  ignore: !labPossible,
  fn: async () => {
    await using lab = await NiLab.create();
    // Web sites and victims: every address there answers.
    await lab.net.must("ip", ["addr", "add", "198.18.0.1/16", "dev", "lo"]);
    await lab.host.must("ip", ["route", "add", "198.18.0.0/16", "via", lab.netAddress]);
    const sites = Array.from(
      { length: 20 },
      (_, i) => `--host-record=www${i}.example,198.18.1.${i}`,
    );
    const names = lab.net.spawn("dnsmasq", [
      ...["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"],
      ...["--log-facility=-", "--user=root", "--pid-file="],
      ...["--listen-address", lab.netAddress, "--bind-interfaces", ...sites],
    ]);
    await names.waitForLine(/started, version/);
    const nginx = lab.lab.path("nginx.conf");
    await Deno.writeTextFile(nginx, NGINX.replaceAll("DIRECTORY", lab.lab.directory));
    const web = lab.net.spawn("nginx", ["-c", nginx, "-e", "stderr"]);
    await lab.net.must("python3", ["-c", LISTENS]);
    const ni = await lab.startWith(
      `host_networks: [${lab.hostAddress}]\nscanners: {codered: {on_failure: closed}}\n`,
    );
    await lab.host.must("python3", ["-c", BROWSER, lab.netAddress, "1"]); // the scanner is there
    const worm = lab.host.spawn("python3", ["-u", "-c", WORM]);
    const [alert] = await ni.waitForLine(/^\{.*"event_type":"alert".*/);
    const event = JSON.parse(alert);
    const [, third = ""] = await worm.waitForLine(/third ([0-9.]+)/);
    assert.deepEqual([event.scanner, event.src_ip], ["codered", lab.hostAddress]);
    // Within a second of the third random connection, which is the first too many.
    const after = Date.parse(event.timestamp) / 1000 - Number(third);
    assert.ok(after > -0.1 && after < 1, `${after} s after the third connection`);
    const browser = await lab.host.must("python3", ["-c", BROWSER, lab.netAddress, "100"]);
    assert.equal(browser.trim(), "100 of 100 pages");
    // Two before it was a problem, one six seconds after that.
    const [, answered] = await worm.waitForLine(/answered (\d+) of \d+/, 20_000);
    assert.equal(answered, "3");
    assert.ok(web.running, web.output().join("\n"));
  },
});

const NGINX = `
daemon off;
master_process off;
pid DIRECTORY/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path DIRECTORY/nginx-body;
  proxy_temp_path DIRECTORY/nginx-proxy;
  fastcgi_temp_path DIRECTORY/nginx-fastcgi;
  uwsgi_temp_path DIRECTORY/nginx-uwsgi;
  scgi_temp_path DIRECTORY/nginx-scgi;
  server { listen 80; location / { return 200 "a page"; } }
}
`;

/** Waits until somebody listens at port 80. */
const LISTENS = `
import socket, time
for _ in range(500):
    try: socket.create_connection(("198.18.1.1", 80)).close(); break
    except ConnectionRefusedError: time.sleep(0.01)
else: raise SystemExit("nobody listens")
`;

/** Asks for names, and gets the page at each address. */
const BROWSER = `
import http.client, random, socket, struct, sys
def translate(name):
    query = struct.pack("!6H", random.randrange(65536), 0x100, 1, 0, 0, 0)
    query += b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\\0\\0\\1\\0\\1"
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
    s.sendto(query, (sys.argv[1], 53))
    return socket.inet_ntoa(s.recv(512)[-4:])
pages = 0
for i in range(int(sys.argv[2])):
    c = http.client.HTTPConnection(translate("www%d.example" % (i % 20)), 80, timeout=5)
    c.request("GET", "/"); pages += c.getresponse().status == 200; c.close()
print(pages, "of", sys.argv[2], "pages")
`;

/** Twenty connections a second to addresses that nobody translated, for eight seconds; which were answered. */
const WORM = `
import socket, time
s = []
begun = time.time()
for i in range(1, 161):
    c = socket.socket(); c.setblocking(False)
    try: c.connect(("198.18.0.%d" % i, 80))
    except BlockingIOError: pass
    if i == 3: print("third", time.time())
    s.append(c); time.sleep(0.05)
time.sleep(max(0, begun + 9 - time.time()))
def answered(c):
    try: return c.getpeername() is not None
    except OSError: return False
print("answered", sum(map(answered, s)), "of", len(s))
`;
