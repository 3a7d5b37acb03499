"""`mount.fuse.keyfs`: mount(8) and /etc/fstab mount a key store as any other file system."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from service_site import LABEL, PACKAGING, PLACED, place_programs

from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import LEAVE_OTHER_MOUNTS, keyfs_environment

pytestmark = [
    pytest.mark.usefixtures("fuse_required"),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts, and lays folders over /usr, which needs root"),
]

# What each script may use beside what mount(8) has; $OPTIONS are those without which nothing opens.
PRELUDE = f"""
set -eu
mount --make-rprivate /
{PLACED}
KEY=mount/{LABEL}/current
"""


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make(LABEL)
    place_programs(tmp_path)
    return made


def run(store: LiveStore, script: str) -> "subprocess.CompletedProcess[str]":
    place = store.root.parent
    variables = {"PLACE": str(place), "OPTIONS": f"master-key=file:{store.master_key}", "TERM": "dumb"}
    return subprocess.run(
        ["unshare", "--mount", "bash", "-c", LEAVE_OTHER_MOUNTS + PRELUDE + script],
        env=keyfs_environment(variables),
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def printed(store: LiveStore, script: str) -> str:
    ran = run(store, script)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return ran.stdout


def digest_of(store: LiveStore) -> str:
    return hashlib.sha256(store.versions(LABEL)["current"]).hexdigest() + "\n"


def test_mount_mounts_and_umount_unmounts(store: LiveStore) -> None:
    """It returns when a key can be read; the words of fstab and systemd are no options of keyfs."""
    script = """
words=defaults,nofail,_netdev,noauto,user,x-systemd.automount,X-mount.mkdir,comment=keys,nosuid,nodev
mount -t fuse.keyfs "dir:$PLACE/keys" mount -o "$OPTIONS,$words,ro,allow_other,noatime"
sha256sum < $KEY | cut -d' ' -f1
findmnt --noheadings --output FSTYPE,OPTIONS mount
umount mount
ls -A mount
"""
    digest, mounted = printed(store, script).splitlines()
    assert digest + "\n" == digest_of(store)
    assert mounted.startswith("fuse.keyfs ro,nosuid,nodev,noexec,noatime")
    assert "allow_other" in mounted


def test_fstab_mounts_with_a_configuration_file(store: LiveStore, tmp_path: Path) -> None:
    config = tmp_path / "keyfs.toml"
    config.write_text(f'store = "{store.root}"\nmaster-key = "file:{store.master_key}"\nread-only = true\n')
    line = (
        f"none {store.mountpoint} fuse.keyfs config={config},nofail,_netdev,x-systemd.mount-timeout=10 0 0\n"
    )
    (tmp_path / "fstab").write_text(line)
    script = """
mount --all --fstab fstab
sha256sum < $KEY | cut -d' ' -f1
echo x > mount/storage-sym/alice/current || umount mount
"""
    ran = run(store, script)
    assert (ran.returncode, ran.stdout) == (0, digest_of(store)), ran.stderr
    assert "Read-only file system" in ran.stderr


def test_every_option_of_keyfs_is_understood(store: LiveStore) -> None:
    """In any order, and without a pattern or a space in a value being taken for one."""
    script = """
cp -p master.key "a  *"
options="log-level=info,log-file=$PLACE/log,serve-stale=5m,,wait=1s,legacy,allow-destroy"
mount.fuse.keyfs "dir:$PLACE/keys" mount -n -o "master-key=file:$PLACE/a  *" -v -s -o "$options" -t fuse.keyfs
sha256sum < $KEY | cut -d' ' -f1
grep -c mount.ready log
umount mount
mount.fuse.keyfs "dir:$PLACE/keys" mount -f -o no-such-word
"""
    assert printed(store, script) == digest_of(store) + "1\n"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("mount.fuse.keyfs keys", 1, "usage: mount.fuse.keyfs SOURCE DIRECTORY"),
        ("mount.fuse.keyfs keys mount -X", 1, "-X"),
        ("mount.fuse.keyfs keys mount -N x", 1, "namespace"),
        ("mount.fuse.keyfs keys mount -o wait=soon", 1, "keyfs: 'soon' is no time"),
        ("mount.fuse.keyfs none mount", 1, "keyfs: no key store named"),
        ("mount.fuse.keyfs nowhere mount", 32, "keyfs: "),
        ("mount.fuse.keyfs keys mount", 32, "keyfs: "),
        ('mount.fuse.keyfs keys mount -o "$OPTIONS,bogus"', 32, "unknown option"),
        ('mount -t fuse.keyfs keys nowhere -o "$OPTIONS"', 32, "nowhere"),
        ('mount -t fuse.keyfs nowhere mount -o "$OPTIONS"', 32, "keyfs: "),
    ],
)
def test_what_fails_has_the_exit_codes_of_mount(store: LiveStore, command: str, code: int, said: str) -> None:
    ran = run(store, f"{command} || echo $?; ls -A mount")
    assert ran.stdout == f"{code}\n", ran.stderr
    assert said in ran.stderr


def test_the_helper_is_one_that_any_shell_can_run() -> None:
    helper = PACKAGING / "mount.fuse.keyfs"
    assert helper.read_text().startswith("#!/bin/sh\n")
    assert subprocess.run(["dash", "-n", helper], check=False).returncode == 0
