import assert from "node:assert/strict";
import { ChannelLimits } from "../../lib/broker/limits.ts";

Deno.test("ChannelLimits bounds one account without touching the others", () => {
  const limits = new ChannelLimits(10, 2);
  assert.equal(limits.take(1000), undefined);
  assert.equal(limits.take(1000), undefined);
  assert.match(limits.take(1000) ?? "", /uid 1000 has 2 channels/);
  assert.equal(limits.take(1001), undefined);
  limits.release(1000);
  assert.equal(limits.take(1000), undefined);
});

Deno.test("ChannelLimits bounds all accounts together, root as well", () => {
  const limits = new ChannelLimits(3, 2);
  for (let i = 0; i < 3; i++) assert.equal(limits.take(0), undefined);
  assert.match(limits.take(0) ?? "", /all 3 channels/);
});

Deno.test("ChannelLimits goes on with what waited as soon as one is released", () => {
  const limits = new ChannelLimits(1, 1);
  limits.take(0);
  let resumed = 0;
  limits.pause(() => resumed++);
  limits.release(0);
  limits.take(0);
  limits.release(0);
  assert.equal(resumed, 1);
});

Deno.test("ChannelLimits moves a channel from one account to another", () => {
  const limits = new ChannelLimits(10, 2);
  for (const uid of [1000, 1000, 1001, 1001]) assert.equal(limits.take(uid), undefined);
  assert.match(limits.move(1000, 1001) ?? "", /uid 1001 has 2 channels/);
  assert.match(limits.take(1000) ?? "", /uid 1000 has 2/, "a refused move changes nothing");
  limits.release(1001);
  assert.equal(limits.move(1000, 1001), undefined);
  assert.equal(limits.take(1000), undefined);
  assert.match(limits.take(1001) ?? "", /uid 1001 has 2/);
  assert.equal(limits.move(1001, 1001), undefined);
  assert.equal(limits.move(1001, 0), undefined);
});
