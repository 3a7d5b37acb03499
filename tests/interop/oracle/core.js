"use strict";
// Offers the C functions of the Themis core on a unix socket, one call a frame; bridge.c is the other end.
//
//   call:   u32 function, key size, context size, message size, room for the result (all ones: null pointer),
//           then key, context and message
//   answer: u32 status, u32 result size as the function left it, then the result if the status is 0 and there
//           was room
//
// All integers are little-endian. Started with the socket's path; prints "ready"; ends with its input.

const net = require("net");
const { load } = require("./load");

const FUNCTIONS = [
    "_themis_secure_cell_encrypt_seal",
    "_themis_secure_cell_decrypt_seal",
    "_themis_secure_cell_encrypt_seal_with_passphrase",
    "_themis_secure_cell_decrypt_seal_with_passphrase",
];
const HEADER_SIZE = 20;
const NULL_POINTER = 0xffffffff;
const SUCCESS = 0;

function place(core, bytes) {
    const at = core._malloc(bytes.length || 1);
    core.HEAPU8.set(bytes, at);
    return at;
}

function call(core, frame) {
    const [index, keySize, contextSize, messageSize, room] = [0, 4, 8, 12, 16].map((at) => frame.readUInt32LE(at));
    const contextAt = HEADER_SIZE + keySize;
    const messageAt = contextAt + contextSize;
    const key = place(core, frame.subarray(HEADER_SIZE, contextAt));
    const context = place(core, frame.subarray(contextAt, messageAt));
    const message = place(core, frame.subarray(messageAt, messageAt + messageSize));
    const result = room === NULL_POINTER ? 0 : core._malloc(room || 1);
    const resultSize = core._malloc(4);
    core.setValue(resultSize, result ? room : 0, "i32");
    const status = core[FUNCTIONS[index]](
        key, keySize, context, contextSize, message, messageSize, result, resultSize);
    const size = core.getValue(resultSize, "i32") >>> 0;
    const answer = Buffer.alloc(8);
    answer.writeUInt32LE(status >>> 0, 0);
    answer.writeUInt32LE(size, 4);
    const body = status === SUCCESS && result ? Buffer.from(core.HEAPU8.slice(result, result + size)) : Buffer.alloc(0);
    [key, context, message, result, resultSize].filter(Boolean).forEach((at) => core._free(at));
    return Buffer.concat([answer, body]);
}

function serve(core, connection) {
    let waiting = Buffer.alloc(0);
    connection.on("data", (chunk) => {
        waiting = Buffer.concat([waiting, chunk]);
        while (waiting.length >= HEADER_SIZE) {
            const size = HEADER_SIZE + [4, 8, 12].reduce((sum, at) => sum + waiting.readUInt32LE(at), 0);
            if (waiting.length < size) return;
            connection.write(call(core, waiting.subarray(0, size)));
            waiting = waiting.subarray(size);
        }
    });
    connection.on("error", () => connection.destroy());
}

async function main() {
    const { core } = await load();
    const server = net.createServer((connection) => serve(core, connection));
    server.listen(process.argv[2], () => process.stdout.write("ready\n"));
    process.stdin.resume();
    process.stdin.on("end", () => process.exit(0));
}

main();
