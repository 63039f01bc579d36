/**
 * What holds between brokers and controllers when something breaks.
 */
import assert from "node:assert/strict";
import { startLoad } from "../lab/bind_load.ts";
import type { DiaperHost } from "../lab/diaper.ts";
import { Lab, labPossible } from "../lab/lab.ts";
import { RemoteSite } from "../lab/remote.ts";
import { newKeyPair } from "../../lib/sys/ssh.ts";

const SOURCE = "198.51.100.7";
const INSIDE = "192.0.2.1";

interface Bench {
  readonly lab: Lab;
  readonly site: RemoteSite;
  readonly broker: DiaperHost;
}

async function bench(
  work: (b: Bench) => Promise<void>,
  settings: { controller?: readonly string[]; perimeter?: readonly string[] } = {},
): Promise<void> {
  await using lab = await Lab.create({
    outside: [{ name: "out", addresses: [SOURCE] }],
    inside: [{ name: "in", addresses: [INSIDE] }],
  });
  const site = await RemoteSite.start(lab, {
    server: "embedded",
    policy: [`allow host1 root tcp ${SOURCE} * ${INSIDE} 1024-65535`],
    delegates: ["host1"],
    ...settings,
  }, ["out"]);
  const broker = await site.broker(lab.host("in"), "host1");
  await work({ lab, site, broker });
}

const opened = (d: DiaperHost) => d.events().filter((e) => e.event_type === "pinhole.opened");
const closed = (d: DiaperHost) => d.events().filter((e) => e.event_type === "pinhole.closed");

async function connectedAgain(broker: DiaperHost, times: number): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    const n = broker.events().filter((e) => e.event_type === "controller.connected").length;
    if (n >= times) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("the broker has not connected again");
}

Deno.test({
  name:
    "remote breaks: a controller killed with kill -9 is started anew; nothing is opened twice, " +
    "and what ended meanwhile is closed (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async ({ lab, site, broker }) => {
      const { controller } = site;
      const [out, inside] = [lab.host("out"), lab.host("in")];
      const stays = await startLoad(lab, out, inside, broker, "hold", 20);
      const first = await controller.waitForEvent((e) =>
        e["id"] === 20 && e.event_type === "pinhole.opened"
      );
      const program = (await controller.pinholes())[0]?.["pid"];
      assert.ok(program !== undefined && first !== undefined);
      await controller.stop("SIGKILL");
      assert.equal((await controller.kernelPinholes()).length, 20, "the perimeter stays");
      await stays.stop("SIGKILL"); // ends while nobody can be told
      await controller.restart();
      await connectedAgain(broker, 2);
      for (let i = 1; i <= 20; i++) {
        await controller.waitForEvent((e) => e.event_type === "pinhole.closed" && e["id"] === i);
      }
      assert.deepEqual(await controller.kernelPinholes(), []);
      assert.deepEqual(await broker.pinholes(), []);
      const again = await startLoad(lab, out, inside, broker, "hold", 3);
      await controller.waitForEvent((e) => e.event_type === "pinhole.opened" && e["id"] === 23);
      assert.equal(opened(controller).length, 23);
      await again.stop("SIGKILL");
    }),
});

Deno.test({
  name:
    "remote breaks: a broker killed with kill -9 and started anew takes up what lives and closes " +
    "the rest (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async ({ lab, site, broker }) => {
      const { controller } = site;
      const [out, inside] = [lab.host("out"), lab.host("in")];
      const stays = await startLoad(lab, out, inside, broker, "hold", 4);
      await controller.waitForEvent((e) => e["id"] === 4 && e.event_type === "pinhole.opened");
      const [pid] = (await controller.pinholes()).map((p) => Number(p["pid"]));
      await broker.stop("SIGKILL");
      Deno.kill(pid as number, "SIGKILL"); // one of the four ends while there is no broker
      await broker.restart();
      await controller.waitForEvent((e) => e.event_type === "pinhole.closed");
      assert.equal(closed(controller).length, 1);
      assert.equal((await controller.kernelPinholes()).length, 3);
      assert.equal((await broker.pinholes()).length, 3);
      await stays.stop("SIGKILL");
      for (let i = 1; i <= 4; i++) {
        await controller.waitForEvent((e) => e.event_type === "pinhole.closed" && e["id"] === i);
      }
      assert.deepEqual(await controller.kernelPinholes(), []);
    }),
});

