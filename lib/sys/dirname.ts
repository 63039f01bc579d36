/**
 * What ssh2 needs of a CommonJS module's surroundings in the bundle, where there are none: its WebAssembly
 * part reads `__dirname` although everything is inside. To be imported before ssh2.
 *
 * @module
 */
(globalThis as { __dirname?: string }).__dirname ??= "/";
