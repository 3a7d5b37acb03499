"""Rules of ownership on a real mount: real users by name and by number, and what they may do."""

import grp
import os
import pwd
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyfs.testing.live import LiveStore, live_store, new_live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

SERVER, SERVERS = 4301, 4302  # nobody has these numbers
READER = pwd.getpwnam("nobody")
READERS = grp.getgrnam("daemon")
RULES = f"""
[purpose.token]
kind = "opaque"
generate = 100
owner = {SERVER}
group = {SERVERS}
mode = "0440"
views = "b64"

[[rule]]
purpose = "[!t]*"
owner = "root"

[[rule]]
purpose = "storage-*"
owner = {SERVER}
group = {SERVERS}
mode = "0640"

[[rule]]
purpose = "hmac-sym"
client = "al*"
owner = "{READER.pw_name}"
group = "{READERS.gr_name}"
mode = "0440"
"""


def with_rules(place: Path, text: str) -> str:
    path = place / "keyfs.toml"
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    place = tmp_path_factory.mktemp("owned")
    with live_store(place, "--allow-other", config=RULES) as store:
        for label in (
            "token/host.example",
            "storage/alice",
            "storage-sym/alice",
            "hmac-sym/alice",
            "hmac-sym/bobby",
        ):
            store.make(label)
        yield store


def as_user(root: Path, uid: int, gid: int, script: str) -> "subprocess.CompletedProcess[str]":
    """Runs a shell script in the mount as another user, who could not walk there from the root directory."""
    command = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "sh", "-c", script]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, errors="replace", check=False)


def look(path: Path) -> tuple[str, int, int]:
    found = os.stat(path)
    return stat.filemode(found.st_mode), found.st_uid, found.st_gid


def test_owner_group_and_mode_are_what_the_rules_say(owned: LiveStore) -> None:
    mount = owned.mountpoint
    assert look(mount / "storage/alice/current") == ("-rw-------", 0, 0)
    assert look(mount / "storage-sym/alice/current") == ("-rw-r-----", SERVER, SERVERS)
    assert look(mount / "storage-sym/alice") == ("drwxr-xr-x", SERVER, SERVERS)
    assert look(mount / "hmac-sym/alice/current") == ("-r--r-----", READER.pw_uid, READERS.gr_gid)
    assert look(mount / "hmac-sym/bobby/current") == ("-rw-------", 0, 0)
    assert look(mount / "token/host.example/current") == ("-r--r-----", SERVER, SERVERS)
    assert look(mount / "token/host.example/current.b64") == ("-r--r-----", SERVER, SERVERS)
    assert look(mount / "storage-sym") == ("drwxr-xr-x", 0, 0)


def test_no_directory_is_writable_for_group_or_others(owned: LiveStore) -> None:
    """Else sshd's StrictModes would refuse every key below it."""
    for path, names, _ in os.walk(owned.mountpoint):
        for found in (Path(path), *(Path(path) / name for name in names)):
            assert look(found)[0].startswith("dr")
            assert not stat.S_IMODE(os.stat(found).st_mode) & 0o022


@pytest.mark.parametrize(
    ("uid", "gid", "label", "may_read"),
    [
        (SERVER, 1, "storage-sym/alice", True),
        (4399, SERVERS, "storage-sym/alice", True),
        (4399, 4399, "storage-sym/alice", False),
        (READER.pw_uid, 1, "hmac-sym/alice", True),
        (SERVER, SERVERS, "hmac-sym/alice", False),
        (READER.pw_uid, READERS.gr_gid, "hmac-sym/bobby", False),
        (SERVER, SERVERS, "storage/alice", False),
        (0, 0, "hmac-sym/alice", True),
    ],
)
def test_those_named_read_and_nobody_else(
    owned: LiveStore, uid: int, gid: int, label: str, may_read: bool
) -> None:
    ran = as_user(
        owned.mountpoint,
        uid,
        gid,
        f"ls -l {label} >&2 && sha256sum < {label}/current && test -r {label}/current",
    )
    if may_read:
        assert ran.returncode == 0
        assert ran.stdout
    else:
        assert "Permission denied" in ran.stderr
        assert ran.stdout == ""


def test_the_owner_rotates_in_every_way_and_stays_the_owner(owned: LiveStore) -> None:
    before = owned.versions("storage-sym/alice")
    script = """
        echo > rotate && printf %032d 1 > current &&
        printf %032d 2 > new && mv new current && printf %032d 3 > new && install -m 0640 new current
    """
    ran = as_user(owned.mountpoint / "storage-sym/alice", SERVER, SERVERS, script)
    assert (ran.returncode, ran.stderr) == (0, "")
    after = owned.versions("storage-sym/alice")
    assert len(after) == len(before) + 4
    assert after["current"] == b"%032d" % 3
    directory = owned.mountpoint / "storage-sym/alice"
    assert look(directory / "current") == ("-rw-r-----", SERVER, SERVERS)
    for stamp in list(after)[:-1]:
        assert look(directory / stamp) == ("-r--r-----", SERVER, SERVERS)


