"""keyfs checks permissions itself, so that a denial is seen; and names lead nowhere but to keys."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from written_ring import OLD

from keyfs.testing.live import LiveStore, live_store

NOBODY = 65534
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("shared"), "--allow-other") as store:
        store.make("storage-sym/alice", OLD)
        store.make("storage/alice")
        store.make("storage/alice")
        yield store


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("private")) as store:
        store.make("storage/alice")
        yield store


def as_nobody(
    root: Path, script: str, *, groups: str = "--clear-groups"
) -> "subprocess.CompletedProcess[str]":
    """Runs a shell script in the mount as another user, who could not walk there from the root directory."""
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", groups, "sh", "-c", script]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, errors="replace", check=False)


# --- other users ---

DENIED = {
    "read current": "cat storage-sym/alice/current",
    "read a private half": "cat storage/alice/current",
    "read a retired version": "cat storage/alice/20*[0-9]",
    "read rotate": "cat storage/alice/rotate",
    "write current": "echo 0123456789abcdef0123456789abcdef > storage-sym/alice/current",
    "append": "echo >> storage-sym/alice/current",
    "rotate": "echo > storage-sym/alice/rotate",
    "truncate": "truncate -s 0 storage-sym/alice/current",
    "write a public half": "echo > storage/alice/current.pub",
    "create": "echo > storage/alice/x",
}


@ROOT_ONLY
@pytest.mark.parametrize("script", DENIED.values(), ids=DENIED)
def test_another_user_is_denied_what_is_private(shared: LiveStore, script: str) -> None:
    before = shared.versions("storage-sym/alice"), shared.versions("storage/alice")
    ran = as_nobody(shared.mountpoint, script)
    assert ran.returncode != 0
    assert ran.stdout == ""
    assert "Permission denied" in ran.stderr
    assert (shared.versions("storage-sym/alice"), shared.versions("storage/alice")) == before


ALLOWED = {
    "list all": "ls -laR .",
    "read public halves": "cat storage/alice/*.pub",
    "read the inventory": "cat .keyfs/*",
    "stat a private file": "stat storage/alice/current",
    "statfs": "stat -f .",
}


@ROOT_ONLY
@pytest.mark.parametrize("script", ALLOWED.values(), ids=ALLOWED)
def test_another_user_may_list_and_read_what_is_public(shared: LiveStore, script: str) -> None:
    ran = as_nobody(shared.mountpoint, script)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout


@ROOT_ONLY
def test_a_denial_is_logged_with_who_and_what(shared: LiveStore) -> None:
    as_nobody(shared.mountpoint, "cat storage-sym/alice/current")
    as_nobody(shared.mountpoint, "echo > storage/alice/rotate")
    read = shared.logged("warning access.denied", "path=storage-sym/alice/current want=read")
    write = shared.logged("warning access.denied", "path=storage/alice/rotate want=write")
    assert read
    assert write
    assert all(f"uid={NOBODY} pid=" in line for line in read + write)


@ROOT_ONLY
def test_access_is_answered_as_open_is(shared: LiveStore) -> None:
    script = (
        "for f in current current.pub rotate; do for how in r w; do test -$how $f && echo $how $f; done; done"
    )
    ran = as_nobody(shared.mountpoint / "storage/alice", script)
    assert ran.stdout.split() == ["r", "current.pub"]


@ROOT_ONLY
def test_the_group_of_the_owner_alone_opens_nothing(shared: LiveStore) -> None:
    """Private files have no bit for the group."""
    ran = as_nobody(shared.mountpoint, "cat storage-sym/alice/current", groups="--groups=0")
    assert "Permission denied" in ran.stderr


@ROOT_ONLY
def test_without_allow_other_other_users_are_shut_out(private: LiveStore) -> None:
    for script in ("ls .", "ls storage", "cat storage/alice/current.pub", "cat .keyfs/status"):
        ran = as_nobody(private.mountpoint, script)
        assert ran.returncode != 0, script
        assert "Permission denied" in ran.stderr, script
        assert ran.stdout.count("\n") <= 1, script


# --- names ---


@pytest.mark.parametrize("place", ["", "storage", "storage/alice", ".keyfs"])
def test_a_name_that_is_too_long(private: LiveStore, place: str) -> None:
    for length, number in ((256, errno.ENOENT), (257, errno.ENAMETOOLONG), (1024, errno.ENAMETOOLONG)):
        with pytest.raises(OSError, match=os.strerror(number)):
            os.stat(private.mountpoint / place / ("x" * length))


NOWHERE = [
    b"nonsense",
    b"Storage",
    b"storage/nobody",
    b"storage/@global",
    b"storage/alice/2020-01-01T00:00:00",
    b"storage/alice/1",
    b"storage/alice/current.pub.pub",
    b"storage/alice/current.old",
    b"storage/alice_storage",
    b"storage-sym/alice",
    b"storage-sym/alice/current",
    b"audit-log/@global",
    b"audit-log/alice",
    b"legacy-auth",
    b".keyfs/lock",
    b".keyfs/keys",
    b"storage/al\xff\xfe",
    b"storage/\xc3\xa4lice",
    b"storage/al\nice",
    b"storage/al%69ce",
    b"storage/alice/curr\xffent",
    b"storage/alice/\x01",
    b"\xed\xa0\x80",
    b"storage/alice/*",
]


@pytest.mark.parametrize("name", NOWHERE, ids=repr)
def test_a_name_that_is_no_key_is_not_there(private: LiveStore, name: bytes) -> None:
    path = os.fsencode(private.mountpoint) + b"/" + name
    for look in (os.stat, os.listdir, lambda p: os.open(p, os.O_RDONLY)):
        with pytest.raises(FileNotFoundError):
            look(path)


def test_dots_stay_within_the_mount(private: LiveStore) -> None:
    """The kernel resolves them; keyfs never sees one."""
    mount = private.mountpoint
    assert (mount / "storage/../storage/./alice/../alice/current").samefile(mount / "storage/alice/current")
    assert os.path.samefile(mount / "storage/..", mount)
    with pytest.raises(FileNotFoundError):
        os.stat(mount / "storage/alice/../../../keys/nothing")
    with pytest.raises(NotADirectoryError):
        os.stat(mount / "storage/alice/current/..")


def test_a_nul_byte_does_not_even_reach_the_kernel(private: LiveStore) -> None:
    with pytest.raises(ValueError, match="null byte"):
        os.stat(f"{private.mountpoint}/storage/alice\0/current")
