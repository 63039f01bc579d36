/** One server, twenty hosts: every port is opened for the host that asked for it. */
import assert from "node:assert/strict";
import { labPossible } from "../lab/lab.ts";
import { hasPyftpdlib, HOSTS, Swarm } from "../lab/swarm.ts";

const FETCHES = 10;

Deno.test({
  name:
    "pyftpdlib, multiplexed by epoll, poll and select, threaded, and multiprocess, with twenty hosts " +
    "at once (needs root, python3-pyftpdlib)",
  ignore: !labPossible || !hasPyftpdlib(),
  fn: async (t) => {
    await using swarm = await Swarm.create();
    for (
      const [model, poller] of [
        ["multiplexed", "epoll"],
        ["multiplexed", "poll"],
        ["multiplexed", "select"],
        ["threaded", "epoll"],
        ["multiprocess", "epoll"],
      ] as const
    ) {
      await t.step(`${model}, ${poller}`, async () => {
        assert.equal(await swarm.run(model, poller, FETCHES), HOSTS.length * FETCHES);
      });
    }
  },
});
