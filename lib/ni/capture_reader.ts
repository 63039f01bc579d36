/**
 * Frames of a capture file, one after the other, in memory that is used again.
 *
 * @module
 */
import { CaptureParser, CaptureRecord } from "../net/capture.ts";
import { type FrameMemory, frameMemory, VNET_HEADER } from "../sys/packet_socket.ts";

const PIECE = 1024 * 1024;
/** Where frames begin: behind room for a virtio-net header. */
const START = 16;

/** A capture that is being read. */
export class CaptureReader {
  /** Memory that holds the present frame. */
  memory: FrameMemory = frameMemory(128 * 1024);
  /** First byte of the present frame. */
  readonly start: number = START;
  /** The byte after its last one. */
  end: number = START;
  /** The present frame's times, lengths and link type. */
  readonly record: CaptureRecord = new CaptureRecord();
  readonly #file: Deno.FsFile;
  readonly #parser = new CaptureParser();
  readonly #piece = new Uint8Array(PIECE);

  /** @throws {Deno.errors.NotFound} and others when it cannot be opened. */
  constructor(path: string) {
    this.#file = Deno.openSync(path);
  }

  /**
   * Goes to the next frame.
   *
   * @returns false at the end.
   * @throws {CaptureError} when the file is damaged.
   */
  next(): boolean {
    while (!this.#parser.read(this.record)) {
      const n = this.#file.readSync(this.#piece);
      if (n === null) {
        this.#parser.finish();
        return false;
      }
      this.#parser.push(this.#piece.subarray(0, n));
    }
    const length = this.record.end - this.record.start;
    if (START + length > this.memory.data.length) this.memory = frameMemory(START + length);
    this.memory.data.fill(0, START - VNET_HEADER, START);
    this.memory.data.set(this.record.data.subarray(this.record.start, this.record.end), START);
    this.end = START + length;
    return true;
  }

  /** Lets go of the file. */
  close(): void {
    this.#file.close();
  }
}
