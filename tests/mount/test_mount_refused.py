"""Where a mount cannot be made, nothing is changed, and one line says exactly what to do."""

import ctypes
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_life import is_mounted

from keyfs.errors import MountFailed
from keyfs.fs.outsider import Outsider
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.other_user import beside_nobody

ROOT_ONLY = pytest.mark.skipif(
    os.geteuid() != 0, reason="makes namespaces and device nodes, which needs root"
)


@pytest.fixture
def store(tmp_path: Path, fuse_required: None) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make("storage-sym/alice")
    return made


def refusal(store: LiveStore, mountpoint: Path, *options: str) -> str:
    """Tries to mount; returns the one line that says why not."""
    before = Path("/proc/self/mountinfo").read_bytes()
    ran = run_keyfs("mount", *options, mountpoint, environment=store.environment)
    said = ran.stderr.decode()
    assert (ran.returncode, ran.stdout) == (19, b""), said
    assert said.startswith("keyfs: ")
    assert said.count("\n") == 1, said
    assert Path("/proc/self/mountinfo").read_bytes().count(os.fsencode(mountpoint)) == before.count(
        os.fsencode(mountpoint)
    )
    return said.removeprefix("keyfs: ").rstrip("\n")


def test_no_mountpoint(store: LiveStore, tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    assert refusal(store, path) == f"there is no directory {path}: run mkdir -p {path}"
    assert not path.exists()


def test_a_file_for_a_mountpoint(store: LiveStore) -> None:
    path = store.master_key
    assert refusal(store, path) == f"{path} is not a directory: mount on an empty directory"


def test_a_mountpoint_that_is_not_empty(store: LiveStore) -> None:
    (store.mountpoint / "mine").write_text("hidden")
    said = "is not empty, and the mount would hide what is in it: mount on an empty directory"
    assert refusal(store, store.mountpoint) == f"{store.mountpoint} {said}"
    assert (store.mountpoint / "mine").read_text() == "hidden"


def test_a_second_mount_on_the_same_place(store: LiveStore) -> None:
    with mounted(store.mountpoint, environment=store.environment) as root:
        said = f"keyfs is mounted at {root} already: run keyfs umount {root} first"
        assert refusal(store, root) == said
        assert (root / ".keyfs/status").read_bytes()


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """A dead FUSE mount of another program."""
    place = tmp_path / "foreign"
    place.mkdir()
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"other", bytes(place), b"fuse.other", 0, options) == 0, ctypes.get_errno()
    os.close(device)
    yield place
    assert libc.umount2(bytes(place), 2) == 0


@ROOT_ONLY
def test_a_dead_mount_of_another_program(store: LiveStore, foreign: Path) -> None:
    said = f"{foreign} is a dead mount of type fuse.other: run fusermount3 -uz {foreign}"
    assert refusal(store, foreign) == said
    assert is_mounted(foreign)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("bogus", "fuse: unknown option(s): `-o bogus'"),
        ("noatime,bogus,ro", "fuse: unknown option(s): `-o bogus'"),
        ("fsname=\u00e4", "an option is not ASCII"),
    ],
)
def test_an_option_that_is_none(store: LiveStore, options: str, said: str) -> None:
    assert refusal(store, store.mountpoint, "-o", options) == (
        f"cannot mount at {store.mountpoint}: {said}: mend the options given with -o, "
        f"or run keyfs doctor to see what is missing"
    )


def test_a_log_file_that_cannot_be_written(store: LiveStore) -> None:
    """The daemon would die when it turns from the terminal to its log."""
    path = "/proc/nothing/log"
    ran = run_keyfs("mount", "--log-file", path, store.mountpoint, environment=store.environment)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.startswith(b"keyfs: cannot log to /proc/nothing/log (No such file or directory); ")
    assert ran.stderr.count(b"\n") == 1
    assert not is_mounted(store.mountpoint)


