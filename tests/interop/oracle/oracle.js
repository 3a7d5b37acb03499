"use strict";
// Answers questions about Secure Cell, one JSON object a line, until its input ends.
//
//   {"do": "encrypt"|"decrypt", "mode": "key"|"passphrase", "key": hex, "context": hex, "data": hex}
//     -> {"result": hex} or {"refused": Themis status code}
//   {"do": "pair"} -> {"private": hex, "public": hex}
//   {"do": "exchange", "private": hex, "public": hex, "data": hex}
//     -> {"result": hex}: the data after Secure Message has encrypted and decrypted it with this key pair

const readline = require("readline");
const { load } = require("./load");

const toBytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const toHex = (bytes) => Buffer.from(bytes).toString("hex");

function cell(themis, question) {
    const make = question.mode === "key" ? "withKey" : "withPassphrase";
    return themis.SecureCellSeal[make](toBytes(question.key));
}

function answer(themis, question) {
    if (question.do === "pair") {
        const pair = new themis.KeyPair();
        return { private: toHex(pair.privateKey), public: toHex(pair.publicKey) };
    }
    if (question.do === "exchange") {
        const message = new themis.SecureMessage(
            new themis.PrivateKey(toBytes(question.private)), new themis.PublicKey(toBytes(question.public)));
        return { result: toHex(message.decrypt(message.encrypt(toBytes(question.data)))) };
    }
    try {
        const done = cell(themis, question)[question.do](toBytes(question.data), toBytes(question.context));
        return { result: toHex(done) };
    } catch (error) {
        if (error.errorCode === undefined) throw error;
        return { refused: error.errorCode };
    }
}

async function main() {
    const { themis } = await load();
    // Not before the core is loaded: lines that arrive while nobody reads would be lost.
    for await (const line of readline.createInterface({ input: process.stdin })) {
        process.stdout.write(JSON.stringify(answer(themis, JSON.parse(line))) + "\n");
    }
}

main();
