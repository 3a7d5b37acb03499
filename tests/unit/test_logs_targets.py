"""Where the log goes: each target gets every line, and one that fails stops nobody."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyfs import logs
from keyfs.errors import InvalidSettings


@pytest.fixture
def restored() -> Iterator[None]:
    root, top = logging.getLogger(), logging.getLogger("keyfs")
    before = root.level, top.level, list(root.handlers)
    yield
    for handler in set(root.handlers) - set(before[2]):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(before[0])
    top.setLevel(before[1])


@pytest.mark.usefixtures("restored")
def test_a_file_is_made_for_owner_and_group_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "keyfs.log"
    for number in (1, 2):
        logs.configure("info", str(path))
        logs.event(logging.getLogger("keyfs.test"), logging.INFO, "it.happened", number=number)
    assert [line.split(" ", 1)[1] for line in path.read_text().splitlines()] == [
        "info it.happened number=1",
        "info it.happened number=2",
    ]
    assert path.stat().st_mode & 0o137 == 0


@pytest.mark.usefixtures("restored")
def test_the_level_is_for_keyfs_and_others_are_heard_from_warning_on(tmp_path: Path) -> None:
    path = tmp_path / "keyfs.log"
    logs.configure("DEBUG", str(path))
    logs.event(logging.getLogger("keyfs.test"), logging.DEBUG, "detail.seen")
    logging.getLogger("keyfs_test_other").info("not heard")
    logging.getLogger("keyfs_test_other").warning("heard")
    logs.configure("error", str(path))
    logs.event(logging.getLogger("keyfs.test"), logging.INFO, "not.heard")
    assert [line.split(" ", 1)[1] for line in path.read_text().splitlines()] == [
        "debug detail.seen",
        "warning keyfs_test_other message=heard",
    ]


@pytest.mark.usefixtures("restored")
def test_a_rotated_file_is_reopened_and_a_lost_folder_is_survived(tmp_path: Path) -> None:
    folder, logger = tmp_path / "log", logging.getLogger("keyfs.test")
    folder.mkdir()
    logs.configure("info", str(folder / "keyfs.log"))
    logs.event(logger, logging.INFO, "first.line")
    (folder / "keyfs.log").rename(folder / "keyfs.log.1")
    logs.event(logger, logging.INFO, "second.line")
    assert "second.line" in (folder / "keyfs.log").read_text()
    folder.rename(tmp_path / "gone")
    logs.event(logger, logging.INFO, "lost.line")
    logs.event(logger, logging.INFO, "lost.line")
    folder.mkdir()
    logs.event(logger, logging.INFO, "third.line")
    assert (folder / "keyfs.log").read_text().endswith("info third.line\n")


@pytest.mark.usefixtures("restored")
def test_syslog_gets_the_line_with_program_and_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", str(tmp_path / "log"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.settimeout(5)
        syslog.bind(str(tmp_path / "log"))
        logs.configure("info", "syslog")
        logs.event(logging.getLogger("keyfs.test"), logging.INFO, "it.happened", x=1)
        message = syslog.recv(4096).decode()
    assert message.startswith(f"<30>keyfs[{os.getpid()}]: ")
    assert message.endswith(" info it.happened x=1")


@pytest.mark.usefixtures("restored")
def test_a_syslog_that_starts_again_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(str(path))
        logs.configure("info", "syslog")
    logs.event(logging.getLogger("keyfs.test"), logging.INFO, "lost.line")
    path.unlink()
    logs.event(logging.getLogger("keyfs.test"), logging.INFO, "lost.line")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.settimeout(5)
        second.bind(str(path))
        logs.event(logging.getLogger("keyfs.test"), logging.INFO, "it.happened")
        assert second.recv(4096).endswith(b" info it.happened")


@pytest.mark.usefixtures("restored")
def test_a_syslog_that_reads_no_more_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", str(tmp_path / "log"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.settimeout(5)
        syslog.bind(str(tmp_path / "log"))
        logs.configure("info", "syslog")
        for number in range(2000):  # far more than the kernel queues
            logs.event(logging.getLogger("keyfs.test"), logging.INFO, "it.happened", number=number)
        while not syslog.recv(4096).endswith(b"=0"):
            pass


@pytest.mark.usefixtures("restored")
def test_bad_settings_are_refused_and_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", str(tmp_path / "no-syslog"))
    before = list(logging.getLogger().handlers)
    for level, target, words in [
        ("loud", "stderr", "'loud' is unknown; use one of: debug, info, warning, error"),
        ("info", str(tmp_path / "absent" / "log"), "No such file or directory"),
        ("info", "syslog", str(tmp_path / "no-syslog")),
    ]:
        with pytest.raises(InvalidSettings) as caught:
            logs.configure(level, target)
        assert words in str(caught.value)
    assert logging.getLogger().handlers == before


def test_a_closed_stderr_and_a_bad_call_do_not_stop_the_program() -> None:
    probe = (
        "import logging, sys; from keyfs import logs; "
        "logs.configure('info', 'stderr'); log = logging.getLogger('keyfs.x'); "
        "log.warning('%d', 'secret argument'); sys.stderr.close(); "
        "logs.event(log, logging.INFO, 'it.happened'); print('alive')"
    )
    ran = subprocess.run([sys.executable, "-c", probe], check=False, capture_output=True, text=True)
    assert ran.stdout == "alive\n"
    assert "secret argument" not in ran.stderr
    assert ran.stderr.count("\n") == 1
