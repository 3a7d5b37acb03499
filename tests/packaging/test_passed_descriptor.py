"""`/dev/fd/N` for a mountpoint: keyfs without any right serves a mount that somebody else has made."""

import hashlib
import os
import re
import sys
from pathlib import Path

import pytest

from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.needed import need
from keyfs.testing.other_user import NOBODY, beside_nobody

LABEL = "storage-sym/alice"
PASSED = Path(__file__).with_name("passed.py")
HELPER = Path(__file__).parents[2] / "packaging" / "mount.fuse.keyfs"
POWERLESS = "--clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs"

pytestmark = [
    pytest.mark.usefixtures("fuse_required"),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts for another user, which needs root"),
]

# What each way of starting has in common: a look at the process, reads, a rotation by another program.
THEN = """
echo "digest $(nobody cat mount/storage-sym/alice/current | sha256sum)"
echo "root $(sha256sum < mount/storage-sym/alice/current)"
pid=$(sed -n 's/^pid: //p' mount/.keyfs/status)
grep -E '^(Uid|CapPrm|CapEff|CapBnd|NoNewPrivs)' /proc/$pid/status
sed -n 's/^mountpoint/place/p' mount/.keyfs/status
"""
WATCH = """
nobody inotifywait --event close_write --timeout 20 mount/storage-sym/alice/current 2> watching > events &
watcher=$!
until grep -q established watching; do sleep 0.01; done
keyfs rotate storage-sym/alice > /dev/null
wait $watcher && echo woken
"""
END = """
umount mount
while kill -0 $pid 2>/dev/null; do :; done
echo ended
"""


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make(LABEL)
    return made


def run(place: Path, script: str, **variables: str) -> str:
    ran = beside_nobody(place, script, {"PASSED": str(PASSED), "HELPER": str(HELPER), **variables})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def check_powerless(printed: str, digest: str) -> None:
    assert f"digest {digest}  -" in printed
    assert f"root {digest}  -" in printed
    assert re.search(rf"^Uid:\s+{NOBODY}\s+{NOBODY}\s+{NOBODY}\s+{NOBODY}$", printed, re.MULTILINE)
    for rights in ("CapPrm", "CapEff", "CapBnd"):
        assert re.search(rf"^{rights}:\s+0{{16}}$", printed, re.MULTILINE), rights
    assert re.search(r"^NoNewPrivs:\s+1$", printed, re.MULTILINE)
    assert printed.endswith("ended\n")


def digest_of(store: LiveStore) -> str:
    return hashlib.sha256(store.versions(LABEL)["current"]).hexdigest()


def test_a_process_without_any_right_serves_a_mount_that_root_made(store: LiveStore, tmp_path: Path) -> None:
    """Who told it where the mount is finds its watchers woken, and readiness seen through the mount."""
    need("setpriv", "inotifywait")
    start = f"""
"$PYTHON" "$PASSED" /mnt/mount $NOBODY setpriv --reuid=$NOBODY --regid=$NOBODY {POWERLESS} \\
    "$PYTHON" -m keyfs mount --mounted-at /mnt/mount /dev/fd/@FD@
"""
    printed = run(tmp_path, start + THEN + WATCH + END)
    check_powerless(printed, digest_of(store))
    assert "woken\n" in printed
    assert "place: /mnt/mount\n" in printed


def test_it_serves_without_being_told_where_the_mount_is(store: LiveStore, tmp_path: Path) -> None:
    start = f"""
"$PYTHON" "$PASSED" /mnt/mount $NOBODY setpriv --reuid=$NOBODY --regid=$NOBODY {POWERLESS} \\
    "$PYTHON" -m keyfs mount /dev/fd/@FD@
"""
    printed = run(tmp_path, start + THEN + END)
    check_powerless(printed, digest_of(store))
    assert "place: /dev/fd/" in printed


def test_mount_fuse3_drops_the_rights_for_us(store: LiveStore, tmp_path: Path) -> None:
    """As from /etc/fstab: it mounts, changes the user, and starts our helper with the descriptor."""
    need("mount.fuse3", "inotifywait")
    start = """
mount.fuse3 "$HELPER#dir:/mnt/keys" /mnt/mount -o setuid=nobody,drop_privileges,allow_other,nosuid,nodev,\
master-key=file:/mnt/master.key,mounted-at=/mnt/mount,nofail
"""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    printed = run(tmp_path, start + THEN + WATCH + END, PATH=path)
    check_powerless(printed, digest_of(store))
    assert "woken\n" in printed


# --- what is no such descriptor ---


def refusal(store: LiveStore, *words: str) -> tuple[int, str]:
    ran = run_keyfs("mount", *words, environment=store.environment)
    said = ran.stderr.decode()
    assert said.count("\n") == 1, said
    return ran.returncode, said.removeprefix("keyfs: ").rstrip("\n")


def test_a_descriptor_that_is_not_open(store: LiveStore) -> None:
    said = "/dev/fd/77 is not open: pass the descriptor of the mount on to keyfs"
    assert refusal(store, "/dev/fd/77") == (19, said)


def test_a_descriptor_of_another_file(store: LiveStore) -> None:
    said = "/dev/fd/0 is not /dev/fuse: pass the descriptor with which the mount was made"
    assert refusal(store, "/dev/fd/0") == (19, said)


def test_a_descriptor_with_which_nothing_was_mounted(store: LiveStore, tmp_path: Path) -> None:
    script = """
exec 9<>/dev/fuse
"$PYTHON" -m keyfs mount --foreground /dev/fd/9 || echo $?
"""
    ran = beside_nobody(tmp_path, script)
    assert (ran.returncode, ran.stdout) == (0, "19\n"), ran.stderr
    assert ran.stderr == "keyfs: nothing is mounted with /dev/fd/9: make the mount first, then start keyfs\n"


def test_a_place_where_it_is_not_mounted(store: LiveStore, tmp_path: Path) -> None:
    script = """
"$PYTHON" "$PASSED" /mnt/mount 0 "$PYTHON" -m keyfs mount --mounted-at /mnt/keys /dev/fd/@FD@ || echo $?
umount mount
"""
    ran = beside_nobody(tmp_path, script, {"PASSED": str(PASSED)})
    assert ran.stdout == "19\n", ran.stderr
    assert ran.stderr.count("\n") == 1
    assert "does not answer: No such file or directory" in ran.stderr


def test_the_place_of_a_mount_that_we_make_ourselves_is_not_said_twice(store: LiveStore) -> None:
    said = f"--mounted-at is for /dev/fd/N alone: drop it, {store.mountpoint} says where"
    assert refusal(store, "--mounted-at", "/keys", str(store.mountpoint)) == (2, said)