def test_a_python_that_cannot_be_started_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user who got it from root, and may not enter the folder where it lies."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(MountFailed, match=r"cannot start /no/such/python beside the mount \(No such file"):
        Outsider()


# --- options that are passed on ---


@pytest.mark.parametrize(
    ("options", "shown", "hidden"),
    [
        ("", "rw nosuid nodev noexec relatime fuse.keyfs keyfs", "ro allow_other"),
        ("-o ro", "ro nosuid nodev noexec", "rw"),
        ("-o noatime,dirsync -o exec", "rw noatime dirsync nosuid nodev", "noexec relatime"),
        ("-o suid,dev,exec,rw", "rw relatime", "nosuid nodev noexec"),
        ("-o dev,nodev", "nodev", ""),
        ("--read-only -o rw", "ro", "rw"),
        ("-o allow_other", "allow_other", ""),
        ("--allow-other", "allow_other", ""),
        ("-o subtype=mine,fsname=named", "named fuse.keyfs", "keyfs"),
        ("-o ,,,", "rw keyfs", ""),
    ],
)
def test_mount_options_are_passed_on(store: LiveStore, options: str, shown: str, hidden: str) -> None:
    """Of two that contradict each other the later one counts, but `-o rw` loses to --read-only."""
    with mounted(store.mountpoint, *options.split(), environment=store.environment) as root:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        name, _, kind, words, *_ = next(line.split(" ") for line in lines if f" {root} " in line)
        seen = {name, kind, *words.split(",")}
        assert set(shown.split()) <= seen
        assert not set(hidden.split()) & seen
        assert (root / "storage-sym/alice/rotate").exists() == ("rw" in seen)


# --- other users, other machines ---

# What a machine with udev has: a device node for everyone. Of its own, because the machine that runs this may
# have none such.
DEVICE = """
mknod -m "$NODE_MODE" fuse c 10 229
mount --bind fuse /dev/fuse
trap 'umount -l /mnt/mount 2> /dev/null || true' EXIT
"""


def beside_a_user(store: LiveStore, script: str, mode: str = "666") -> "subprocess.CompletedProcess[str]":
    """Runs a bash script with a device node, a store and a mountpoint for an ordinary user."""
    return beside_nobody(store.root.parent, DEVICE + script, {"NODE_MODE": mode})


@ROOT_ONLY
def test_an_ordinary_user_can_mount_rotate_and_unmount(store: LiveStore) -> None:
    (old,) = store.versions("storage-sym/alice").values()
    ran = beside_a_user(
        store,
        """
        keyfs mount /mnt/mount
        nobody stat -c '%U %a' /mnt/mount/storage-sym/alice/current
        cat /mnt/mount/storage-sym/alice/current && echo "root is not let in" || true
        nobody sh -c 'cp /mnt/mount/storage-sym/alice/current /mnt/keys.keyfs/old.canary-input'
        nobody sh -c 'echo > /mnt/mount/storage-sym/alice/rotate'
        nobody sh -c 'cmp /mnt/mount/storage-sym/alice/20* /mnt/keys.keyfs/old.canary-input'
        keyfs umount /mnt/mount
        keyfs list --versions | wc -l
        """,
    )
    assert ran.returncode == 0, ran.stderr
    assert "cat: /mnt/mount/storage-sym/alice/current: Permission denied" in ran.stderr
    assert ran.stdout == "nobody 600\n3\n"
    assert len(old) == 32


MACHINES = {
    "device of root alone": (
        "600",
        "keyfs mount /mnt/mount",
        "/dev/fuse has mode 0600 and is not open to user 65534: run chmod 666 /dev/fuse as root",
    ),
    "no device": (
        "666",
        "umount /dev/fuse; mount -t tmpfs none /dev; keyfs mount /mnt/mount",
        "there is no /dev/fuse: run modprobe fuse as root, or start the container with --device /dev/fuse",
    ),
    "no fusermount3": (
        "666",
        'ln -s "$(command -v setpriv)" /mnt/; PATH=/mnt keyfs mount /mnt/mount',
        "fusermount3 is missing: run apt-get install fuse3 as root",
    ),
    "allow_other": (
        "666",
        "touch /mnt/conf; mount --bind /mnt/conf /etc/fuse.conf; keyfs mount --allow-other /mnt/mount",
        "--allow-other is not open to users: run echo user_allow_other >> /etc/fuse.conf as root",
    ),
    "mountpoint of another": (
        "666",
        "install -d -m 700 /mnt/other; keyfs mount /mnt/other",
        "cannot look into /mnt/other: Permission denied",
    ),
    "no tool to unmount": (
        "666",
        'keyfs mount /mnt/mount; ln -s "$(command -v setpriv)" /mnt/; PATH=/mnt keyfs umount /mnt/mount',
        "cannot unmount /mnt/mount: neither fusermount3 nor umount is there: apt-get install fuse3",
    ),
}


@ROOT_ONLY
@pytest.mark.parametrize(("mode", "script", "said"), MACHINES.values(), ids=MACHINES)
def test_what_a_machine_lacks_is_named_with_the_command_that_mends_it(
    store: LiveStore, mode: str, script: str, said: str
) -> None:
    ran = beside_a_user(store, script, mode)
    assert (ran.returncode, ran.stdout, ran.stderr) == (19, "", f"keyfs: {said}\n")
    assert stat.S_ISCHR(os.stat("/dev/fuse").st_mode), "the machine itself was touched"