Deno.test({
  name:
    "remote breaks: the pinholes of a broker that is gone for good end with its lease (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async ({ lab, site, broker }) => {
      const { controller } = site;
      await startLoad(lab, lab.host("out"), lab.host("in"), broker, "hold", 2);
      await controller.waitForEvent((e) => e["id"] === 2 && e.event_type === "pinhole.opened");
      await broker.stop("SIGKILL");
      for (let i = 1; i <= 2; i++) {
        const end = await controller.waitForEvent((e) =>
          e.event_type === "pinhole.closed" && e["id"] === i
        );
        assert.equal(end["reason"], "broker-lost");
      }
      assert.deepEqual(await controller.kernelPinholes(), []);
    }, { controller: ["lease: 2s"] }),
});

Deno.test({
  name:
    "remote breaks: requests over the capacity wait in line and go on when there is room (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async ({ lab, site, broker }) => {
      const { controller } = site;
      const load = await startLoad(lab, lab.host("out"), lab.host("in"), broker, "hold", 5);
      const waits = await broker.waitForEvent((e) => e.event_type === "pinhole.waiting");
      assert.ok([1, 2].includes(Number(waits["position"])), "it is told its place");
      assert.equal((await controller.kernelPinholes()).length, 3, "no more than there is room for");
      assert.equal((await controller.verb("pinhole close", "1")).code, 0);
      // Whoever came first goes on first.
      await controller.waitForEvent((e) => e["id"] === 4 && e.event_type === "pinhole.opened");
      const late = await controller.waitForEvent((e) => e["id"] === 5 && "why" in e, 30_000);
      assert.equal(late.event_type, "pinhole.failed");
      assert.match(
        String(late["why"]),
        /full: 3 pinholes; waited 10 s in line, in the end as number 1/,
      );
      assert.equal((await controller.kernelPinholes()).length, 3);
      await load.stop("SIGKILL");
    }, { perimeter: ["capacity: 3", "wait: 10s"] }),
});

Deno.test({
  name: "remote breaks: another host key than the pinned one gets no request (needs root)",
  ignore: !labPossible,
  fn: () =>
    bench(async ({ site, broker }) => {
      const { controller } = site;
      const base = controller.config.replace(/[^/]*$/, "");
      await controller.stop();
      Deno.writeTextFileSync(`${base}host_key`, newKeyPair("another").privateKey);
      await controller.restart();
      await broker.daemon.waitForLine(/not the one that was pinned/);
      const status = await broker.verb("status", "--json");
      assert.equal(status.code, 1);
      assert.match(status.stdout, /"controller":null/);
      assert.deepEqual(opened(controller), []);
    }),
});

Deno.test({
  name: "remote breaks: monitoring and syslog see what happens, on loopback alone (needs root)",
  ignore: !labPossible,
  fn: async () => {
    await using lab = await Lab.create({
      outside: [{ name: "out", addresses: [SOURCE] }],
      inside: [{ name: "in", addresses: [INSIDE] }],
    });
    const log = lab.path("syslog");
    const reader = lab.perimeter.spawn("python3", [
      "-uc",
      "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ns.bind(sys.argv[1])\n" +
      "print('ready')\nwhile True: print(s.recv(65536).decode())",
      log,
    ]);
    await reader.waitForLine(/^ready$/);
    const site = await RemoteSite.start(lab, {
      server: "embedded",
      policy: [`allow host1 root tcp ${SOURCE} * ${INSIDE} 1024-65535`],
      delegates: ["host1"],
      settings: [`syslog: ${log}`],
    }, ["out"]);
    const broker = await site.broker(lab.host("in"), "host1");
    const load = await startLoad(lab, lab.host("out"), lab.host("in"), broker, "hold", 2);
    await reader.waitForLine(/^<86>1 \S+Z \S+ diaper \d+ pinhole\.opened - \{.*"id":2,/);
    const get = async (host: string, path: string) =>
      (await lab.host(host).run("curl", ["-sS", "-m", "5", `http://127.0.0.1:9722${path}`])).stdout;
    assert.match(await get("perimeter", "/metrics"), /^diaper_pinholes\{state="open"\} 2$/m);
    assert.match(await get("perimeter", "/metrics"), /^diaper_brokers 1$/m);
    assert.equal(await get("perimeter", "/healthz"), "ok\n");
    assert.match(
      await get("in", "/metrics"),
      /^diaper_controller_connected\{delegate="host1"\} 1$/m,
    );
    await site.controller.stop();
    await broker.waitForEvent((e) => e.event_type === "controller.lost");
    assert.match(await get("in", "/healthz"), /nothing can be opened in the name of host1/);
    await load.stop("SIGKILL");
  },
});
