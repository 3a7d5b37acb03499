"""Rootless: keyfs in a user namespace of its own, and programs in a sandbox that get its mount."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyfs.testing.live import LiveStore, live_store, new_live_store
from keyfs.testing.mounted import keyfs_environment
from keyfs.testing.needed import lacking, need
from keyfs.testing.other_user import beside_nobody

LABEL = "storage-sym/alice"

pytestmark = pytest.mark.usefixtures("fuse_required")

# A mount and its end, as whoever the namespace takes us for; what was read, before and after a rotation.
LIFE = """
set -e
"$PYTHON" -m keyfs mount --allow-other mount
sha256sum < mount/storage-sym/alice/current | cut -d" " -f1
stat -c %U:%a mount/storage-sym/alice/current
echo > mount/storage-sym/alice/rotate
sha256sum < mount/storage-sym/alice/current | cut -d" " -f1
"$PYTHON" -m keyfs umount mount
"""
# A device that users may open, as udev makes it; nobody else sees this one.
DEVICE = """
mknod --mode=666 /mnt/fuse c 10 229
mount --bind /mnt/fuse /dev/fuse
"""


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make(LABEL)
    return made


def digests(store: LiveStore) -> list[str]:
    """Of all versions, oldest first."""
    return [hashlib.sha256(value).hexdigest() for value in store.versions(LABEL).values()]


def check_life(printed: str, store: LiveStore) -> None:
    before, owner, after = printed.splitlines()
    assert [before, after] == digests(store)
    assert owner == "root:600"


def run(store: LiveStore, *command: str) -> str:
    ran = subprocess.run(
        [*command, "bash", "-c", LIFE],
        env=keyfs_environment({**store.environment, "PYTHON": sys.executable}),
        cwd=store.root.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if ran.returncode != 0 and "unshare failed" in ran.stderr:
        lacking(f"no user namespaces: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_mount_in_a_user_namespace(store: LiveStore) -> None:
    check_life(run(store, "unshare", "--user", "--map-root-user", "--mount"), store)


def test_a_mount_in_a_sandbox(store: LiveStore) -> None:
    """Which sees the whole machine, but for the right to mount outside."""
    need("bwrap")
    sandbox = ("bwrap", "--dev-bind", "/", "/", "--unshare-user", "--uid", "0", "--gid", "0")
    check_life(run(store, *sandbox, "--cap-add", "CAP_SYS_ADMIN"), store)


@pytest.mark.skipif(os.geteuid() != 0, reason="changes user, which needs root")
def test_an_ordinary_user_mounts_in_a_namespace_of_his_own(store: LiveStore, tmp_path: Path) -> None:
    """Without fusermount3, and with --allow-other, which /etc/fuse.conf does not let him have outside."""
    script = 'nobody unshare --user --map-root-user --mount bash -c "$LIFE"; cp -r keys master.key "$BACK"'
    back = tmp_path / "back"
    back.mkdir()
    ran = beside_nobody(tmp_path, DEVICE + script, {"LIFE": LIFE, "BACK": str(back)})
    assert ran.returncode == 0, ran.stderr
    check_life(ran.stdout, LiveStore(back / "keys", back / "master.key", back, back))


def test_a_sandboxed_program_reads_the_mount_of_the_host(tmp_path: Path) -> None:
    """It has no other file system than this one, and no network, user or process of ours."""
    need("bwrap", "busybox")
    with live_store(tmp_path, "--allow-other") as store:
        store.make(LABEL)
        sandbox = [
            "bwrap",
            "--ro-bind",
            "/bin/busybox",
            "/busybox",
            "--ro-bind",
            str(store.mountpoint),
            "/keys",
        ]
        command = [*sandbox, "--unshare-all", "--die-with-parent", "/busybox", "sha256sum"]
        for _ in range(2):
            ran = subprocess.run(
                [*command, f"/keys/{LABEL}/current"], capture_output=True, text=True, check=False
            )
            assert ran.stdout.split(" ")[0] == digests(store)[-1], ran.stderr
            store.make(LABEL)
