/**
 * What the editing scanner has registered.
 *
 * @module
 */

/** Longer than one segment. */
export const INJECTED: Uint8Array = Uint8Array.from({ length: 3000 }, (_, i) => (i * 31) & 255);
