import assert from "node:assert/strict";
import { LateProgram, LateRequester, Rush } from "../../lib/broker/late_program.ts";

const WHO = { delegate: "ftpd", user: "root", uid: 0, pid: Deno.pid, pidStart: 0n };

Deno.test("Rush: the first few of a moment are none, and a pause ends one", () => {
  const rush = new Rush();
  const rushed = (now: number, count: number) =>
    Array.from({ length: count }, () => rush.add(now)).filter((r) => r).length;
  assert.equal(rushed(1000, 20), 0);
  assert.equal(rushed(1010, 5), 5);
  assert.equal(rushed(1020, 20), 0);
  assert.equal(rushed(1030, 1), 1);
  assert.equal(rushed(900, 20), 0, "the clock was set back");
});

Deno.test("LateRequester: its program is read when it is asked for, and once", () => {
  const requester = new LateRequester(WHO, new LateProgram(Deno.pid));
  assert.equal(requester.programIsLate, true);
  assert.equal(requester.program, Deno.realPathSync(Deno.execPath()));
  assert.equal(requester.programIsLate, false);
  const { delegate, user, uid, pid, pidStart } = requester;
  assert.deepEqual({ delegate, user, uid, pid, pidStart }, WHO);
});

Deno.test("LateRequester: a program that is known is not looked for, one that has ended has no name", () => {
  const known = new LateRequester(WHO, new LateProgram(-1, "/usr/sbin/vsftpd"));
  assert.equal(known.programIsLate, false);
  assert.equal(known.program, "/usr/sbin/vsftpd");
  assert.equal(new LateRequester(WHO, new LateProgram(-1)).program, "");
});
