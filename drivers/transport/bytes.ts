/**
 * A two-way stream of bytes to a device, whatever carries it: an SSH shell, an SSH subsystem, a test.
 *
 * @module
 */

/** The stream. */
export interface ByteStream {
  /**
   * Says who listens.
   *
   * @param onData called with each piece that arrives, also those that came before.
   * @param onEnd called once, when no more can arrive; `why` is for people.
   */
  listen(onData: (piece: Uint8Array) => void, onEnd: (why: string) => void): void;
  /** Sends; what is sent after the end is lost, which the listener was told. */
  write(bytes: Uint8Array): void;
  /** Ends the stream. */
  close(): void;
}
