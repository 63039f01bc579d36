import assert from "node:assert/strict";
import { tracedProcess } from "../../lib/broker/traced_process.ts";
import { parseAgentMessage } from "../../lib/broker/wire.ts";
import { libc } from "../../lib/sys/libc.ts";
import { factsFromFiles, pidfdFacts } from "../../lib/sys/pidfd.ts";
import { passCredentials, unixPair } from "../../lib/sys/unix_socket.ts";
import {
  boundSocket,
  BrokerHarness,
  channelMessage,
  FakeAgent,
  message,
  openMessage,
  withFd,
} from "./harness.ts";

const PIDFD_OPEN = 434n;
const OTHER = 65534;

function pidfdOf(pid: number): number {
  return Number(libc.syscall(PIDFD_OPEN, BigInt(pid), 0n, 0n, 0n, 0n, 0n));
}

/** TRACED for a source given as bytes; none: several come into question. */
function tracedMessage(descriptor: number, source?: readonly number[]): Uint8Array<ArrayBuffer> {
  const bytes = source === undefined
    ? new Uint8Array(message(7, 88, 42).buffer)
    : openMessage(source);
  bytes[4] = 7;
  if (source === undefined) bytes[54] = 2;
  new DataView(bytes.buffer).setUint32(84, descriptor, true);
  return bytes;
}

const SOURCE = [198, 51, 100, 7];

