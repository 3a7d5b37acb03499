"""A pytest plugin: the real Themis core, in the WebAssembly build of its makers, run by node.

Two ways lead to it. `oracle` asks it questions through its own JavaScript classes. `themis_bridge` lets the
real pythemis call its C functions, by a test-only libthemis.so.0 that forwards each call; only that glue is
ours.

PYTEST_DONT_REWRITE: the tests import `Oracle` from here before pytest knows of the plugin.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

FOLDER = Path(__file__).parent / "oracle"
IN_CI = bool(os.environ.get("CI"))


class OracleRefused(Exception):
    """Themis refused; `status` is its own code: 11 failure, 12 invalid parameter."""

    def __init__(self, status: int) -> None:
        super().__init__(f"Themis status {status}")
        self.status = status


class Oracle:
    """One long-lived node process that answers a JSON line with a JSON line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def seal(self, mode: str, key: bytes, plaintext: bytes, context: bytes) -> bytes:
        """What Themis makes of *plaintext*; *mode* is "key" or "passphrase"."""
        return self._bytes(
            do="encrypt", mode=mode, key=key.hex(), context=context.hex(), data=plaintext.hex()
        )

    def unseal(self, mode: str, key: bytes, blob: bytes, context: bytes) -> bytes:
        """What Themis finds in *blob*, or `OracleRefused`."""
        return self._bytes(do="decrypt", mode=mode, key=key.hex(), context=context.hex(), data=blob.hex())

    def make_pair(self) -> tuple[bytes, bytes]:
        """A key pair that Themis made: private and public container."""
        answer = self._ask(do="pair")
        return bytes.fromhex(answer["private"]), bytes.fromhex(answer["public"])

    def exchange(self, private: bytes, public: bytes, message: bytes) -> bytes:
        """*message* after Themis Secure Message has encrypted and decrypted it with this pair."""
        return self._bytes(do="exchange", private=private.hex(), public=public.hex(), data=message.hex())

    def _bytes(self, **question: str) -> bytes:
        answer = self._ask(**question)
        if "refused" in answer:
            raise OracleRefused(int(answer["refused"]))
        return bytes.fromhex(answer["result"])

    def _ask(self, **question: str) -> dict[str, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        answer: dict[str, str] = json.loads(self._process.stdout.readline())
        return answer


def give_up(reason: str) -> NoReturn:
    """Skips, but fails in CI, where a skip is a hole."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def tool(name: str) -> str:
    """The path of a program, or no test."""
    return shutil.which(name) or give_up(f"{name} is not installed")


@pytest.fixture(scope="session")
def node() -> str:
    """The path of node, its packages installed. The same mark as scripts/setup leaves says so."""
    found, npm = tool("node"), tool("npm")
    lock, mark = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".keyfs-lock"
    if not mark.exists() or mark.read_bytes() != lock.read_bytes():
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=FOLDER, check=False, capture_output=True, text=True)
        if done.returncode:
            give_up(f"npm ci failed: {done.stderr.strip()}")
        mark.write_bytes(lock.read_bytes())
    return found


@pytest.fixture(scope="session")
def oracle(node: str) -> Iterator[Oracle]:
    """The real Themis core, to be asked."""
    with subprocess.Popen(
        [node, str(FOLDER / "oracle.js")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Oracle(process)


@pytest.fixture(scope="session")
def themis_bridge(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which pythemis finds the test-only libthemis.so.0 and that finds the real core."""
    folder = tmp_path_factory.mktemp("bridge")
    library, socket = folder / "libthemis.so.0", folder / "core.sock"
    options = [
        "-Wall",
        "-Wextra",
        "-Werror",
        "-O1",
        "-shared",
        "-fPIC",
        "-pthread",
        "-Wl,-soname,libthemis.so.0",
    ]
    subprocess.run([tool("gcc"), *options, "-o", library, FOLDER / "bridge.c"], check=True)
    with subprocess.Popen(
        [node, str(FOLDER / "core.js"), str(socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield {"LD_LIBRARY_PATH": str(folder), "THEMIS_BRIDGE_SOCKET": str(socket)}
