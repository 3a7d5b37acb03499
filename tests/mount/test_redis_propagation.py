"""Two mounts of one Redis, and others that write there: the next open on one sees what the other one did."""

import base64
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from keyfs.core.names import parse_key_ref
from keyfs.core.secret import Secret
from keyfs.core.stamps import is_stamp
from keyfs.seal.keypair import generate_pair
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.shared_store import Mount, SharedStore, mount_of, shared_store
from keyfs.testing.waiting import wait_until

Record = Callable[[str, object], None]


@dataclass(frozen=True)
class Scene:
    """One server, two mounts of one key store in it."""

    server: RedisServer
    store: SharedStore
    a: Mount
    b: Mount

    def sealed(self, label: str, material: bytes) -> str:
        """The value with which another program would store this key."""
        with self.store.opened() as (keys, _):
            assert keys.protection is not None
            blob = keys.protection.seal(Secret(material), keys.layout.label(parse_key_ref(label), ""))
        return base64.b64encode(blob).decode()

    def key(self, name: str) -> str:
        return f".acrakeys/{name}"


@pytest.fixture(scope="module")
def scene(fuse_required: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    place = tmp_path_factory.mktemp("propagation")
    with redis_server() as server:
        store = shared_store(place, server.unix_uri(".acrakeys"))
        with mount_of(store, place / "a") as a, mount_of(store, place / "b") as b:
            yield Scene(server, store, a, b)


@pytest.fixture
def label(scene: Scene, request: pytest.FixtureRequest) -> str:
    """A symmetric key of its own for each test, seen by both mounts."""
    label = "storage-sym/c" + hashlib.blake2b(request.node.nodeid.encode(), digest_size=8).hexdigest()
    scene.store.make(label)
    wait_until(lambda: (scene.a.path / label).exists() and (scene.b.path / label).exists())
    return label


def wait_on_both(scene: Scene, is_so: Callable[[Mount], object]) -> None:
    for mount in (scene.a, scene.b):
        wait_until(functools.partial(is_so, mount))


def stamps(mount: Mount, label: str) -> list[str]:
    return sorted(path.name for path in (mount.path / label).iterdir() if is_stamp(path.name))


ROTATORS: dict[str, Callable[[Scene, str], object]] = {
    "rotate is written": lambda s, label: (s.a.path / label / "rotate").write_bytes(b"1"),
    "current is written": lambda s, label: (s.a.path / label / "current").write_bytes(b"w" * 32),
    "keyfs rotate": lambda s, label: s.store.keyfs("rotate", label),
}


@pytest.mark.parametrize("rotate", ROTATORS.values(), ids=ROTATORS)
def test_the_next_open_elsewhere_sees_a_rotation(
    scene: Scene, label: str, rotate: Callable[[Scene, str], object], record_testsuite_property: Record
) -> None:
    old = scene.b.read(label)
    rotate(scene, label)
    record_testsuite_property("propagation_s", wait_until(lambda: scene.b.read(label) != old))
    new = list(scene.store.versions(label).values())
    assert new == [old, scene.b.read(label)]
    for mount in (scene.a, scene.b):
        (stamp,) = stamps(mount, label)
        assert (mount.read(label, stamp), mount.read(label)) == (old, new[-1])


def test_both_mounts_agree_on_every_fact_of_a_version(scene: Scene, label: str) -> None:
    scene.store.make(label, label)
    wait_until(lambda: len(stamps(scene.a, label)) == len(stamps(scene.b, label)) == 2)
    for name in (*stamps(scene.a, label), "current", "rotate", "."):
        here, there = ((mount.path / label / name).stat() for mount in (scene.a, scene.b))
        assert (here.st_ino, here.st_mode, here.st_size) == (there.st_ino, there.st_mode, there.st_size)
        assert name == "rotate" or here.st_mtime_ns == there.st_mtime_ns


def test_a_plain_set_by_a_third_party_is_seen(scene: Scene, label: str) -> None:
    """Without lock, without archive: as redis-cli does it."""
    scene.b.read(label)
    value = scene.sealed(label, b"third party's".ljust(32))
    scene.server.cli("SET", scene.key(f"{label.partition('/')[2]}_storage_sym"), value)
    wait_on_both(scene, lambda mount: mount.read(label) == b"third party's".ljust(32))
    assert stamps(scene.a, label) == stamps(scene.b, label) == []


def rotate_as_acra_does(scene: Scene, name: str, value: str, stamp: str) -> None:
    temporary = scene.key(f"{name}59889364897882252")
    scene.server.ask("SETNX", temporary, "")
    scene.server.ask("SET", temporary, value)
    assert scene.server.ask("EXISTS", scene.key(name)) == 1
    old = scene.server.ask("GET", scene.key(name))
    scene.server.ask("SETNX", scene.key(f"{name}.old/{stamp}"), old)
    scene.server.ask("RENAME", temporary, scene.key(name))


def test_a_rotation_by_an_acra_tool_is_seen(scene: Scene, label: str) -> None:
    old = scene.b.read(label)
    value = scene.sealed(label, b"by Acra".ljust(32))
    stamp = "2031-01-02T03:04:05.123456789"
    rotate_as_acra_does(scene, f"{label.partition('/')[2]}_storage_sym", value, stamp)
    wait_on_both(scene, lambda mount: mount.read(label) == b"by Acra".ljust(32))
    for mount in (scene.a, scene.b):
        assert stamps(mount, label) == [stamp]
        assert mount.read(label, stamp) == old
        assert mount.status()["strays"] == 0


def test_a_pair_rotated_by_an_acra_tool_is_whole_at_any_moment(scene: Scene) -> None:
    """Private half first, public half later: whoever reads in between gets halves that belong together."""
    label = "storage/by-acra"
    scene.store.make(label)
    wait_until((scene.b.path / label).exists)
    secret, public = generate_pair()
    rotate_as_acra_does(
        scene, "by-acra_storage", scene.sealed(label, secret.reveal()), "2031-01-02T03:04:05.1"
    )
    wait_until(lambda: scene.b.read(label) == secret.reveal())
    assert scene.b.read(label, "current.pub") == public
    value = base64.b64encode(public).decode()
    rotate_as_acra_does(scene, "by-acra_storage.pub", value, "2031-01-02T03:04:05.1002")
    wait_until(lambda: stamps(scene.b, label) == ["2031-01-02T03:04:05.1"])
    wait_until((scene.b.path / label / "2031-01-02T03:04:05.1.pub").exists)
    assert scene.b.read(label, "current.pub") == public


def test_a_new_client_appears_though_it_was_looked_for_before(scene: Scene) -> None:
    label = "hmac-sym/newcomer"
    for mount in (scene.a, scene.b):
        assert not (mount.path / label).exists()
    scene.store.make(label)
    wait_on_both(scene, lambda mount: (mount.path / label / "current").exists())
    for mount in (scene.a, scene.b):
        assert "newcomer" in [path.name for path in (mount.path / "hmac-sym").iterdir()]
    assert scene.a.read(label) == scene.b.read(label)


def test_what_was_destroyed_vanishes(scene: Scene, label: str) -> None:
    scene.store.make(label, label)
    wait_until(lambda: len(stamps(scene.b, label)) == 2)
    oldest, second = stamps(scene.b, label)
    scene.b.read(label, oldest)
    scene.store.keyfs("destroy", "--yes", f"{label}/{oldest}")
    wait_on_both(scene, lambda mount: stamps(mount, label) == [second])
    for mount in (scene.a, scene.b):
        with pytest.raises(FileNotFoundError):
            mount.read(label, oldest)


def test_a_client_of_which_nothing_is_left_vanishes(scene: Scene, label: str) -> None:
    scene.b.read(label)
    scene.server.cli("DEL", scene.key(f"{label.partition('/')[2]}_storage_sym"))
    wait_until(lambda: not (scene.b.path / label).exists())
    assert label.partition("/")[2] not in [path.name for path in (scene.b.path / "storage-sym").iterdir()]


def test_keys_of_others_change_nothing(scene: Scene, label: str) -> None:
    before = scene.b.status()
    scene.server.cli("SET", "unrelated:key", "1")
    scene.server.cli("SET", ".acrakeysX/alice_hmac", "1")
    scene.store.make(label)
    wait_until(lambda: stamps(scene.b, label))
    assert scene.b.status() == before


def test_an_old_key_made_current_again_hides_no_version(scene: Scene, label: str) -> None:
    """Equal bytes are no left-over of a rotation, unless they are the newest that retired."""
    keys = [b"1" * 32, b"2" * 32, b"1" * 32, b"3" * 32, b"1" * 32]
    first = scene.a.read(label)
    for key in keys:
        (scene.a.path / label / "current").write_bytes(key)
    wait_until(lambda: len(stamps(scene.b, label)) == len(keys))
    for mount in (scene.a, scene.b):
        shown = [mount.read(label, name) for name in (*stamps(mount, label), "current")]
        assert shown == [first, *keys]
    assert list(scene.store.versions(label).values()) == [first, *keys]
    assert b"half-done" not in run_keyfs("check", environment=scene.store.environment).stdout


def test_an_old_pair_made_current_again_hides_neither_half(scene: Scene) -> None:
    """Its private half is sealed anew, its public half has the very bytes of the one that retired."""
    label = "storage/rolled-back"
    scene.store.make(label)
    wait_until((scene.a.path / label).exists)
    pairs = [generate_pair() for _ in range(2)]
    written = [pairs[0], pairs[1], pairs[0]]
    for secret, _ in written:
        (scene.a.path / label / "current").write_bytes(secret.reveal())
    wait_until(lambda: len(stamps(scene.b, label)) == 3)
    for mount in (scene.a, scene.b):
        names = [*stamps(mount, label)[1:], "current"]
        shown = [(mount.read(label, name), mount.read(label, f"{name}.pub")) for name in names]
        assert shown == [(secret.reveal(), public) for secret, public in written]
    found = run_keyfs("check", environment=scene.store.environment).stdout
    assert label.encode() not in found
    assert b"rolled-back" not in found


def test_a_rollback_by_a_third_party_hides_no_version(scene: Scene, label: str) -> None:
    """The value of the oldest version, set as the current one: sealed bytes that are there twice."""
    name = scene.key(f"{label.partition('/')[2]}_storage_sym")
    scene.store.make(label, label)
    wait_until(lambda: len(stamps(scene.b, label)) == 2)
    oldest, newest = stamps(scene.b, label)
    scene.server.ask("SET", name, scene.server.ask("GET", f"{name}.old/{oldest}"))
    wait_on_both(scene, lambda mount: mount.read(label) == mount.read(label, oldest))
    assert stamps(scene.a, label) == stamps(scene.b, label) == [oldest, newest]


def test_a_reader_never_goes_back_and_never_gets_what_is_no_key(scene: Scene, label: str) -> None:
    """While the key is rotated on the other mount, as fast as that goes, until enough of it was met."""
    read: list[bytes] = []
    over = threading.Event()

    def rotate() -> None:
        (scene.a.path / label / "rotate").write_bytes(b"1")

    def met_enough_of_them() -> bool:
        rotate()
        return len(set(read)) > 10

    def read_on() -> None:
        while not over.is_set():
            read.append(scene.b.read(label))

    reader = threading.Thread(target=read_on)
    reader.start()
    for _ in range(100):
        rotate()
    wait_until(met_enough_of_them)
    wait_until(lambda: scene.b.read(label) == scene.a.read(label))
    over.set()
    reader.join()
    order = {material: rank for rank, material in enumerate(scene.store.versions(label).values())}
    ranks = [order[material] for material in read]
    assert ranks == sorted(ranks)


def test_two_mounts_that_rotate_one_key_at_once_lose_no_version(scene: Scene, label: str) -> None:
    keys = {f"{mount}-{number}".encode().ljust(32) for mount in "ab" for number in range(25)}

    def write_all(name: str) -> None:
        mount = scene.a if name == "a" else scene.b
        for key in sorted(key for key in keys if key.startswith(name.encode())):
            (mount.path / label / "current").write_bytes(key)

    with ThreadPoolExecutor(2) as pool:
        for done in (pool.submit(write_all, "a"), pool.submit(write_all, "b")):
            done.result()
    versions = list(scene.store.versions(label).values())
    assert len(versions) == 51
    assert set(versions[1:]) == keys
    for name in (b"a", b"b"):
        own = [key for key in versions if key.startswith(name + b"-")]
        assert own == sorted(own)
    wait_on_both(scene, lambda mount: len(stamps(mount, label)) == 50)
    shown = [[m.read(label, name) for name in (*stamps(m, label), "current")] for m in (scene.a, scene.b)]
    assert shown == [versions, versions]