@pytest.mark.parametrize(
    ("uid", "gid"), [(4399, SERVERS), (READER.pw_uid, READERS.gr_gid)], ids=["group", "another owner"]
)
def test_whoever_only_reads_does_not_rotate(owned: LiveStore, uid: int, gid: int) -> None:
    before = owned.versions("storage-sym/alice")
    for script in (
        "echo > rotate",
        "printf %032d 9 > current",
        "echo > new",
        "rm -f current",
        "mv current old",
    ):
        ran = as_user(owned.mountpoint / "storage-sym/alice", uid, gid, script)
        assert "ermission denied" in ran.stderr, script
    assert owned.versions("storage-sym/alice") == before


def test_a_key_without_a_write_bit_is_read_only_even_for_root(owned: LiveStore) -> None:
    before = owned.versions("hmac-sym/alice")
    assert sorted(os.listdir(owned.mountpoint / "hmac-sym/alice")) == ["current"]
    for uid in (READER.pw_uid, 0):
        ran = as_user(owned.mountpoint / "hmac-sym/alice", uid, 0, "printf %032d 9 > current")
        assert "Permission denied" in ran.stderr
    assert owned.versions("hmac-sym/alice") == before
    owned.make("hmac-sym/alice")
    assert len(owned.versions("hmac-sym/alice")) == len(before) + 1
    assert look(owned.mountpoint / "hmac-sym/alice/current") == ("-r--r-----", READER.pw_uid, READERS.gr_gid)


def test_a_denial_names_who_and_what(owned: LiveStore) -> None:
    as_user(owned.mountpoint, 4398, 4398, "cat storage-sym/alice/current")
    assert owned.logged("warning access.denied", "path=storage-sym/alice/current want=read", "uid=4398")


def test_rules_are_read_again_on_sighup(tmp_path: Path, fuse_required: None) -> None:
    path = with_rules(tmp_path, f"[[rule]]\nowner = {SERVER}\nmode = '0440'\n")
    with live_store(tmp_path, "--allow-other", "--config", path) as store:
        current = store.make("storage-sym/alice") / "current"
        assert look(current) == ("-r--r-----", SERVER, 0)
        daemon = int(
            subprocess.run(
                ["pgrep", "-f", f"{store.mountpoint}$"], capture_output=True, text=True, check=True
            ).stdout.split()[0]
        )
        with_rules(tmp_path, f"views = 'hex'\n[[rule]]\nowner = {READER.pw_uid}\n")
        os.kill(daemon, signal.SIGHUP)
        wait_until(lambda: look(current) == ("-rw-------", READER.pw_uid, 0))
        assert (current.parent / "current.hex").exists()
        with_rules(tmp_path, "[[rule]]\nowner = 'no-such-user'\n")
        os.kill(daemon, signal.SIGHUP)
        wait_until(
            lambda: bool(store.logged("warning policy.kept", "rule 1: there is no user 'no-such-user'"))
        )
        assert look(current) == ("-rw-------", READER.pw_uid, 0)


# --- what is refused before anything is mounted ---

REFUSED = {
    "unknown user": ("owner = 'no-such-user'", "rule 1: there is no user 'no-such-user' on this machine"),
    "unknown group": ("group = 'no-such-group'", "rule 1: there is no group 'no-such-group' on this machine"),
    "open mode": ("mode = '0777'", "rule 1: mode '0777' is none that a private key may have"),
    "readable for all": ("mode = '0644'", "use one of 0400, 0440, 0600, 0640"),
    "unknown preset": ("preset = 'apache'", "rule 1: there is no preset 'apache'"),
    "unknown view": ("views = 'jwk'", "rule 1: there is no view 'jwk'"),
    "unknown key": ("user = 'root'", "rule 1: unknown key 'user'"),
    "unknown purpose": ("purpose = 'storge'", "rule 1: there is no purpose 'storge'"),
    "others without allow_other": (f"owner = {SERVER}", "add --allow-other"),
}


@pytest.mark.parametrize(("rule", "said"), REFUSED.values(), ids=REFUSED)
def test_a_rule_that_cannot_be_refuses_the_mount(
    tmp_path: Path, fuse_required: None, rule: str, said: str
) -> None:
    store = new_live_store(tmp_path)
    path = with_rules(tmp_path, f"[[rule]]\n{rule}\n")
    ran = run_keyfs("mount", "--config", path, store.mountpoint, environment=store.environment)
    assert ran.returncode == 2
    [line] = ran.stderr.decode().splitlines()
    assert line.startswith(f"keyfs: {path}: ")
    assert said in line
    assert not os.path.ismount(store.mountpoint)


def test_an_unknown_view_refuses_the_mount(tmp_path: Path, fuse_required: None) -> None:
    store = new_live_store(tmp_path)
    for words, environment in ((("--views", "jwk"), {}), ((), {"KEYFS_VIEWS": "jwk"})):
        ran = run_keyfs("mount", *words, store.mountpoint, environment=store.environment | environment)
        assert ran.returncode == 2
        assert ran.stderr.decode() == "keyfs: there is no view 'jwk': use b64, hex, pem, fp, or all or none\n"
        assert not os.path.ismount(store.mountpoint)
