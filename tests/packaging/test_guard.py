"""The guard of a mountpoint: what comes before the mount gets an error, and leaves no key on the disk."""

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyfs.fs.guard import GUARD_FILE
from keyfs.testing import canary
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.other_user import beside_nobody

LABEL = "storage-sym/alice"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can guard a mountpoint")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LiveStore]:
    made = new_live_store(tmp_path)
    made.make(LABEL)
    yield made
    run_keyfs("guard", "--remove", made.mountpoint, environment={})  # else nobody can remove the folder


def guarded(store: LiveStore) -> str:
    ran = run_keyfs("guard", store.mountpoint, environment={})
    assert (ran.returncode, ran.stderr) == (0, b"")
    return ran.stdout.decode()


def mountpoint_in(doctor: "subprocess.CompletedProcess[bytes]") -> str:
    return next(line for line in doctor.stdout.decode().splitlines() if " mountpoint: " in line)


def test_it_says_what_it_did(store: LiveStore) -> None:
    said = guarded(store)
    assert said.startswith(f"guarded: {store.mountpoint} holds {GUARD_FILE}")
    assert guarded(store) == said
    assert stat.S_IMODE(store.mountpoint.stat().st_mode) == 0
    assert os.listdir(store.mountpoint) == [GUARD_FILE]
    assert "keyfs is not mounted here" in (store.mountpoint / GUARD_FILE).read_text()


def test_a_script_that_comes_before_the_mount_leaves_no_key(store: LiveStore, tmp_path: Path) -> None:
    """Even one of root, where the file system has the flag: ext4, xfs and btrfs do, a newer tmpfs, too."""
    if "is immutable" not in guarded(store):
        pytest.skip("this file system has no immutable flag")
    key = tmp_path / "key.canary-input"
    key.write_bytes(canary.SYMMETRIC)
    script = 'cp "$1" "$2/current"; mkdir -p "$2/storage-sym/alice" && cp "$1" "$2/storage-sym/alice/current"'
    script += '; cat "$1" > "$2/x"; cat "$1" >> "$2/$3"; rm -f "$2/$3"; mv "$1" "$2"'
    ran = subprocess.run(
        ["bash", "-c", script, "bash", key, store.mountpoint, GUARD_FILE], check=False, capture_output=True
    )
    assert ran.returncode != 0
    assert ran.stderr.count(b"Operation not permitted") >= 6
    assert os.listdir(store.mountpoint) == [GUARD_FILE]
    assert canary.left_below(store.mountpoint) == {}


def test_a_user_finds_it_closed(store: LiveStore, tmp_path: Path) -> None:
    script = """
"$PYTHON" -m keyfs guard mount > /dev/null
nobody cat mount/storage-sym/alice/current || echo unread
nobody cp master.key mount/current || echo unwritten
nobody ls mount || echo unlisted
"$PYTHON" -m keyfs guard --remove mount
nobody ls mount && echo open
"""
    ran = beside_nobody(tmp_path, script)
    assert ran.stdout == "unread\nunwritten\nunlisted\nopen\n"
    assert ran.stderr.count("Permission denied") == 3, ran.stderr


@pytest.mark.usefixtures("fuse_required")
def test_keyfs_mounts_on_it_as_on_an_empty_directory(store: LiveStore) -> None:
    guarded(store)
    with mounted(store.mountpoint, environment=store.environment) as root:
        assert (root / LABEL / "current").read_bytes() == store.versions(LABEL)["current"]
        assert GUARD_FILE not in os.listdir(root)
        assert "keyfs is mounted at" in mountpoint_in(run_keyfs("doctor", root, environment={}))
        refused = run_keyfs("guard", root, environment={})
        assert (refused.returncode, b"is mounted at" in refused.stderr) == (19, True)
    assert os.listdir(store.mountpoint) == [GUARD_FILE]


def test_the_doctor_tells_whether_a_mountpoint_is_guarded(store: LiveStore) -> None:
    before = mountpoint_in(run_keyfs("doctor", store.mountpoint, environment={}))
    assert before.startswith("warning")
    guarded(store)
    after = mountpoint_in(run_keyfs("doctor", store.mountpoint, environment={}))
    assert after.startswith("ok" if "is immutable" in guarded(store) else "warning")
    run_keyfs("guard", "--remove", store.mountpoint, environment={})
    assert mountpoint_in(run_keyfs("doctor", store.mountpoint, environment={})) == before
    nowhere = store.mountpoint / "nowhere"
    assert mountpoint_in(run_keyfs("doctor", nowhere, environment={})).startswith("missing")


