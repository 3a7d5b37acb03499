"""What a mount does with canaries, seen from outside: system calls, arguments, log, files."""

import os
import re
import shutil
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from daemon_life import WITHIN_S, daemon_of, is_mounted, until

from keyfs.testing import canary
from keyfs.testing.mounted import keyfs_environment, run_keyfs

NOBODY = 65534
CALLS = "write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendfile,splice,vmsplice,execve"
CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
# strace prints the path behind a descriptor, and every byte of a string as \xNN.
DESCRIPTOR = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})+)>")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


VARIABLES = re.compile(r"execve\(.*/\* (\d+) vars? \*/")
TRACE = "trace.canary-input"
PYTHON = os.fsencode(os.path.basename(sys.executable))


@dataclass(frozen=True, slots=True)
class Traced:
    """A mount that has seen much, and has ended."""

    place: Path
    calls: list[tuple[str, str, bytes]]  # name, path behind its descriptor, all bytes it was given
    said: bytes
    command_lines: list[bytes]


def unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def parsed(trace: Path) -> Iterator[tuple[str, str, bytes]]:
    for line in trace.read_text().splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        name, words = call.groups()
        strings = STRING.findall(words)
        assert not any(cut for _, cut in strings), "strace cut a string"
        behind = DESCRIPTOR.match(words)
        path = os.fsdecode(unescaped(behind[1])) if behind else ""
        yield name, path, b"\n".join(unescaped(text) for text, _ in strings)


SCENARIO = r"""
k=storage-sym/alice; p=storage/alice
cat "$k/current" "$p/current" "$p/current.pub" "$k/rotate" > /dev/null
printf %s "$TEXT" > "$k/current"                            # in the daemon's language: the environment's text
cp "$IN/symmetric.canary-input" "$k/current"
tee "$k/current" < "$IN/text.canary-input" > /dev/null
cat "$IN/private.canary-input" > hmac-sym/alice/current     # refused: a wrong length
cp "$IN/private.canary-input" poison-record/@global/current
dd if="$IN/symmetric.canary-input" of="$k/current" bs=16 conv=fsync status=none
dd if="$IN/symmetric.canary-input" of="$p/current" bs=16 status=none   # refused: no container
{ cat "$IN/symmetric.canary-input"; cat "$IN/symmetric.canary-input"; } > "$k/current"
head -c 40 "$IN/private.canary-input" > "$p/current"
head -c 20 "$IN/symmetric.canary-input" >> "$k/current"
echo > "$p/rotate"
"$PYTHON" -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.write(fd, open(sys.argv[2], "rb").read()[:31])
os.kill(os.getpid(), 9)' "$k/current" "$IN/symmetric.canary-input"
"$PYTHON" -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
open(sys.argv[1], "wb").write(open(sys.argv[2], "rb").read())
os.pwrite(fd, b"x", 0)
os.close(fd)' "$k/current" "$IN/text.canary-input"
cat "$k"/20* .keyfs/* > /dev/null
cat audit-log/@global/current                               # damaged
ls -laR . > /dev/null
cp --remove-destination "$IN/symmetric.canary-input" "$k/current"; sed -i s/a/a/ "$k/current"
cp "$IN/text.canary-input" "$k/x"; mv "$k/x" "$k/current"   # a scratch file becomes the key
cp "$IN/private.canary-input" "$k/x"; mv "$k/x" "$k/current"                             # refused
rm "$k/current"; mv "$k/current" "$k/y"; chmod 644 "$k/current"; ln "$k/current" x; mkdir x
cp "$k/current" "$IN/read.canary-input"
true
"""


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Traced:
    if shutil.which("strace") is None:
        pytest.fail("strace is missing: scripts/setup --test installs it")
    place = tmp_path_factory.mktemp("traced")
    environment = {
        "KEYFS_STORE": str(place / "keys"),
        "ACRA_MASTER_KEY": b64encode(canary.MASTER_KEY).decode(),
        "KEYFS_DEBUG": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "KEYFS_LOG_LEVEL": "debug",
        "KEYFS_LOG_FILE": str(place / "daemon.log"),
    }
    for name, material in (
        ("symmetric", canary.SYMMETRIC),
        ("text", canary.TEXT),
        ("private", canary.PRIVATE),
    ):
        (place / f"{name}.canary-input").write_bytes(material)
    run_keyfs("init", environment=environment)
    for label, name in (
        ("storage-sym/alice", "symmetric"),
        ("hmac-sym/alice", "text"),
        ("storage/alice", "private"),
        ("poison-record", "private"),
        ("audit-log", "symmetric"),
    ):
        path = place / f"{name}.canary-input"
        ran = run_keyfs("generate", label, "--from-file", path, environment=environment)
        assert (ran.returncode, canary.found_in(ran.stdout + ran.stderr)) == (0, [])
    (place / "keys/secure_log_key").write_bytes(bytes(76))
    return mount_and_trace(place, environment)


