"""What a service manager is told: sd_notify(3), heard on a real socket."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyfs.fs.notify import Notifier, notifier_of_environment
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment, outsider_of
from keyfs.testing.waiting import wait_until

LABEL = "storage-sym/alice"
WITHIN_S = 20.0
PERIOD_US = 300_000

pytestmark = pytest.mark.usefixtures("fuse_required")


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make(LABEL)
    return made


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A service manager's socket, and its name as NOTIFY_SOCKET has it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@keyfs-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(name.replace("@", "\0"))
        heard.settimeout(WITHIN_S)
        yield name, heard


@contextmanager
def started(store: LiveStore, name: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A service, and a program in the place of its master key that shows what it is given."""
    shown = store.root.parent / "shown"
    program = f"env > {shlex.quote(str(shown))}; cat {shlex.quote(str(store.master_key))}"
    script = store.root.parent / "program"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(0o700)
    told = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": str(PERIOD_US), **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "keyfs", "mount", "--foreground", str(store.mountpoint)],
        env=keyfs_environment({**store.environment, "KEYFS_MASTER_KEY": f"command:{script}", **told}),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def hear(heard: socket.socket) -> list[str]:
    return heard.recv(4096).decode().split("\n")


def hear_until(heard: socket.socket, word: str) -> list[str]:
    """What came up to the message that begins so; the last is that one."""
    said = [hear(heard)]
    while said[-1][0] != word:
        said.append(hear(heard))
    return [line for message in said for line in message]


def test_all_of_a_life(store: LiveStore, manager: tuple[str, socket.socket]) -> None:
    """Ready when a key can be read, alive, reloading and ready again, stopping."""
    name, heard = manager
    with started(store, name) as process:
        assert hear_until(heard, "READY=1")[-2:] == ["READY=1", f"STATUS=mounted at {store.mountpoint}"]
        assert (store.mountpoint / LABEL / "current").read_bytes() == store.versions(LABEL)["current"]
        assert hear(heard) == ["WATCHDOG=1"]
        process.send_signal(signal.SIGHUP)
        assert hear_until(heard, "RELOADING=1")[-1].startswith("MONOTONIC_USEC=")
        hear_until(heard, "READY=1")
        process.terminate()
        hear_until(heard, "STOPPING=1")
        assert process.wait(WITHIN_S) == 0
    assert "NOTIFY_SOCKET" not in (store.root.parent / "shown").read_text()
    assert "WATCHDOG_" not in (store.root.parent / "shown").read_text()


def test_no_sign_of_life_while_nothing_can_be_read_through_the_mount(
    store: LiveStore, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(WITHIN_S)
        with started(store, str(tmp_path / "notify")) as process:
            hear_until(heard, "READY=1")
            outsider = outsider_of(process.pid)
            os.kill(outsider, signal.SIGSTOP)
            wait_until(lambda: Path(f"/proc/{outsider}/stat").read_text().split()[2] == "T")
            heard.settimeout(3 * PERIOD_US / 1e6)
            with pytest.raises(TimeoutError):  # what was under way may still come, then nothing
                hear_until(heard, "nothing")
            os.kill(outsider, signal.SIGCONT)
            heard.settimeout(WITHIN_S)
            assert hear(heard) == ["WATCHDOG=1"]


def test_the_watchdog_of_another_process_is_not_fed(store: LiveStore, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(WITHIN_S)
        with started(store, str(tmp_path / "notify"), WATCHDOG_PID="1") as process:
            assert hear(heard)[0] == "READY=1"
            heard.settimeout(3 * PERIOD_US / 1e6)
            with pytest.raises(TimeoutError):
                hear(heard)
            process.terminate()
            assert hear(heard) == ["STOPPING=1"]
            assert process.wait(WITHIN_S) == 0


@pytest.mark.expects_log(r"notify\.failed")
def test_a_manager_that_is_gone_stops_nothing() -> None:
    Notifier("/nowhere/notify").tell("READY=1", "STATUS=x")


@pytest.mark.parametrize(
    ("usec", "pid", "watchdog_s"),
    [("1500000", "", 1.5), ("", "", 0), ("soon", "", 0), ("-5", "", 0), ("9", "1", 0)],
)
def test_what_the_environment_says_is_taken_out_of_it(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, watchdog_s: float
) -> None:
    for name, value in (("NOTIFY_SOCKET", "@x"), ("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.setenv(name, value)
    assert notifier_of_environment().watchdog_s == watchdog_s
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
    Notifier().tell("READY=1")  # nobody is told, and nothing is said of it