def test_it_is_taken_away_again(store: LiveStore) -> None:
    guarded(store)
    for _ in range(2):
        ran = run_keyfs("guard", "--remove", store.mountpoint, environment={})
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
        assert os.listdir(store.mountpoint) == []
        assert stat.S_IMODE(store.mountpoint.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", [GUARD_FILE, "mine"])
def test_a_directory_with_anything_else_in_it_is_no_guarded_one(store: LiveStore, name: str) -> None:
    (store.mountpoint / "mine").write_text("hidden")
    (store.mountpoint / name).touch()
    for words in (("guard",), ("mount",), ("guard", "--remove")):
        ran = run_keyfs(*words, store.mountpoint, environment=store.environment)
        assert (ran.returncode, ran.stdout) == (19, b"")
        assert b"is not empty" in ran.stderr
    assert (store.mountpoint / "mine").read_text() == "hidden"


def test_a_user_cannot_guard_what_he_could_not_mount_on_then(store: LiveStore, tmp_path: Path) -> None:
    ran = beside_nobody(tmp_path, "keyfs guard mount || echo $?; picture | grep '^./mount '")
    assert ran.stdout.startswith("19\n./mount 755 "), ran.stdout
    assert "sudo keyfs guard /mnt/mount" in ran.stderr


def test_without_the_right_to_set_the_flag_the_mode_guards(store: LiveStore, tmp_path: Path) -> None:
    """As in a user namespace, or on a file system that has no flags."""
    script = """
setpriv --inh-caps=-all --bounding-set=-linux_immutable "$PYTHON" -m keyfs guard mount
"$PYTHON" -m keyfs doctor mount | grep mountpoint
"$PYTHON" -m keyfs mount mount && ls mount/storage-sym && "$PYTHON" -m keyfs umount mount
setpriv --inh-caps=-all --bounding-set=-linux_immutable "$PYTHON" -m keyfs guard --remove mount
ls -A mount
"""
    ran = beside_nobody(tmp_path, script)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        f"guarded: /mnt/mount holds {GUARD_FILE}; no immutable flag here, so root can still write there",
        "warning  mountpoint: /mnt/mount is guarded by its mode alone: root can write there before the mount",
        "alice",
    ]


def test_what_was_interrupted_is_made_again(store: LiveStore) -> None:
    """The guard, and its removal: each step of them leaves what the same command takes on from."""
    guarded(store)
    file = store.mountpoint / GUARD_FILE
    subprocess.run(["chattr", "-f", "-i", store.mountpoint], check=False)
    store.mountpoint.chmod(0o755)
    assert guarded(store).startswith("guarded")
    assert stat.S_IMODE(store.mountpoint.stat().st_mode) == 0
    subprocess.run(["chattr", "-f", "-i", store.mountpoint, file], check=False)
    store.mountpoint.chmod(0o755)
    assert run_keyfs("guard", "--remove", store.mountpoint, environment={}).returncode == 0
    assert os.listdir(store.mountpoint) == []


def test_a_link_of_that_name_is_not_written_through(store: LiveStore, tmp_path: Path) -> None:
    """Else who owns the directory would have root write, and change modes, where it points to."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "mine").chmod(0o600)
    (store.mountpoint / GUARD_FILE).symlink_to(tmp_path / "mine")
    ran = run_keyfs("guard", store.mountpoint, environment={})
    assert (ran.returncode, ran.stdout) == (19, b"")
    assert b"Too many levels of symbolic links" in ran.stderr
    assert ((tmp_path / "mine").read_text(), (tmp_path / "mine").stat().st_mode & 0o777) == ("mine", 0o600)
    (store.mountpoint / GUARD_FILE).unlink()
    store.mountpoint.chmod(0o755)


def test_a_guard_that_may_not_be_taken_away_stays(store: LiveStore) -> None:
    """One line says why; nothing is half done."""
    if "is immutable" not in guarded(store):
        pytest.skip("this file system has no immutable flag")
    command = ["setpriv", "--inh-caps=-all", "--bounding-set=-linux_immutable"]
    ran = subprocess.run(
        [*command, os.path.realpath("/proc/self/exe"), "-m", "keyfs", "guard", "--remove", store.mountpoint],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 19
    assert os.strerror(errno.EPERM) in ran.stderr
    assert os.listdir(store.mountpoint) == [GUARD_FILE]
