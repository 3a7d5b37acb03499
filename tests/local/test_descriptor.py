"""`fd:` keeps the contract, reads each descriptor once, and refuses what nobody meant."""

import fcntl
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from refused import refusal

from keyfs.errors import InvalidSettings
from keyfs.master import descriptor
from keyfs.master.file import SIZE_LIMIT
from keyfs.master.registry import open_provider
from keyfs.testing.master_contract import CANARY, V1_TEXT, MasterKeyContract, Put

Pass = Callable[[int], int]
"""Gives a descriptor a number that no test had before, as an inherited one; closes the old number."""

# What was read is kept for the process by its number, so no number may come twice.
NUMBERS = itertools.count(300)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.fixture
def inherited() -> Iterator[Pass]:
    passed = []

    def inherited(number: int) -> int:
        passed.append(fcntl.fcntl(number, fcntl.F_DUPFD, next(NUMBERS)))
        os.close(number)
        return passed[-1]

    yield inherited
    for number in filter(is_open, passed):
        os.close(number)


def pipe_with(text: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, text)
    os.close(writer)
    return reader


class TestDescriptor(MasterKeyContract):
    @pytest.fixture
    def put(self, inherited: Pass) -> Put:
        def put(text: bytes | None) -> str:
            return f"fd:{next(NUMBERS) if text is None else inherited(pipe_with(text))}"

        return put


@pytest.mark.parametrize(
    "number", ["", "1", "2", "-1", "03", "3 ", "+3", "three", "٣", "12345678", V1_TEXT.decode()]
)
def test_what_is_no_descriptor_for_a_key_is_refused_and_not_repeated(number: str) -> None:
    message = refusal(f"fd:{number}", InvalidSettings)
    assert "such as fd:3" in message
    assert len(number) < 4 or number not in message


def test_a_descriptor_is_closed_when_it_was_read(inherited: Pass) -> None:
    number = inherited(pipe_with(V1_TEXT))
    open_provider(f"fd:{number}", "v1").fetch()
    assert not is_open(number)


def test_a_file_is_read_from_where_it_stands(inherited: Pass, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"####" + V1_TEXT)
    number = inherited(os.open(path, os.O_RDONLY))
    os.lseek(number, 4, os.SEEK_SET)
    assert open_provider(f"fd:{number}", "v1").fetch().encryption.reveal() == CANARY


def test_two_threads_that_fetch_at_once_get_one_key(inherited: Pass) -> None:
    uri = f"fd:{inherited(pipe_with(V1_TEXT))}"
    keys: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: keys.append(open_provider(uri, "v1").fetch().encryption.reveal()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys == [CANARY] * 8


def test_one_that_is_not_open_is_named() -> None:
    number = next(NUMBERS)
    message = refusal(f"fd:{number}")
    assert f"descriptor {number} cannot be read (Bad file descriptor)" in message
    assert f"{number}<FILE" in message


def test_one_that_is_open_for_writing_only_is_refused(inherited: Pass) -> None:
    assert "Bad file descriptor" in refusal(f"fd:{inherited(os.open(os.devnull, os.O_WRONLY))}")


def test_a_directory_is_refused(inherited: Pass) -> None:
    assert "Is a directory" in refusal(f"fd:{inherited(os.open('/', os.O_RDONLY))}")


def test_a_terminal_is_refused(inherited: Pass) -> None:
    leader, follower = os.openpty()
    try:
        assert "is a terminal" in refusal(f"fd:{inherited(follower)}")
    finally:
        os.close(leader)


def test_a_descriptor_of_our_own_is_left_alone() -> None:
    """Python opens all its files so that programs it starts do not get them."""
    reader, writer = os.pipe()
    try:
        number = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, next(NUMBERS))
        assert "none that keyfs was started with" in refusal(f"fd:{number}")
        assert is_open(number)
        os.close(number)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_writer_that_never_closes_is_given_up(inherited: Pass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptor, "WITHIN_S", 0.1)
    reader, writer = os.pipe()
    os.write(writer, V1_TEXT)
    number = inherited(reader)
    assert "did not end within 0.1 s" in refusal(f"fd:{number}")
    assert not is_open(number)
    os.close(writer)


def test_an_endless_one_is_not_read_to_its_end(inherited: Pass) -> None:
    assert f"longer than {SIZE_LIMIT}" in refusal(f"fd:{inherited(os.open('/dev/zero', os.O_RDONLY))}")


SCRIPT = """
import os, subprocess, sys
from keyfs.errors import MasterKeyUnavailable
from keyfs.master.registry import open_provider
provider = open_provider("fd:0", "v1")
print(len(provider.fetch().encryption), os.path.realpath("/proc/self/fd/0"), flush=True)
if os.fork() == 0:
    try:
        provider.fetch()
    except MasterKeyUnavailable as exc:
        print(exc, flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_standard_input_is_empty_afterwards_and_a_forked_child_says_that_it_has_no_copy() -> None:
    """What is read lies in memory that a forked child has not: looking there would end it with SIGSEGV."""
    ran = subprocess.run([sys.executable, "-c", SCRIPT], input=V1_TEXT, capture_output=True, check=True)
    assert ran.stdout.decode().splitlines() == [
        "32 /dev/null",
        "descriptor 0 was read before this process was forked",
        "0",
    ]
