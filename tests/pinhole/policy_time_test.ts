import assert from "node:assert/strict";
import { parsePolicy } from "../../lib/pinhole/policy.ts";
import type { RuleKeys } from "../../lib/pinhole/policy.ts";
import { localTime, missedTime, timeEnd } from "../../lib/pinhole/policy_time.ts";

// 7 June 2026 is a Sunday. All times are local, so the zone of the machine does not matter as long as
// it changes no clock in that week.
const local = (day: number, hour: number, minute = 0) =>
  new Date(2026, 5, day, hour, minute).getTime();

function keys(text: string): RuleKeys {
  const { rules, problems } = parsePolicy(`allow * * * * * * * ${text}`, "f");
  assert.deepEqual(problems, []);
  const rule = rules[0];
  assert.ok(rule);
  return rule.keys;
}

function missed(text: string, at: number): string {
  return missedTime(keys(text), localTime(at)) ?? "in";
}

function end(text: string, at: number): number {
  return timeEnd(keys(text), localTime(at));
}

Deno.test("hours hold from the first minute to before the last", () => {
  const day = "hours=08:00-18:00";
  assert.equal(missed(day, local(7, 7, 59)), "hours");
  assert.equal(missed(day, local(7, 8)), "in");
  assert.equal(missed(day, local(7, 17, 59) + 59_999), "in");
  assert.equal(missed(day, local(7, 18)), "hours");
  assert.equal(missed("hours=18:00-24:00", local(7, 23, 59)), "in");
  assert.equal(missed("hours=18:00-24:00", local(8, 0)), "hours");
});

Deno.test("a window over midnight belongs to the day on which it begins", () => {
  const night = "hours=22:00-06:00 days=fri";
  assert.equal(missed(night, local(12, 21, 59)), "hours");
  assert.equal(missed(night, local(12, 22)), "in");
  assert.equal(missed(night, local(13, 5, 59)), "in");
  assert.equal(missed(night, local(13, 6)), "hours");
  assert.equal(missed(night, local(13, 22)), "days");
  assert.equal(missed(night, local(12, 5)), "days");
});

Deno.test("days may wrap the week", () => {
  const days = [7, 8, 9, 10, 11, 12, 13].map((d) => missed("days=sat-mon", local(d, 12)));
  assert.deepEqual(days, ["in", "in", "days", "days", "days", "days", "in"]);
});

Deno.test("until holds before its moment", () => {
  assert.equal(missed("until=2026-06-07", local(7, 23, 59)), "in");
  assert.equal(missed("until=2026-06-07", local(8, 0)), "until");
  const moment = Date.UTC(2026, 5, 7, 12);
  assert.equal(missed("until=2026-06-07T14:00:00+02:00", moment - 1), "in");
  assert.equal(missed("until=2026-06-07T14:00:00+02:00", moment), "until");
});

Deno.test("the end of what holds now is known", () => {
  assert.equal(end("ttl=1h", local(7, 12)), Infinity);
  assert.equal(end("hours=08:00-18:00", local(7, 12, 34)), local(7, 18));
  assert.equal(end("hours=22:00-06:00", local(7, 23)), local(8, 6));
  assert.equal(end("hours=22:00-06:00", local(8, 1)), local(8, 6));
  assert.equal(end("hours=18:00-24:00", local(7, 19)), local(8, 0));
  assert.equal(end("days=mon-fri", local(10, 12)), local(13, 0));
  assert.equal(end("days=mon-sun", local(10, 12)), Infinity);
  assert.equal(
    end("hours=08:00-18:00 until=2026-06-07T00:00:00Z", local(7, 12)),
    Date.UTC(2026, 5, 7),
  );
});

const DST_PROGRAM = `
import { parsePolicy } from "./lib/pinhole/policy.ts";
import { localTime, missedTime, timeEnd } from "./lib/pinhole/policy_time.ts";
const out = [];
for (const [text, at] of JSON.parse(Deno.args[0])) {
  const rule = parsePolicy("allow * * * * * * * " + text, "f").rules[0];
  const now = localTime(Date.parse(at));
  const missed = missedTime(rule.keys, now);
  out.push(missed ?? new Date(timeEnd(rule.keys, now)).toISOString());
}
self["con" + "sole"].log(JSON.stringify(out));
`;

Deno.test("daylight saving: a skipped hour holds nothing, a doubled one holds twice", async () => {
  // Berlin 2026: 29 March 02:00 becomes 03:00 (01:00Z); 25 October 03:00 becomes 02:00 (01:00Z).
  const cases = [
    ["hours=02:00-03:00", "2026-03-29T00:59:59Z", "hours"],
    ["hours=02:00-03:00", "2026-03-29T01:00:00Z", "hours"],
    ["hours=01:00-05:00", "2026-03-29T00:30:00Z", "2026-03-29T03:00:00.000Z"],
    ["hours=02:00-03:00", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00.000Z"],
    ["hours=02:00-03:00", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00.000Z"],
    // Ends inside the doubled hour: at the first pass, and again in the second.
    ["hours=02:00-02:45", "2026-10-25T00:30:20Z", "2026-10-25T00:45:00.000Z"],
    ["hours=02:00-02:45", "2026-10-25T01:30:20Z", "2026-10-25T01:45:00.000Z"],
    ["hours=02:00-02:45", "2026-10-25T01:45:00Z", "hours"],
    ["days=sun", "2026-10-25T01:30:00Z", "2026-10-25T23:00:00.000Z"],
  ] as const;
  const root = new URL("../../", import.meta.url);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--ext=ts", DST_PROGRAM, JSON.stringify(cases)],
    cwd: root,
    env: { TZ: "Europe/Berlin", NO_COLOR: "1" },
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  assert.deepEqual(JSON.parse(new TextDecoder().decode(stdout)), cases.map((c) => c[2]));
});
