/**
 * How offsets of what a sender sent and of what the receiver gets belong together, after cuts and injections.
 *
 * @module
 */

interface Edit {
  /** Where it is in the original stream, and how many bytes of it are cut. */
  readonly original: number;
  cut: number;
  /** Where it is in the edited stream, and how many bytes are injected there. */
  readonly edited: number;
  injected: number;
}

/** The changes of one stream, in order. */
export class EditMap {
  readonly #edits: Edit[] = [];
  /** What is to be added to an edited offset before the first edit for the original one. */
  #shift = 0;
  /** As {@link #shift}, behind the last edit. */
  #lastShift = 0;

  /** The edited stream is the original one so far. */
  get isEmpty(): boolean {
    return this.#edits.length === 0 && this.#shift === 0;
  }

  /** Adds a change behind all others. */
  add(original: number, cut: number, injected: number): void {
    const edited = original - this.#lastShift;
    this.#lastShift += cut - injected;
    const last = this.#edits.at(-1);
    // Injected first and then cut, both at one place: one change.
    if (
      last !== undefined && last.original + last.cut === original && last.injected > 0 &&
      injected === 0
    ) {
      last.cut += cut;
      return;
    }
    if (
      last !== undefined && last.original + last.cut === original && last.injected === 0 &&
      injected === 0
    ) {
      last.cut += cut;
      return;
    }
    this.#edits.push({ original, cut, edited, injected });
  }

  /**
   * The original offset up to which everything is done, when everything before an edited offset is: bytes that are
   * cut are done with what is before them, and with an injection there when it is done as a whole.
   */
  toOriginal(edited: number): number {
    let shift = this.#shift;
    for (const edit of this.#edits) {
      if (edited < edit.edited) break;
      if (edited < edit.edited + edit.injected) return edit.original;
      shift += edit.cut - edit.injected;
    }
    return edited + shift;
  }

  /** The edited offset up to which everything is done, when everything before an original offset is. */
  toEdited(original: number): number {
    let shift = this.#shift;
    for (const edit of this.#edits) {
      if (original < edit.original) break;
      if (original < edit.original + edit.cut) return edit.edited + edit.injected;
      shift += edit.cut - edit.injected;
    }
    return original - shift;
  }

  /** Forgets changes that are done when everything before an edited offset is. */
  forget(edited: number): void {
    let gone = 0;
    for (const edit of this.#edits) {
      if (edited <= edit.edited + edit.injected) break;
      this.#shift += edit.cut - edit.injected;
      gone++;
    }
    if (gone > 0) this.#edits.splice(0, gone);
  }
}
