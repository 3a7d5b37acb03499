"use strict";
// Real Themis core code: the WebAssembly build that its makers publish.

// On Node 18 and newer the package mistakes the built-in fetch for a browser's, hands it a file path and dies.
delete globalThis.fetch;

const themis = require("wasm-themis");

/** Loads the core; resolves to the package's classes and to the raw C functions below them. */
exports.load = async () => ({ themis, core: await themis.initialize() });