def mount_and_trace(place: Path, environment: dict[str, str]) -> Traced:
    mountpoint, trace = place / "mount", place / TRACE
    mountpoint.mkdir()
    # -b: other programs are let go when they start. strace asks the file system about a file that was open
    # when it went away, and waits for ever if that is of the mount, as those of the outside process are.
    tracer = ["strace", "-f", "-b", "execve", "-y", "-xx", "-s", "1000000"]
    tracer += ["-e", f"trace={CALLS}", "-o", str(trace)]
    command = [sys.executable, "-m", "keyfs", "mount", "--foreground", "--allow-other", str(mountpoint)]
    with subprocess.Popen(
        [*tracer, *command],
        env=keyfs_environment(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            until(lambda: is_mounted(mountpoint) and (mountpoint / ".keyfs/status").exists())
            daemon = daemon_of(mountpoint)
            inputs = {"IN": str(place), "TEXT": canary.TEXT.decode(), "PYTHON": sys.executable}
            shell = subprocess.run(
                ["bash", "-c", SCENARIO],
                cwd=mountpoint,
                env={"PATH": os.environ["PATH"], **inputs},
                capture_output=True,
                check=False,
            )
            if os.geteuid() == 0:
                denied = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "cat", "storage/alice/current"]
                assert (
                    subprocess.run(denied, cwd=mountpoint, capture_output=True, check=False).returncode == 1
                )
            command_lines = [(Path("/proc") / str(daemon) / "cmdline").read_bytes()]
            os.kill(daemon, signal.SIGTERM)
            said = process.communicate(timeout=WITHIN_S)[0]
        finally:
            process.kill()
    assert process.returncode == 0, said
    return Traced(place, list(parsed(trace)), said + shell.stdout + shell.stderr, command_lines)


def test_the_trace_sees_what_it_has_to_see(traced: Traced) -> None:
    """Plaintext goes to readers; sealed bytes go to the disk; the log is written."""
    written = [(path, data) for name, path, data in traced.calls if "write" in name]
    to_kernel = b"".join(data for path, data in written if path == "/dev/fuse")
    assert {"symmetric key as raw bytes", "text key as raw bytes", "private key as raw bytes"} <= set(
        canary.found_in(to_kernel)
    )
    staged = [data for path, data in written if "/keys.keyfs/staging/" in path]
    assert {len(data) for data in staged} == {76, 89, 45}
    assert [data for path, data in written if path.endswith("/daemon.log") and b"mount.ready" in data]
    log = (traced.place / "daemon.log").read_text()
    for event in ("rotation.committed", "import.refused", "request.failed", "access.denied", "mount.ended"):
        assert event in log or (event == "access.denied" and os.geteuid() != 0)


def test_no_key_is_written_to_anything_but_the_kernel_and_pipes(traced: Traced) -> None:
    for name, path, data in traced.calls:
        if path != "/dev/fuse":
            assert (name, path, canary.found_in(data)) == (name, path, [])


def test_bytes_reach_files_only_by_calls_that_are_looked_at(traced: Traced) -> None:
    """Nothing is spliced; only the staging area and the log are written to."""
    assert not [call for call in traced.calls if call[0] in ("splice", "vmsplice", "sendfile")]
    files = {path for name, path, _ in traced.calls if "write" in name and path.startswith("/")}
    allowed = (f"{traced.place}/keys.keyfs/staging/", f"{traced.place}/daemon.log", "/dev/fuse", "/memfd:")
    assert {path for path in files if not path.startswith(allowed)} == set()


def test_no_other_program_gets_the_environment_and_no_key_is_an_argument(traced: Traced) -> None:
    """In the environment is the master key.

    The process that uses the mount from outside gets none; ldconfig, which inotify_simple has asked where
    libc is, gets two variables from Python.
    """
    executed = [data for name, _, data in traced.calls if name == "execve"]
    assert {os.path.basename(data.split(b"\n")[0]) for data in executed[1:]} <= {b"ldconfig", PYTHON}
    assert [data for data in executed[1:] if b"outside.py" in data]
    variables = VARIABLES.findall((traced.place / TRACE).read_text())
    assert len(variables) == len(executed)
    assert all(int(count) <= 2 for count in variables[1:])
    assert canary.found_in(b"".join(executed)) == []
    assert canary.found_in(b"".join(traced.command_lines)) == []


def test_no_key_is_said_or_logged(traced: Traced) -> None:
    assert canary.found_in(traced.said) == []
    assert canary.found_in((traced.place / "daemon.log").read_bytes()) == []


def test_no_key_is_left_in_a_file(traced: Traced) -> None:
    assert canary.left_below(traced.place) == {}
    assert canary.found_in((traced.place / "read.canary-input").read_bytes())


def test_nothing_of_the_scenario_was_in_vain(traced: Traced) -> None:
    environment = {"KEYFS_STORE": str(traced.place / "keys")}
    listed = run_keyfs("list", "--versions", environment=environment).stdout.decode()
    assert listed.count("storage-sym\talice\t") == 8
    assert listed.count("storage\talice\t") == 4
    assert b"Invalid argument" in traced.said
    assert b"Stale file handle" in traced.said
    assert b"Bad message" in traced.said
