import assert from "node:assert/strict";
import { parseIp } from "../../lib/net/ip.ts";
import { check, libc } from "../../lib/sys/libc.ts";
import { kernelAtLeast } from "../../lib/sys/kernel.ts";
import { NetlinkOverrun } from "../../lib/sys/netlink.ts";
import {
  ALL_STATES,
  type ConnectionId,
  DestroyListener,
  SockDiag,
  type SocketInfo,
  TCP_STATE,
} from "../../lib/sys/sock_diag.ts";

const root = Deno.uid() === 0;
const AF_INET = 2;
const AF_INET6 = 10;
const STREAM = 1;
const DATAGRAM = 2;
const SOL_SOCKET = 1;
const SO_COOKIE = 57;

/** A socket of this process, bound to a loopback port that the kernel chose. */
class TestSocket {
  readonly fd: number;
  readonly family: number;
  readonly type: number;

  constructor(family: number, type: number, fd?: number) {
    this.family = family;
    this.type = type;
    this.fd = fd ?? check("socket", libc.socket(family, type, 0));
  }

  bind(): this {
    const address = this.#loopback(0);
    check("bind", libc.bind(this.fd, address, address.length));
    return this;
  }
  listen(): this {
    check("listen", libc.listen(this.fd, 16));
    return this;
  }
  connect(to: TestSocket): this {
    const address = this.#loopback(to.port);
    check("connect", libc.connect(this.fd, address, address.length));
    return this;
  }
  accept(): TestSocket {
    const fd = check("accept4", libc.accept4(this.fd, null, null, 0));
    return new TestSocket(this.family, this.type, fd);
  }
  get port(): number {
    const address = new Uint8Array(28);
    const length = new Uint32Array([28]);
    check("getsockname", libc.getsockname(this.fd, address, new Uint8Array(length.buffer)));
    return new DataView(address.buffer).getUint16(2);
  }
  get cookie(): bigint {
    const value = new BigUint64Array(1);
    const length = new Uint32Array([8]);
    check(
      "getsockopt",
      libc.getsockopt(
        this.fd,
        SOL_SOCKET,
        SO_COOKIE,
        new Uint8Array(value.buffer),
        new Uint8Array(length.buffer),
      ),
    );
    return value[0] as bigint;
  }
  close(): void {
    check("close", libc.close(this.fd));
  }

  #loopback(port: number): Uint8Array<ArrayBuffer> {
    const address = new Uint8Array(this.family === AF_INET ? 16 : 28);
    address[0] = this.family;
    address[2] = port >> 8;
    address[3] = port & 255;
    if (this.family === AF_INET) address.set([127, 0, 0, 1], 4);
    else address[23] = 1;
    return address;
  }
}

/** What a test compares of a socket. */
function facts(s: SocketInfo): Record<string, unknown> {
  const { protocol, family, state, localPort, remotePort, cookie } = s;
  const [local, remote] = [s.localAddress().text, s.remoteAddress().text];
  return { protocol, family, state, local, localPort, remote, remotePort, cookie };
}

