"""Another master key for stores of layout v2 by Acra, read by an independent reader before and after."""

import base64
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from ring_reader import MARK, Container, ReadRing, read_ring

from keyfs import app
from keyfs.broker.keystore import KeyStore
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.errors import RingInvalid
from keyfs.layout.base import KeyRing
from keyfs.master.encoding import decode
from keyfs.master.generate import generate as new_master_key
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.stores import restore_real_store, restore_small_store

VECTORS = Path(__file__).parents[1] / "vectors"
REAL, SMALL = ("v2-dir", "v2-tz", "v2-odd", "v2-migrated"), ("rotated2", "destroyed2", "states2", "tz2")
CASES = [(name, kind) for name in (*REAL, *SMALL) for kind in ("directory", "redis")]


@dataclass(frozen=True)
class Site:
    """A key store of layout v2, and what is in it past keyfs."""

    uri: str
    root: Path
    server: RedisServer | None
    place: Path  # for files with master keys
    is_zoned: bool

    @contextmanager
    def opened(self, *keys: str) -> Iterator[KeyStore]:
        uris = ",".join(f"file:{self.place / key}" for key in keys)
        store, _ = app.open_keys(app.Access(self.uri, uris, legacy=True, undeclared=True))
        with closing(store):
            store.load()
            yield store

    def rekey(self) -> RekeyReport:
        report = RekeyReport()
        with self.opened("new", "old") as keys:
            assert keys.protection is not None
            rekey(keys, keys.protection.members[0], report)
        return report

    def listed(self, key: str) -> list[KeyRing]:
        """What a reader sees of it; not what files and blobs are, which are others."""
        with self.opened(key) as keys:
            return sorted((without_parts(ring) for ring in keys.rings()), key=lambda ring: str(ring.ref))

    def master_key(self, name: str) -> tuple[bytes, bytes]:
        known = decode((self.place / name).read_bytes(), "v2")
        assert known.signature is not None
        return known.encryption.reveal(), known.signature.reveal()

    def files(self) -> dict[str, bytes]:
        """By ring path."""
        if self.server is None:
            paths = (path for path in self.root.rglob("*.keyring"))
            return {str(p.relative_to(self.root)).removesuffix(".keyring"): p.read_bytes() for p in paths}
        names = [key.decode() for key in self.server.admin.keys("ks/*.keyring")]
        return {
            name.removeprefix("ks/").removesuffix(".keyring"): base64.b64decode(self.server.ask("GET", name))
            for name in names
        }

    def rings(self, key: str) -> dict[str, ReadRing]:
        """Those that the independent reader accepts; for the others the reason is the specification's."""
        found = {}
        for path, der in self.files().items():
            with suppress(AssertionError, ValueError):
                found[path] = read_ring(path, der, *self.master_key(key), is_zoned=self.is_zoned)
        return found


def without_parts(ring: KeyRing) -> KeyRing:
    return ring._replace(versions=tuple(v._replace(secret=None, public=None) for v in ring.versions))


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def site_of(name: str, kind: str, place: Path, server: RedisServer) -> Site:
    real = (restore_small_store if name in SMALL else restore_real_store)(VECTORS, name, place)
    for key, text in (("old", real.master_key), ("new", new_master_key("v2"))):
        (place / key).touch(0o600)
        (place / key).write_text(text)
    if kind == "directory":
        return Site(real.uri, real.root, None, place, "tz" in name)
    server.ask("FLUSHALL")
    for path in (path for path in real.root.rglob("*") if path.is_file() and path.name != ".lock"):
        data = path.read_bytes()
        value = data if data == MARK else base64.b64encode(data)
        server.ask("SET", f"ks/{path.relative_to(real.root)}", value)
    return Site(server.unix_uri(), real.root, server, place, "tz" in name)


def unsealed(der: bytes) -> bytes:
    """A ring's file without what is sealed in it, and without its signature; all else to the letter."""
    container = Container.load(der)
    payload = container["payload"]
    for key in payload["data"]["keys"]:
        for data in key["data"]:
            for part in ("private", "symmetric"):
                if data[part].native is not None:
                    data[part] = b"-"
    return bytes(payload.dump())


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_all_opens_to_the_same_under_the_new_key_and_nothing_under_the_old(
    name: str, kind: str, tmp_path: Path, server: RedisServer
) -> None:
    site = site_of(name, kind, tmp_path, server)
    before, files, listed = site.rings("old"), site.files(), site.listed("old")
    sealed = sum(max(1, sum(key.plain is not None for key in ring.keys)) for ring in before.values())
    report = site.rekey()
    refused = {path: der for path, der in files.items() if path not in before}
    assert bool(refused) == (name == "states2")
    assert (report.rewrapped, report.already) == (sealed, 0)
    assert {name: type(exc) for name, exc in report.failed.items()} == {
        f"{path}.keyring": RingInvalid for path in refused
    }
    assert site.rings("new") == before
    assert not site.rings("old")
    assert site.listed("new") == listed
    after = site.files()
    assert {path: unsealed(after[path]) for path in before} == {p: unsealed(files[p]) for p in before}
    assert refused.items() <= after.items()
    again = site.rekey()
    assert (again.rewrapped, again.already) == (0, sealed)
    assert site.files() == after
