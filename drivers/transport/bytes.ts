/**
 * A two-way stream of bytes to a device, whatever carries it: an SSH shell, an SSH subsystem, a test.
 *
 * @module
 */

/** The stream. */
export interface ByteStream {
  /** Called with each piece that arrives, also those that came before it was set. */
  set onData(listener: (piece: Uint8Array) => void);
  /** Called once, when no more can arrive; `why` is for people. */
  onEnd: (why: string) => void;
  /** Sends; what is sent after the end is lost, which {@link onEnd} has told. */
  write(bytes: Uint8Array): void;
  /** Ends the stream. */
  close(): void;
}
