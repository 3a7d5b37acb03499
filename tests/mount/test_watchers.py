"""inotify watchers of files under a mount are woken by what happens behind it, and by nothing else."""

import hashlib
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyfs.broker.news import APART_S, GATHER_S
from keyfs.core.names import parse_key_ref
from keyfs.core.stamps import is_stamp
from keyfs.seal.keypair import generate_pair
from keyfs.testing.mounted import outsider_of
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.shared_store import Mount, SharedStore, mount_of, shared_store
from keyfs.testing.waiting import wait_until
from keyfs.testing.watched import SAVED, watching

ROTATIONS = 200


@dataclass(frozen=True)
class Scene:
    """A key store of either kind, its mount, and hands that do not go through the mount."""

    store: SharedStore
    mount: Mount
    server: RedisServer | None

    def make(self, label: str) -> Path:
        """Generate or rotate a key outside; returns its directory as the mount shows it."""
        self.store.make(label)
        wait_until((self.mount.path / label).exists)
        return self.mount.path / label

    def made(self, label: str) -> Path:
        """As `make`; returns when no watcher will be woken any more for what was done until then.

        Watchers are told in lots, one after the other, and each lot names a file once. So a second wake of
        one file is in a lot that began when all earlier ones had been told.
        """
        directory = self.make(label)
        sentinel = self.make("hmac-sym/sentinel") / "current"
        with watching(sentinel) as watcher:
            for number in (1, 2):
                self.make("hmac-sym/sentinel")
                watcher.wait_for(sentinel, count=number)
        return directory

    def remove(self, name: str) -> None:
        """Take a blob away, as no tool of keyfs does."""
        if self.server is not None:
            self.server.cli("DEL", f".acrakeys/{name}")
        else:
            Path(self.store.uri.removeprefix("dir:"), name).unlink()

    def disturb(self) -> None:
        """Write what is no key."""
        if self.server is not None:
            self.server.cli("SET", "unrelated:key", "1")
        else:
            Path(self.store.uri.removeprefix("dir:"), "README.md").touch()

    def stamps(self, label: str) -> list[str]:
        return sorted(path.name for path in (self.mount.path / label).iterdir() if is_stamp(path.name))