for (const family of [4, 6] as const) {
  const af = family === 4 ? AF_INET : AF_INET6;
  const loopback = family === 4 ? "127.0.0.1" : "::1";
  const any = family === 4 ? "0.0.0.0" : "::";

  Deno.test(`sock_diag: sockets are listed as they are, IPv${family}`, () => {
    const diag = new SockDiag();
    const listener = new TestSocket(af, STREAM).bind().listen();
    const client = new TestSocket(af, STREAM).connect(listener);
    const accepted = listener.accept();
    const bound = new TestSocket(af, STREAM).bind();
    const datagram = new TestSocket(af, DATAGRAM).bind();
    try {
      const [port, far] = [listener.port, client.port];
      const list = (protocol: "tcp" | "udp", local: number, states = ALL_STATES) => {
        const found: Record<string, unknown>[] = [];
        diag.dump(protocol, states, (s) => found.push(facts(s)), { low: local, high: local });
        return found.sort((a, b) => Number(a["state"]) - Number(b["state"]));
      };
      const local = { family, local: loopback };
      const connection = {
        ...{ protocol: "tcp", ...local, localPort: port, remote: loopback, remotePort: far },
        ...{ state: TCP_STATE.ESTABLISHED, cookie: accepted.cookie },
      };
      assert.deepEqual(list("tcp", port), [connection, {
        ...{ protocol: "tcp", ...local, localPort: port, remote: any, remotePort: 0 },
        ...{ state: TCP_STATE.LISTEN, cookie: listener.cookie },
      }]);
      assert.deepEqual(list("tcp", port, 1 << TCP_STATE.ESTABLISHED), [connection]);
      assert.deepEqual(list("udp", datagram.port), [{
        ...{ protocol: "udp", ...local, localPort: datagram.port, remote: any, remotePort: 0 },
        ...{ state: TCP_STATE.CLOSE, cookie: datagram.cookie },
      }]);
      if (kernelAtLeast(6, 8)) {
        assert.deepEqual(list("tcp", bound.port).map((s) => [s["state"], s["cookie"]]), [
          [TCP_STATE.CLOSE, bound.cookie],
        ]);
        assert.equal(diag.alive("tcp", bound.port, bound.cookie), true);
      }
      const connections: bigint[] = [];
      diag.connections(new Set([port, datagram.port]), (s) => connections.push(s.cookie));
      assert.deepEqual(connections, [accepted.cookie]);
      diag.connections(new Set(), () => assert.fail("no port was asked for"));
      const cookies = diag.cookies();
      for (const s of [listener, client, accepted, datagram]) assert.ok(cookies.has(s.cookie));
      assert.equal(diag.alive("tcp", port, listener.cookie), true);
      assert.equal(diag.alive("tcp", port, client.cookie), false);
      const id: ConnectionId = {
        localAddress: address(loopback),
        localPort: port,
        remoteAddress: address(loopback),
        remotePort: far,
        interface: 0,
      };
      assert.equal(diag.connectionCookie(id), accepted.cookie);
      assert.equal(diag.connectionCookie({ ...id, remotePort: 1 }), undefined);
    } finally {
      for (const s of [listener, client, accepted, bound, datagram]) s.close();
      diag.close();
    }
  });

  Deno.test({
    name: `sock_diag: the end of every kind of socket is told, IPv${family} (needs root)`,
    ignore: !root,
    fn: () => {
      const notices = new DestroyListener();
      try {
        const listener = new TestSocket(af, STREAM).bind().listen();
        const client = new TestSocket(af, STREAM).connect(listener);
        const accepted = listener.accept();
        const bound = new TestSocket(af, STREAM).bind();
        const datagram = new TestSocket(af, DATAGRAM).bind();
        const unread = new TestSocket(af, STREAM).connect(listener);
        const all = [client, accepted, listener, bound, datagram, unread];
        const ends = new Map(all.map((s) => [s.cookie, s.type === STREAM ? "tcp" : "udp"]));
        for (const s of all) s.close();
        const deadline = performance.now() + 10_000;
        while (ends.size > 0) {
          const left = deadline - performance.now();
          assert.ok(left > 0, `not told: ${[...ends.keys()]}`);
          notices.wait(left);
          notices.read((s) => {
            if (ends.has(s.cookie)) assert.equal(s.protocol, ends.get(s.cookie));
            ends.delete(s.cookie);
          });
        }
      } finally {
        notices.close();
      }
    },
  });

  Deno.test({
    name: `sock_diag: a connection is ended at both ends, IPv${family} (needs root)`,
    ignore: !root,
    fn: () => {
      const diag = new SockDiag();
      const listener = new TestSocket(af, STREAM).bind().listen();
      const client = new TestSocket(af, STREAM).connect(listener);
      const accepted = listener.accept();
      try {
        const id: ConnectionId = {
          localAddress: address(loopback),
          localPort: accepted.port,
          remoteAddress: address(loopback),
          remotePort: client.port,
          interface: 0,
        };
        assert.equal(diag.destroy(id, client.cookie), false, "another socket's cookie");
        assert.equal(diag.alive("tcp", accepted.port, accepted.cookie), true);
        assert.equal(diag.destroy(id, accepted.cookie), true);
        assert.equal(diag.alive("tcp", accepted.port, accepted.cookie), false);
        assert.equal(diag.destroy(id, accepted.cookie), false);
        for (const s of [accepted, client]) {
          assert.equal(libc.recv(s.fd, new Uint8Array(1), 1, 0), -1);
        }
        assert.equal(diag.alive("tcp", listener.port, listener.cookie), true);
      } finally {
        for (const s of [listener, client, accepted]) s.close();
        diag.close();
      }
    },
  });
}

Deno.test({
  name: "sock_diag: lost notices are reported, and later ones come again (needs root)",
  ignore: !root,
  fn: () => {
    const notices = new DestroyListener({ receiveBuffer: 4096 });
    try {
      const deadline = performance.now() + 60_000;
      for (let i = 0; i < 500; i++) new TestSocket(AF_INET, DATAGRAM).bind().close();
      // A UDP socket is released after an RCU grace period. Nothing is read until the kernel has dropped some.
      const inode = /\d+/.exec(Deno.readLinkSync(`/proc/self/fd/${notices.fd}`))?.[0];
      const dropped = () => {
        const lines = Deno.readTextFileSync("/proc/net/netlink").trim().split("\n");
        const columns = lines.map((line) => line.trim().split(/\s+/));
        return Number(columns.find((c) => c[9] === inode)?.[8]);
      };
      while (dropped() === 0) assert.ok(performance.now() < deadline, "none was dropped");
      assert.ok(dropped() > 0);
      assert.throws(() => {
        while (notices.read(() => {}) > 0);
      }, NetlinkOverrun);
      const last = new TestSocket(AF_INET, DATAGRAM).bind();
      const cookie = last.cookie;
      last.close();
      let told = false;
      while (!told) {
        assert.ok(performance.now() < deadline, "not told");
        notices.wait(100);
        try {
          notices.read((s) => told ||= s.cookie === cookie);
        } catch (error) {
          assert.ok(error instanceof NetlinkOverrun);
        }
      }
    } finally {
      notices.close();
    }
  },
});

function address(text: string) {
  const found = parseIp(text);
  assert.ok(found !== undefined);
  return found;
}