async function withSleeper(work: (pid: number) => void): Promise<void> {
  const child = new Deno.Command("sleep", { args: ["60"] }).spawn();
  try {
    work(child.pid);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}

Deno.test("Broker takes a supervisor's word for whom, and the kernel's for which process and port", () => {
  using h = new BrokerHarness();
  const supervisor = h.greeted();
  withFd(boundSocket(0), (fd) =>
    withFd(pidfdOf(Deno.pid), (pidfd) => {
      supervisor.send(tracedMessage(fd, SOURCE), [fd, pidfd]);
      const answer = supervisor.read();
      assert.ok(typeof answer === "object");
      assert.deepEqual([answer.verdict, answer.id, answer.sequence], [0, 7, 42]);
    }));
  const [request] = h.requests;
  assert.equal(request?.requester.pid, Deno.pid);
  assert.equal(request?.requester.uid, Deno.uid());
  assert.equal(request?.requester.program, Deno.execPath());
  assert.equal(request?.tuple.source.text, "198.51.100.7");
});

Deno.test("Broker refuses a supervisor that names another process than the socket's", async () => {
  using h = new BrokerHarness();
  const supervisor = h.greeted();
  await withSleeper((pid) =>
    withFd(boundSocket(0), (fd) =>
      withFd(pidfdOf(pid), (pidfd) => {
        supervisor.send(tracedMessage(fd, SOURCE), [fd, pidfd]);
        const answer = supervisor.read();
        assert.ok(typeof answer === "object" && answer.verdict === 1);
        assert.match(answer.why, new RegExp(`not descriptor ${fd} of process ${pid}`));
      }))
  );
  withFd(boundSocket(0), (fd) =>
    withFd(pidfdOf(Deno.pid), (pidfd) => {
      supervisor.send(tracedMessage(0, SOURCE), [fd, pidfd]); // standard input is another one
      const answer = supervisor.read();
      assert.ok(typeof answer === "object" && answer.verdict === 1);
      assert.match(answer.why, /not descriptor 0/);
    }));
  assert.equal(h.requests.length, 0);
  assert.deepEqual(h.events.map((e) => e.event_type), ["request.refused", "request.refused"]);
});

Deno.test("Broker lets nobody but root speak for another user's process", () => {
  withFd(boundSocket(0), (fd) =>
    withFd(pidfdOf(Deno.pid), (pidfd) => {
      const own = tracedProcess(Deno.uid() ?? 0, pidfd, fd, fd);
      assert.deepEqual(own, { pid: Deno.pid, uid: Deno.uid() });
      const other = tracedProcess(OTHER, pidfd, fd, fd);
      assert.match(String(other), /uid 65534 may not speak for process/);
    }));
  if (Deno.uid() === 0) {
    withFd(boundSocket(0), (fd) =>
      withFd(pidfdOf(1), (pidfd) => {
        assert.match(String(tracedProcess(0, pidfd, fd, fd)), /not descriptor/);
      }));
  }
});

Deno.test("Broker refuses a process that has ended, and what is no process", async () => {
  const child = new Deno.Command("sleep", { args: ["60"] }).spawn();
  const pidfd = pidfdOf(child.pid);
  try {
    child.kill("SIGKILL");
    await child.status;
    withFd(boundSocket(0), (fd) => {
      assert.match(String(tracedProcess(0, pidfd, fd, fd)), /has ended, or is none/);
      assert.match(String(tracedProcess(0, fd, fd, fd)), /has ended, or is none/);
    });
    assert.equal(factsFromFiles(pidfd), undefined);
  } finally {
    libc.close(pidfd);
  }
});

Deno.test("Descriptors of processes: the kernel's answer and that of /proc are the same", () => {
  withFd(pidfdOf(Deno.pid), (pidfd) => {
    const facts = pidfdFacts(pidfd);
    assert.equal(facts?.process, Deno.pid);
    assert.deepEqual(factsFromFiles(pidfd), facts);
  });
});

Deno.test("Broker lets only channels that said HELLO themselves speak for others", () => {
  using h = new BrokerHarness();
  const parent = h.greeted();
  const [ours, theirs] = unixPair("seqpacket");
  passCredentials(theirs);
  withFd(boundSocket(0), (fd) => parent.send(channelMessage(), [theirs, fd]));
  libc.close(theirs);
  h.work();
  const child = new FakeAgent(ours, h);
  assert.ok(typeof child.read() === "object");
  withFd(boundSocket(0), (fd) =>
    withFd(pidfdOf(Deno.pid), (pidfd) => {
      child.send(tracedMessage(fd, SOURCE), [fd, pidfd]);
      assert.equal(child.read(), "end");
    }));
  libc.close(ours);
  assert.match(h.events[0]?.why ?? "", /said HELLO itself/);
});

Deno.test("Broker refuses a traced port when it is not told for whom", () => {
  using h = new BrokerHarness();
  const supervisor = h.greeted();
  withFd(boundSocket(0), (fd) =>
    withFd(pidfdOf(Deno.pid), (pidfd) => {
      supervisor.send(tracedMessage(fd), [fd, pidfd]);
      const answer = supervisor.read();
      assert.ok(typeof answer === "object" && answer.verdict === 1);
      assert.match(answer.why, /several hosts/);
    }));
  assert.equal(h.requests.length, 0);
});

Deno.test("Broker keeps no descriptor of a supervisor's", () => {
  using h = new BrokerHarness();
  const supervisor = h.greeted();
  const open = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const before = open();
  withFd(boundSocket(0), (fd) =>
    withFd(pidfdOf(Deno.pid), (pidfd) => {
      for (const message of [tracedMessage(fd, SOURCE), tracedMessage(0), tracedMessage(fd)]) {
        supervisor.send(message, [fd, pidfd]);
        supervisor.read();
      }
    }));
  assert.equal(open(), before);
});

Deno.test("TRACED is read to the letter", () => {
  const wrong = (change: (bytes: Uint8Array) => void, source?: readonly number[]) => {
    const bytes = tracedMessage(5, source);
    change(bytes);
    return parseAgentMessage(bytes);
  };
  assert.equal(wrong((b) => b[54] = 4, SOURCE), "open has unknown flags");
  assert.equal(wrong((b) => b[83] = 1, SOURCE), "reserved bytes are not zero");
  assert.equal(wrong((b) => b[16] = 4), "source: is not to be there");
  const disputed = (b: Uint8Array) => {
    b[54] = 1;
    b[80] = 4;
  };
  assert.equal(wrong(disputed, SOURCE), "traced cannot be disputed");
  assert.equal(wrong((b) => b[16] = 5, SOURCE), "source: family 5 is unknown");
  const right = parseAgentMessage(tracedMessage(5, SOURCE));
  assert.ok(typeof right === "object" && right.type === "traced" && right.descriptor === 5);
});