@pytest.fixture(scope="module", params=["directory", "redis"])
def scene(
    request: pytest.FixtureRequest, fuse_required: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    place = tmp_path_factory.mktemp("watchers")
    with ExitStack() as stack:
        server = stack.enter_context(redis_server()) if request.param == "redis" else None
        uri = f"dir:{place / 'keys'}" if server is None else server.unix_uri(".acrakeys")
        store = shared_store(place, uri)
        yield Scene(store, stack.enter_context(mount_of(store, place / "m")), server)


@pytest.fixture
def label(scene: Scene, request: pytest.FixtureRequest) -> str:
    """A symmetric key of its own for each test."""
    label = "storage-sym/c" + hashlib.blake2b(request.node.nodeid.encode(), digest_size=8).hexdigest()
    scene.made(label)
    return label


@pytest.fixture
def marker(scene: Scene) -> Path:
    """`current` of another key: once its watcher was told, all that was to be told before has been told."""
    return scene.made("hmac-sym/marker") / "current"


def test_a_watcher_is_woken_as_by_a_save(scene: Scene, label: str) -> None:
    current = scene.mount.path / label / "current"
    with watching(current) as watcher:
        for number in range(1, 6):
            scene.make(label)
            watcher.wait_for(current, count=number)
            assert watcher.seen(current) == SAVED * number
    assert len(scene.store.versions(label)) == 6


def is_watching(descriptor: Path) -> bool:
    """Whether this is an inotify instance that watches something; one that starts has others for a moment."""
    try:
        return "inotify wd" in descriptor.read_text()
    except FileNotFoundError:
        return False


def test_inotifywait_is_woken_by_keyfs_rotate(scene: Scene, label: str) -> None:
    words = ["inotifywait", "-q", "-e", "close_write", "-t", "20", str(scene.mount.path / label / "current")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as waiting:
        descriptors = Path(f"/proc/{waiting.pid}/fdinfo")
        wait_until(lambda: any(map(is_watching, descriptors.iterdir())))
        scene.store.keyfs("rotate", label)
        assert waiting.stdout is not None
        assert waiting.stdout.read().split()[1:] == ["CLOSE_WRITE,CLOSE"]


def test_a_watcher_is_not_woken_for_another_key(scene: Scene, label: str, marker: Path) -> None:
    current = scene.mount.path / label / "current"
    with watching(current, marker) as watcher:
        for number in range(1, 4):
            scene.disturb()
            scene.make("hmac-sym/marker")
            watcher.wait_for(marker, count=number)
        assert watcher.seen(current) == []
        scene.make(label)
        watcher.wait_for(current)
        assert (watcher.seen(current), watcher.seen(marker)) == (SAVED, SAVED * 3)


def test_a_watcher_of_a_public_half_is_woken_too(scene: Scene) -> None:
    directory = scene.made("storage/watched")
    private, public = directory / "current", directory / "current.pub"
    with watching(private, public) as watcher:
        scene.make("storage/watched")
        watcher.wait_for(public)
        watcher.wait_for(private)
        assert watcher.seen(public) == watcher.seen(private) == SAVED


def test_a_watcher_of_a_directory_is_woken_when_names_come_and_go(scene: Scene, label: str) -> None:
    client, purpose = scene.mount.path / label, scene.mount.path / "storage-sym"
    with watching(client, purpose) as watcher:
        scene.make(label)
        watcher.wait_for(client, "ATTRIB")
        wait_until(lambda: bool(scene.stamps(label)))
        (stamp,) = scene.stamps(label)
        watcher.forget()
        scene.store.keyfs("destroy", "--yes", f"{label}/{stamp}")
        watcher.wait_for(client, "ATTRIB")
        wait_until(lambda: scene.stamps(label) == [])
        watcher.forget()
        scene.make("storage-sym/brand-new")
        watcher.wait_for(purpose, "ATTRIB")
        watcher.forget()
        scene.remove("brand-new_storage_sym")
        watcher.wait_for(purpose, "ATTRIB")
        wait_until(lambda: not (purpose / "brand-new").exists())


def test_a_local_write_is_one_save_and_no_more(
    scene: Scene, label: str, marker: Path, tmp_path: Path
) -> None:
    """The kernel itself tells of it; another nudge would look like a second rotation."""
    current = scene.mount.path / label / "current"
    for number in range(20):
        (tmp_path / "new").write_bytes(number.to_bytes(32))
        with watching(current, marker) as watcher:
            subprocess.run(["cp", tmp_path / "new", current], check=True)
            scene.make("hmac-sym/marker")
            watcher.wait_for(marker)
            # cp empties the file before it writes: that is a MODIFY of its own.
            assert watcher.seen(current) in (SAVED, ["MODIFY", *SAVED])
    assert len(scene.stamps(label)) == 20


def test_a_local_write_of_a_pair_wakes_the_watcher_of_its_public_half(scene: Scene, marker: Path) -> None:
    directory = scene.made("storage/local")
    private, public = directory / "current", directory / "current.pub"
    with watching(private, public, directory, marker) as watcher:
        private.write_bytes(generate_pair()[0].reveal())
        watcher.wait_for(public)
        watcher.wait_for(directory, "ATTRIB")
        scene.make("hmac-sym/marker")
        watcher.wait_for(marker)
        assert watcher.seen(public) == SAVED
        assert watcher.seen(private).count("CLOSE_WRITE") == 1


def test_rotate_wakes_the_watcher_of_current_at_once_and_once(scene: Scene, label: str, marker: Path) -> None:
    current = scene.mount.path / label / "current"
    with watching(current, marker) as watcher:
        for number in range(1, 11):
            (scene.mount.path / label / "rotate").write_bytes(b"1")
            watcher.wait_for(current, count=number)
            scene.make("hmac-sym/marker")
            watcher.wait_for(marker, count=number)
            assert watcher.seen(current) == SAVED * number


def test_two_hundred_rotations_under_a_watcher_that_reads_at_each_event(scene: Scene, label: str) -> None:
    """No nudge makes a version, the last one comes after the last rotation, and nobody waits for ever."""
    current = scene.mount.path / label / "current"
    ref = parse_key_ref(label)
    with scene.store.opened() as (_, writer), watching(current) as watcher:
        for _ in range(ROTATIONS):
            writer.rotate(ref)
        versions = scene.store.versions(label)
        read = [b""]

        def has_told_of_the_last_one() -> bool:
            if watcher.seen(current):
                watcher.forget()
                read.append(current.read_bytes())
            return read[-1] == versions["current"]

        wait_until(has_told_of_the_last_one)
    assert len(versions) == ROTATIONS + 1
    assert scene.stamps(label) == [stamp for stamp in versions if is_stamp(stamp)]
    assert scene.store.versions(label) == versions


def test_a_nudge_is_no_change_for_other_mounts(scene: Scene, label: str, tmp_path: Path) -> None:
    """Two mounts that wake their watchers do not wake each other's without end."""
    with mount_of(scene.store, tmp_path) as other:
        here, there = scene.mount.path / label / "current", other.path / label / "current"
        with watching(here, there) as watcher:
            for number in range(1, 4):
                scene.make(label)
                for current in (here, there):
                    watcher.wait_for(current, count=number)
            scene.store.keyfs("list")
            assert watcher.seen(here) == watcher.seen(there) == SAVED * 3


def told_outsider(daemon: int) -> int:
    """How many bytes the process beside this daemon has read by now: each request to it is a line."""
    return int(Path(f"/proc/{outsider_of(daemon)}/io").read_text().split()[1])


def test_on_a_read_only_mount_nobody_looks_up_what_changed(scene: Scene, label: str, tmp_path: Path) -> None:
    """It had keys of Redis asked for that nobody wanted, and woke nobody."""
    with mount_of(scene.store, tmp_path, "--read-only") as mount:
        old, daemon = mount.read(label), int(str(mount.status()["pid"]))
        told = told_outsider(daemon)
        scene.make(label)
        wait_until(lambda: mount.read(label) != old)
        time.sleep(5 * (GATHER_S + APART_S))
        assert told_outsider(daemon) == told


def test_a_read_only_mount_is_as_fresh_but_wakes_nobody(scene: Scene, label: str, tmp_path: Path) -> None:
    """A nudge is a write, and on a read-only mount the kernel lets nobody write, not even keyfs."""
    with mount_of(scene.store, tmp_path, "--read-only") as mount:
        current = mount.path / label / "current"
        old = mount.read(label)
        with watching(current, current.parent) as watcher:
            scene.make(label)
            wait_until(lambda: mount.read(label) != old)
            assert mount.read(label) == scene.store.versions(label)["current"]
            assert {path.name for path in current.parent.iterdir()} == {"current", *scene.stamps(label)}
            assert watcher.seen(current) == watcher.seen(current.parent) == []
        assert not mount.logged(" warning ")
        assert not mount.logged(" error ")
