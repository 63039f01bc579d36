/** Servers that root starts, which drop their rights and need no wrapper; run by wrap_test.ts. */
import assert from "node:assert/strict";
import { Machine, SOCKET, TARGET } from "./inside.ts";
import { ACCOUNTS } from "./namespace.ts";
import { cases } from "./results.ts";

const m = await Machine.create(Deno.args[0] ?? "");
const WITHOUT_ACCOUNT = 54_999;

/** Starts the program under the agent, as `diaper run --delegate ftpclient` does. */
async function serve(user: "root" | "alice", ...args: string[]) {
  const agent = `${m.work}/build/libdiaper-agent.so`;
  return await m.run(user, [
    ...["env", `LD_PRELOAD=${agent}`, `DIAPER_SOCKET=${SOCKET}`, "DIAPER_DELEGATE=ftpclient"],
    ...[TARGET, ...args],
  ]);
}

async function asked(...users: string[]): Promise<void> {
  assert.deepEqual(await m.refusals(), []);
  const requests = await m.asked();
  assert.deepEqual(requests.map((r) => `${r.requester.delegate} ${r.requester.user}`), [
    ...users.map((user) => `ftpclient ${user}`),
  ]);
}

const all: Record<string, () => Promise<void>> = {
  async "as root it asks for root"() {
    await serve("root", "ask");
    await asked("root");
  },
  async "with a user's rights put on by seteuid it asks for the user, and for root without them"() {
    const { lines } = await serve("root", "drop", "seteuid", String(ACCOUNTS.alice));
    assert.deepEqual(lines.map((line) => line.replace(/ port .*/, "")).slice(1), [
      ...["seteuid 0", "bind 0", "back 0", "bind 0"],
    ]);
    // Once more for its second control connection, which it binds when it has a peer already.
    await asked("alice", "root", "root");
  },
  async "a user without account gets none, whatever the delegate"() {
    const { lines } = await serve("root", "drop", "setuid", String(WITHOUT_ACCOUNT));
    assert.match(lines[2] ?? "", /^bind -1/);
    assert.deepEqual(await m.asked(), []);
    assert.deepEqual(await m.refusals(), [
      `${WITHOUT_ACCOUNT} uid ${WITHOUT_ACCOUNT} has no account on this host`,
    ]);
  },
  async "a user cannot start it in a delegate's name"() {
    await serve("alice", "ask");
    assert.deepEqual(await m.asked(), []);
    assert.match((await m.refusals()).join(), /alice may not ask in the name of ftpclient/);
  },
};
for (const call of ["setuid", "setreuid", "setresuid", "setresuid-saved"]) {
  all[`after ${call} it asks in the same name for that user`] = async () => {
    const { lines } = await serve("root", "drop", call, String(ACCOUNTS.alice));
    assert.deepEqual([lines[1], lines[2]?.slice(0, 6)], [`${call} 0`, "bind 0"]);
    await asked("alice");
  };
}

await cases(all, async () => {
  await m.refusals();
  await m.asked();
});
m.close();
Deno.exit(0);
