/** The wire itself: what an NI does when links come and go, with large frames, and without the kernel's part. */
import assert from "node:assert/strict";
import { labPossible } from "../lab/lab.ts";
import { NiLab } from "./inline_lab.ts";

function links(name: string, run: (lab: NiLab) => Promise<void>): void {
  Deno.test({
    name: `links: ${name}${labPossible ? "" : " (skipped: labs need root)"}`,
    ignore: !labPossible,
    fn: async () => {
      await using lab = await NiLab.create();
      await run(lab);
    },
  });
}

interface Port {
  readonly forwarded: { readonly frames: number };
  readonly unsent: Readonly<Record<string, number>>;
}

/** The counters of an NI that is running. */
async function status(
  ni: Awaited<ReturnType<NiLab["start"]>>,
): Promise<{ fast_path: boolean; ports: Port[] }> {
  ni.kill("SIGUSR2");
  const [line] = await ni.waitForLine(/^\{.*"ports".*/);
  return JSON.parse(line) as { fast_path: boolean; ports: Port[] };
}

const WAYS = [[], ["--user-space"], ["--forwarding", "packet"], ["--forwarding", "pcap"]];

for (const way of WAYS) {
  const words = way.length === 0 ? "the kernel's part" : way.join(" ");
  links(`a link is lost and comes back (${words})`, async (lab) => {
    const ni = await lab.start(...way);
    assert.equal((await lab.ping(2, "-i", "0.05", lab.netAddress)).answered, 2);
    for (const [far, port] of [[lab.host, "porth"], [lab.net, "portn"]] as const) {
      await far.must("ip", ["link", "set", "ni0", "down"]);
      await ni.waitForLine(new RegExp(`${port}: the link is lost`));
      await far.must("ip", ["link", "set", "ni0", "up"]);
      await ni.waitForLine(new RegExp(`${port}: the link is back`));
      // Also when somebody switches the NI's own port off and on.
      await lab.box.must("ip", ["link", "set", port, "down"]);
      await lab.box.must("ip", ["link", "set", port, "up"]);
      assert.equal((await lab.ping(3, "-i", "0.2", lab.netAddress)).answered, 3);
    }
    assert.equal((await ni.stop()).code, 0);
  });

  links(`frames of 9,000 bytes pass whole (${words})`, async (lab) => {
    for (
      const [end, name] of [[lab.host, "ni0"], [lab.net, "ni0"], [lab.box, "porth"], [
        lab.box,
        "portn",
      ]] as const
    ) {
      await end.must("ip", ["link", "set", name, "mtu", "9000"]);
      // Nothing larger, whatever the hosts would leave to an offload.
      await end.must("ethtool", ["-K", name, "tso", "off", "gso", "off", "gro", "off"]);
    }
    await lab.start(...way);
    const large = ["-i", "0.05", "-M", "do", "-s", "8972", lab.netAddress];
    assert.deepEqual(await lab.ping(5, ...large), { answered: 5, twice: 0 });
  });
}

links("without the kernel's part all goes through user space, once", async (lab) => {
  const ni = await lab.start(
    "--forwarding",
    "packet",
    "--on-exit",
    "open",
    "--prevent",
    "tcp port 445",
  );
  await ni.waitForLine(/fast path is switched off: every frame goes through user space.*kill -9/);
  assert.deepEqual(await lab.ping(2000, "-f", lab.netAddress), { answered: 2000, twice: 0 });
  assert.equal(await lab.host.tryConnect(lab.netAddress, 445, 600), "unanswered");
  assert.equal(await lab.host.tryConnect(lab.netAddress, 446, 600), "refused");
  const { fast_path, ports } = await status(ni);
  assert.equal(fast_path, false);
  assert.equal(ports[0]?.forwarded.frames, 0);
  assert.equal((await ni.stop()).code, 0);
  assert.equal((await lab.ping(1, lab.netAddress)).answered, 1); // on_exit, at an orderly end
});

links("the NI says nothing of its own on either wire", async (lab) => {
  const macs: string[] = [];
  for (const port of ["porth", "portn"]) {
    const text = await lab.box.must("ip", ["-j", "link", "show", port]);
    const [link] = JSON.parse(text) as { address: string }[];
    macs.push(link?.address ?? "");
  }
  // The lab's own interfaces have spoken before.
  const ni = await lab.start("--user-space");
  const listeners = [lab.host, lab.net].map((end) =>
    end.spawn("tcpdump", [
      ...["-n", "-l", "-i", "ni0", "--immediate-mode"],
      macs.map((mac) => `ether src ${mac}`).join(" or "),
    ])
  );
  for (const listener of listeners) await listener.waitForLine(/listening on/);
  // Interfaces that come up are where stacks speak: neighbours, routers, groups.
  for (const port of ["porth", "portn"]) {
    await lab.box.must("ip", ["link", "set", port, "down"]);
    await lab.box.must("ip", ["link", "set", port, "up"]);
  }
  for (const address of [lab.netAddress, "2001:db8:77::2", "ff02::1%ni0"]) {
    await lab.ping(3, "-i", "0.2", address);
  }
  // To an address of the NI's own host, which is not on this wire.
  await lab.host.must("ip", [
    "neigh",
    "replace",
    "192.0.2.2",
    "lladdr",
    macs[0] as string,
    "dev",
    "ni0",
  ]);
  await lab.host.run("ping", ["-c", "2", "-W", "1", "-i", "0.2", "-I", "ni0", "192.0.2.2"]);
  await ni.stop();
  for (const listener of listeners) {
    await listener.stop("SIGINT");
    assert.match(listener.output().join("\n"), /^0 packets captured/m);
  }
});
