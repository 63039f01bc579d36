/**
 * One set of descriptors that a data plane waits on (epoll(7)).
 *
 * A data plane is a Worker of its own, so that {@link Poller.wait} may block it. Whoever wants to wake
 * it writes to a descriptor in the set.
 *
 * @module
 */
import { check, E, errno, libc, SystemError } from "./libc.ts";

/** Bits of an event, as in epoll_ctl(2). */
export const EPOLL = {
  IN: 0x1,
  OUT: 0x4,
  ERR: 0x8,
  HUP: 0x10,
  RDHUP: 0x2000,
  ONESHOT: 0x40000000,
} as const;

const CTL = { ADD: 1, DEL: 2, MOD: 3 } as const;
const CLOEXEC = 0o2000000;

/** Called with the event bits that are set. */
export type ReadyHandler = (events: number) => void;

// struct epoll_event is packed on x86-64 only.
const EVENT_SIZE = Deno.build.arch === "x86_64" ? 12 : 16;
const DATA_OFFSET = Deno.build.arch === "x86_64" ? 4 : 8;

/** A level-triggered set of descriptors, each with the handler to call when it is ready. */
export class Poller {
  readonly #fd: number;
  readonly #handlers = new Map<number, ReadyHandler>();
  readonly #event = new DataView(new ArrayBuffer(EVENT_SIZE));
  readonly #ready: DataView<ArrayBuffer>;
  readonly #max: number;

  /** @param max ready descriptors taken in one round; more are taken in the next. */
  constructor(max = 512) {
    this.#fd = check("epoll_create1", libc.epoll_create1(CLOEXEC));
    this.#max = max;
    this.#ready = new DataView(new ArrayBuffer(EVENT_SIZE * max));
  }

  /** Watches a descriptor for `events` (a mask of {@link EPOLL}). */
  add(fd: number, events: number, handler: ReadyHandler): void {
    this.#control(CTL.ADD, fd, events);
    this.#handlers.set(fd, handler);
  }

  /** Changes what a watched descriptor is watched for. */
  change(fd: number, events: number): void {
    this.#control(CTL.MOD, fd, events);
  }

  /** Stops watching; call it before the descriptor is closed, since its number may be given again. */
  remove(fd: number): void {
    if (this.#handlers.delete(fd)) this.#control(CTL.DEL, fd, 0);
  }

  /**
   * Waits until something is ready or `timeout` milliseconds are over (-1: no limit) and calls the
   * handlers. A handler may add and remove descriptors, its own as well.
   *
   * @returns how many descriptors were ready.
   */
  wait(timeout: number): number {
    const n = libc.epoll_wait(this.#fd, this.#ready, this.#max, timeout);
    if (n < 0) {
      const code = errno();
      if (code === E.INTR) return 0;
      throw new SystemError("epoll_wait", code);
    }
    for (let i = 0; i < n; i++) {
      const at = i * EVENT_SIZE;
      const fd = this.#ready.getInt32(at + DATA_OFFSET, true);
      // Absent when an earlier handler of this round removed it.
      this.#handlers.get(fd)?.(this.#ready.getUint32(at, true));
    }
    return n;
  }

  /** Closes the set; the descriptors in it stay open. */
  close(): void {
    this.#handlers.clear();
    libc.close(this.#fd);
  }

  #control(operation: number, fd: number, events: number): void {
    this.#event.setUint32(0, events, true);
    this.#event.setInt32(DATA_OFFSET, fd, true);
    check("epoll_ctl", libc.epoll_ctl(this.#fd, operation, fd, this.#event));
  }
}
