"""Real mounts: what `cat` is told of a version that may not be used, on both media, for every way to read."""

import errno
import json
import mmap
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyfs.core.stamps import is_stamp
from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.redis_servers import redis_server
from keyfs.testing.shared_store import Mount, SharedStore, mount_of, shared_store
from keyfs.testing.waiting import wait_until

LABEL = "storage-sym/alice"


@pytest.fixture
def live(tmp_path: Path, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path) as store:
        store.make(LABEL)
        yield store


def keyfs(store: LiveStore, *words: str) -> str:
    done = run_keyfs(*words, environment=store.environment)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def read_by_mmap(path: Path) -> bytes:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        return mapped[:]


def sent(path: Path) -> bytes:
    with path.open("rb") as file:
        target = os.memfd_create("target")
        os.sendfile(target, file.fileno(), 0, 99)
        return os.pread(target, 99, 0)


READERS: dict[str, Callable[[Path], bytes]] = {
    "read": Path.read_bytes,
    "mmap": read_by_mmap,
    "sendfile": sent,
    "cat": lambda path: subprocess.run(["cat", path], check=True, capture_output=True).stdout,
}


@pytest.mark.parametrize(
    ("state", "number"),
    [
        ("suspended", errno.EKEYEXPIRED),
        ("deactivated", errno.EKEYEXPIRED),
        ("compromised", errno.EKEYREVOKED),
    ],
)
def test_the_open_after_the_command_is_refused(live: LiveStore, state: str, number: int) -> None:
    """Also where the kernel has the bytes: the command has returned, so no open gives them."""
    path = live.mountpoint / LABEL / "current"
    for _ in range(3):
        assert path.read_bytes()
    with path.open("rb") as held:
        keyfs(live, "state", f"{LABEL}/current", state)
        with pytest.raises(OSError, match=r".") as caught:
            path.read_bytes()
        assert caught.value.errno == number
        assert len(held.read()) == 32  # who has it open keeps it
    with pytest.raises(OSError, match=r"."):
        path.read_bytes()
    told = subprocess.run(["cat", path], check=False, capture_output=True)
    assert os.strerror(number) in told.stderr.decode()
    assert os.getxattr(path, "user.keyfs.key_state").decode() == state
    assert path.stat().st_size == 32


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_no_way_to_read_goes_past_a_state(live: LiveStore, reader: Callable[[Path], bytes]) -> None:
    path = live.mountpoint / LABEL / "current"
    before = reader(path)
    keyfs(live, "state", f"{LABEL}/current", "suspended")
    with pytest.raises((OSError, subprocess.CalledProcessError)):
        reader(path)
    keyfs(live, "state", f"{LABEL}/current", "active")
    assert reader(path) == before


def test_a_state_goes_with_its_version_and_is_listed(live: LiveStore) -> None:
    keyfs(live, "state", f"{LABEL}/current", "compromised", "--why", "laptop lost")
    directory = live.mountpoint / LABEL
    (directory / "rotate").write_bytes(b"1")
    assert (directory / "current").read_bytes()
    [stamp] = [name for name in os.listdir(directory) if is_stamp(name)]
    with pytest.raises(OSError, match=os.strerror(errno.EKEYREVOKED)):
        (directory / stamp).read_bytes()
    rows = json.loads(keyfs(live, "list", "--versions", "--json"))
    assert [row["state"] for row in rows] == ["compromised", "active"]
    assert json.loads((live.mountpoint / ".keyfs/inventory.json").read_bytes()) == rows


def test_what_is_planned_is_shown_and_undone_and_done(live: LiveStore) -> None:
    """By the mount itself, which looks every ten seconds."""
    live.make(LABEL)
    directory = live.mountpoint / LABEL
    [stamp] = [name for name in os.listdir(directory) if is_stamp(name)]
    keyfs(live, "destroy", f"{LABEL}/{stamp}", "--after", "7d")
    assert os.getxattr(directory / stamp, "user.keyfs.destroy_at")
    keyfs(live, "destroy", f"{LABEL}/{stamp}", "--undo")
    with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
        os.getxattr(directory / stamp, "user.keyfs.destroy_at")
    assert (directory / stamp).read_bytes()
    keyfs(live, "destroy", f"{LABEL}/{stamp}", "--after", "0s")
    wait_until(lambda: not (directory / stamp).exists(), 60)
    assert list(live.versions(LABEL)) == ["current"]
    assert "destroyed" in keyfs(live, "state", f"{LABEL}/{stamp}")


def test_a_mount_without_anything_beside_the_store_hears_of_the_first_state(
    tmp_path: Path, fuse_required: None
) -> None:
    with live_store(tmp_path, "--read-only") as live:
        path = live.make(LABEL) / "current"
        beside = live.root.with_name("keys.keyfs")
        subprocess.run(["rm", "-r", beside], check=True)
        assert path.read_bytes()
        keyfs(live, "state", f"{LABEL}/current", "suspended")
        with pytest.raises(OSError, match=os.strerror(errno.EKEYEXPIRED)):
            path.read_bytes()
        subprocess.run(["rm", "-r", beside], check=True)
        assert path.read_bytes()


@dataclass(frozen=True)
class Hosts:
    """Two mounts of one key store in Redis."""

    store: SharedStore
    mounts: tuple[Mount, Mount]


@pytest.fixture
def hosts(tmp_path: Path, fuse_required: None) -> Iterator[Hosts]:
    with redis_server() as server:
        store = shared_store(tmp_path, server.unix_uri(".acrakeys"))
        store.make(LABEL)
        with mount_of(store, tmp_path / "a") as a, mount_of(store, tmp_path / "b") as b:
            yield Hosts(store, (a, b))


def refusal(mount: Mount, version: str = "current") -> int | None:
    try:
        mount.read(LABEL, version)
    except OSError as exc:
        return exc.errno
    return None


def test_every_host_obeys(hosts: Hosts) -> None:
    for mount in hosts.mounts:
        assert mount.read(LABEL)
    for state, number in (("suspended", errno.EKEYEXPIRED), ("active", None)):
        hosts.store.keyfs("state", f"{LABEL}/current", state)
        for mount in hosts.mounts:
            wait_until(lambda mount=mount, number=number: refusal(mount) == number)  # type: ignore[misc]  # mypy knows no type of a bound default


def test_a_state_goes_with_its_version_on_every_host(hosts: Hosts) -> None:
    hosts.store.keyfs("state", f"{LABEL}/current", "compromised")
    hosts.store.keyfs("rotate", LABEL)
    [stamp, _] = hosts.store.versions(LABEL)
    for mount in hosts.mounts:
        wait_until(lambda mount=mount: refusal(mount) is None)  # type: ignore[misc]  # mypy knows no type of a bound default
        wait_until(lambda mount=mount: refusal(mount, stamp) == errno.EKEYREVOKED)  # type: ignore[misc]  # mypy knows no type of a bound default
