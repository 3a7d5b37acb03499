"""OpenSSH with its secrets in the mount: the host key, the user's key, and the list of who may come in."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from consuming_site import Site, site
from rooms import KEYS, PLACE, Room, room

from keyfs.testing.needed import need
from keyfs.testing.redis_servers import free_port
from keyfs.testing.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd lets others in only as root")
CONFIGURATION = f"""
ListenAddress 127.0.0.1
HostKey {KEYS}/ssh/host/current
AuthorizedKeysFile {KEYS}/ssh/who/current
PidFile none
StrictModes yes
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[Site]:
    need("ssh", "sshd", "ssh-keygen")
    with site(tmp_path_factory.mktemp("ssh")) as made:
        yield made


@pytest.fixture
def inside(keys: Site) -> Iterator[Room]:
    with room(keys.live.mountpoint) as made:
        yield made


def new_key(place: Path, name: str) -> tuple[bytes, bytes]:
    """A private and a public key, as OpenSSH writes them."""
    words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", place / name)
    subprocess.run(words, check=True)
    return (place / name).read_bytes(), (place / f"{name}.pub").read_bytes()


@contextmanager
def sshd(inside: Room, port: int, log: Path) -> Iterator[None]:
    """A server with the configuration above."""
    (inside.place / "sshd_config").write_text(CONFIGURATION)
    words = ("/usr/sbin/sshd", "-f", PLACE / "sshd_config", "-p", str(port))
    checked = inside.run(*words, "-t")
    assert (checked.returncode, checked.stderr) == (0, "")
    with log.open("wb") as said:
        server = inside.start(*words, "-D", "-e", log=said)
        try:
            wait_until(lambda: b"Server listening" in log.read_bytes())
            yield
        finally:
            server.terminate()
            server.wait(20)


def log_in(inside: Room, port: int, host: bytes) -> "subprocess.CompletedProcess[str]":
    """Come in as root, with the key in the mount, if the server has the key *host*."""
    (inside.place / "known_hosts").write_bytes(b"server " + host)
    options = {
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": "server",
        "UserKnownHostsFile": str(PLACE / "known_hosts"),
        "GlobalKnownHostsFile": "none",
        "BatchMode": "yes",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    key = KEYS / "ssh/me/current"
    return inside.run("ssh", "-F", "none", *words, "-i", key, "-p", str(port), "root@127.0.0.1", "echo in")


def test_keys_in_the_mount_let_in_before_and_after_each_of_them_is_rotated(
    keys: Site, inside: Room, tmp_path: Path
) -> None:
    """All three take effect at the next connection: for each, sshd starts itself anew."""
    (mine, mine_public), (next_mine, next_mine_public) = new_key(tmp_path, "mine"), new_key(tmp_path, "next")
    (host, host_public), (next_host, next_host_public) = new_key(tmp_path, "host"), new_key(tmp_path, "host2")
    first = {"me": mine, "host": host, "who": mine_public}
    files = {name: keys.make(f"ssh/{name}", data) for name, data in first.items()}
    port = free_port()
    with sshd(inside, port, tmp_path / "log"):
        assert log_in(inside, port, host_public).stdout == "in\n"
        files["me"].write_bytes(next_mine)
        assert "Permission denied" in log_in(inside, port, host_public).stderr
        files["who"].write_bytes(next_mine_public)
        assert log_in(inside, port, host_public).stdout == "in\n"
        files["host"].write_bytes(next_host)
        assert "Host key verification failed" in log_in(inside, port, host_public).stderr
        assert log_in(inside, port, next_host_public).stdout == "in\n"
    said = (tmp_path / "log").read_text()
    assert "bad ownership" not in said
    assert "bad permissions" not in said.lower()


def test_a_key_gets_another_passphrase_in_place(keys: Site, tmp_path: Path) -> None:
    """`ssh-keygen -p` writes the file anew: one version, the same key, another passphrase."""
    private, public = new_key(tmp_path, "phrase")
    current = keys.make("ssh/phrase", private)
    words = ("ssh-keygen", "-q", "-p", "-P", "", "-N", "five words", "-f", current)
    changed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (changed.returncode, changed.stderr) == (0, "")
    assert len([name for name in os.listdir(current.parent) if name not in ("current", "rotate")]) == 1
    asked = subprocess.run(
        ["ssh-keygen", "-y", "-P", "five words", "-f", current], capture_output=True, check=False
    )
    assert asked.stdout.split()[:2] == public.split()[:2], asked.stderr
