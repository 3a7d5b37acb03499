"""What a key store mounted as files does not do: one honest errno each, and nothing changed."""

import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyfs.testing.live import LiveStore, live_store

SYMMETRIC = "storage-sym/alice"
PAIR = "storage/alice"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("refusals")) as store:
        for label in (SYMMETRIC, PAIR, SYMMETRIC, PAIR):
            store.make(label)
        yield store


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("read-only"), "--read-only") as store:
        for label in (SYMMETRIC, PAIR):
            store.make(label)
        yield store


def picture(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that a change of anything would change, but for what is told of refusals."""
    seen = {}
    for path in sorted({root, *root.rglob("*")} - {root / ".keyfs/rotations"}):
        facts = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(facts.st_mode) else b""
        seen[str(path.relative_to(root))] = (facts.st_mode, facts.st_mtime_ns, content)
    return seen


@pytest.fixture
def unchanged(live: LiveStore) -> Iterator[Path]:
    """The mount; at the end the mount and the store below must be as they were."""
    before = picture(live.root), picture(live.mountpoint)
    yield live.mountpoint
    assert (picture(live.root), picture(live.mountpoint)) == before


Change = Callable[[Path], object]


def stamped(directory: Path) -> Path:
    return next(path for path in directory.iterdir() if path.name.startswith("20") and path.suffix != ".pub")


REFUSED: dict[str, tuple[Change, int]] = {
    "rm a version": (lambda m: os.unlink(stamped(m / SYMMETRIC)), errno.EPERM),
    "rm current.pub": (lambda m: os.unlink(m / PAIR / "current.pub"), errno.EPERM),
    "rm rotate": (lambda m: os.unlink(m / PAIR / "rotate"), errno.EPERM),
    "rm status": (lambda m: os.unlink(m / ".keyfs/status"), errno.EACCES),
    "rmdir client": (lambda m: os.rmdir(m / SYMMETRIC), errno.ENOTEMPTY),
    "rmdir purpose": (lambda m: os.rmdir(m / "audit-log"), errno.EPERM),
    "mv version x": (lambda m: os.rename(stamped(m / SYMMETRIC), m / SYMMETRIC / "x"), errno.EPERM),
    "mv current.pub": (lambda m: os.rename(m / PAIR / "current.pub", m / PAIR / "x"), errno.EPERM),
    "mv rotate": (lambda m: os.rename(m / PAIR / "rotate", m / PAIR / "x"), errno.EPERM),
    "mv current to a stamp": (
        lambda m: os.rename(m / SYMMETRIC / "current", m / SYMMETRIC / "2020-01-01T00:00:00"),
        errno.EACCES,
    ),
    "mv to another key": (
        lambda m: os.rename(m / SYMMETRIC / "current", m / "storage-sym" / "bobby"),
        errno.EXDEV,
    ),
    "mv client": (lambda m: os.rename(m / SYMMETRIC, m / "storage-sym/bobby"), errno.EPERM),
    "mkdir no client id": (lambda m: os.mkdir(m / "storage-sym/bob"), errno.EACCES),
    "mkdir too long": (lambda m: os.mkdir(m / "storage-sym" / ("b" * 240)), errno.ENAMETOOLONG),
    "mkdir a client again": (lambda m: os.mkdir(m / SYMMETRIC), errno.EEXIST),
    "mkdir in a global purpose": (lambda m: os.mkdir(m / "audit-log/bobby"), errno.EPERM),
    "rmdir global": (lambda m: os.rmdir(m / "audit-log/@global"), errno.ENOENT),
    "mkdir purpose": (lambda m: os.mkdir(m / "mine"), errno.EPERM),
    "mkdir in client": (lambda m: os.mkdir(m / SYMMETRIC / "x"), errno.EPERM),
    "ln": (lambda m: os.link(m / SYMMETRIC / "current", m / SYMMETRIC / "x"), errno.EPERM),
    "ln -s": (lambda m: os.symlink("current", m / SYMMETRIC / "x"), errno.EPERM),
    "mkfifo": (lambda m: os.mkfifo(m / SYMMETRIC / "x"), errno.EPERM),
    "mknod": (lambda m: os.mknod(m / SYMMETRIC / "x", 0o600 | stat.S_IFREG), errno.EPERM),
    "create current.pub": (lambda m: (m / SYMMETRIC / "current.pub").write_bytes(b"x"), errno.EACCES),
    "create current.b64": (lambda m: (m / SYMMETRIC / "current.b64").write_bytes(b"x"), errno.EACCES),
    "create a stamp": (
        lambda m: (m / SYMMETRIC / "2020-01-01T00:00:00").write_bytes(bytes(32)),
        errno.EACCES,
    ),
    "create in purpose": (lambda m: (m / "storage-sym/current").write_bytes(bytes(32)), errno.EACCES),
    "create in root": (lambda m: (m / "x").write_bytes(b"x"), errno.EACCES),
    "create in .keyfs": (lambda m: (m / ".keyfs/x").write_bytes(b"x"), errno.EACCES),
    "write a version": (lambda m: stamped(m / SYMMETRIC).write_bytes(bytes(32)), errno.EACCES),
    "append to a version": (lambda m: stamped(m / PAIR).open("ab"), errno.EACCES),
    "write a public half": (lambda m: (m / PAIR / "current.pub").write_bytes(bytes(45)), errno.EACCES),
    "write status": (lambda m: (m / ".keyfs/status").open("r+b"), errno.EACCES),
    "truncate a version": (lambda m: os.truncate(stamped(m / SYMMETRIC), 0), errno.EACCES),
    "truncate a public half": (lambda m: os.truncate(m / PAIR / "current.pub", 0), errno.EACCES),
    "chmod more": (lambda m: (m / SYMMETRIC / "current").chmod(0o644), errno.EPERM),
    "chmod less": (lambda m: (m / SYMMETRIC / "current").chmod(0o400), errno.EPERM),
    "chmod directory": (lambda m: (m / SYMMETRIC).chmod(0o777), errno.EPERM),
    "chmod root": (lambda m: m.chmod(0o700), errno.EPERM),
    "chown": (lambda m: os.chown(m / SYMMETRIC / "current", 65534, -1), errno.EPERM),
    "chgrp": (lambda m: os.chown(m / PAIR / "current.pub", -1, 65534), errno.EPERM),
    "setxattr": (lambda m: os.setxattr(m / SYMMETRIC / "current", "user.x", b"y"), errno.ENOTSUP),
    "removexattr": (lambda m: os.removexattr(m / SYMMETRIC / "current", "user.x"), errno.ENODATA),
    "open a directory to write": (lambda m: os.open(m / SYMMETRIC, os.O_WRONLY), errno.EISDIR),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user gets EACCES for some of these")
@pytest.mark.parametrize(("change", "number"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_and_nothing_has_changed(unchanged: Path, change: Change, number: int) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        change(unchanged)
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[number]


ALLOWED: dict[str, Change] = {
    "utime": lambda m: os.utime(m / SYMMETRIC / "current", (1, 1)),
    "chmod to what it is": lambda m: (m / SYMMETRIC / "current").chmod(0o600),
    "chown to who has it": lambda m: os.chown(m / SYMMETRIC / "current", os.getuid(), os.getgid()),
    "truncate to nothing": lambda m: os.truncate(m / SYMMETRIC / "current", 0),
    "truncate to its size": lambda m: os.truncate(m / SYMMETRIC / "current", 32),
}


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED)
def test_what_programs_do_on_the_way_succeeds_and_changes_nothing(unchanged: Path, change: Change) -> None:
    change(unchanged)


TOOLS = {
    "rm -rf": "rm -rf {m}/storage-sym",
    "rm a version": "rm {m}/storage-sym/alice/20*",
    "rm -r a client": "rm -r {m}/storage/alice",
    "chmod": "chmod 644 {m}/storage-sym/alice/current",
    "chown": "chown 65534 {m}/storage-sym/alice/current",
}


@pytest.mark.parametrize("script", TOOLS.values(), ids=TOOLS)
def test_a_tool_that_would_destroy_or_expose_a_key_fails_aloud(unchanged: Path, script: str) -> None:
    command = ["bash", "-c", script.format(m=unchanged)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "Operation not permitted" in ran.stderr


HARMLESS = {
    "rm current": "rm {m}/storage-sym/alice/current",
    "rm current twice": "rm {m}/storage-sym/alice/current; rm {m}/storage-sym/alice/current",
    "mv current away": "mv {m}/storage/alice/current {t}/moved && shred -u {t}/moved",
    "mv current x and rm x": "cd {m}/storage-sym/alice && mv current x && rm x",
    "mkdir and rmdir": "mkdir {m}/storage-sym/bobby && rmdir {m}/storage-sym/bobby",
    "mkdir twice": "mkdir -p {m}/storage/bobby && mkdir -p {m}/storage/bobby && rmdir {m}/storage/bobby",
    "cp rotate": "cp {m}/storage/alice/rotate {m}/storage-sym/alice/rotate",
    "a scratch file": "echo x > {m}/storage/alice/x && rm {m}/storage/alice/x",
    "mv -n": "cd {m}/storage/alice && echo x > x && mv -n x current; rm x",
}


@pytest.mark.parametrize("script", HARMLESS.values(), ids=HARMLESS)
def test_a_tool_that_takes_a_name_away_succeeds_and_the_key_stays(
    unchanged: Path, tmp_path: Path, script: str
) -> None:
    command = ["bash", "-c", script.format(m=unchanged, t=tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


WRITES: dict[str, Change] = {
    "write current": lambda m: (m / SYMMETRIC / "current").write_bytes(bytes(32)),
    "create": lambda m: (m / SYMMETRIC / "x").write_bytes(bytes(32)),
    "append": lambda m: (m / PAIR / "current").open("ab"),
    "truncate": lambda m: os.truncate(m / SYMMETRIC / "current", 0),
    "rm": lambda m: os.unlink(m / SYMMETRIC / "current"),
    "mkdir": lambda m: os.mkdir(m / "x"),
    "chmod": lambda m: (m / SYMMETRIC / "current").chmod(0o600),
    "touch": lambda m: os.utime(m / SYMMETRIC / "current"),
    "rotate": lambda m: (m / SYMMETRIC / "rotate").write_bytes(b"\n"),
}


@pytest.mark.parametrize("change", WRITES.values(), ids=WRITES)
def test_a_read_only_mount_answers_erofs(read_only: LiveStore, change: Change) -> None:
    before = picture(read_only.root)
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        change(read_only.mountpoint)
    assert picture(read_only.root) == before
