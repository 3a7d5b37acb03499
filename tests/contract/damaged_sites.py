"""Sound key stores on real media, and all that can be wrong with one: what is done to it, past keyfs."""

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from keyfs import app
from keyfs.broker.archive import archive
from keyfs.broker.keystore import KeyStore
from keyfs.broker.state_changes import StateWriter
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.rings import NO_CURRENT, KeyData, Ring
from keyfs.core.states import KeyState
from keyfs.errors import KeyfsError
from keyfs.master.encoding import decode
from keyfs.master.generate import generate as new_master_key
from keyfs.seal.keypair import generate_pair
from keyfs.seal.rings import SignedRings
from keyfs.seal.signature import Signer
from keyfs.store.base import STATES_BESIDE
from keyfs.testing.builders import HMAC_SYM, STORAGE, STORAGE_SYM
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.ring_stores import SINCE_NS, ring_key

PAIR: Final = "client/alice/storage"
HMAC: Final = "client/alice/hmac-sym"


@dataclass(frozen=True)
class Site:
    """A key store, and what is in it and beside it past keyfs."""

    uri: str
    layout: str
    place: Path
    server: RedisServer | None

    @contextmanager
    def opened(self) -> Iterator[tuple[KeyStore, RingWriter]]:
        keys, writer = app.open_keys(app.Access(self.uri, f"file:{self.place / 'key'}"))
        with closing(keys):
            keys.load()
            yield keys, writer

    def values(self) -> dict[tuple[str, str, Half], bytes]:
        """Every half that can be read, by the id that it keeps."""
        found = {}
        with self.opened() as (keys, _):
            for ring in keys.rings():
                for version in ring.versions:
                    for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public)):
                        try:
                            if part is not None:
                                opened = keys.read(ring.ref, version.id, half)[0]
                                name = str(ring.ref), version.number or version.id, half
                                found[name] = opened.material.reveal()
                        except KeyfsError:
                            continue
        return found

    def get(self, name: str) -> bytes:
        if self.server is None:
            return (self.place / "keys" / name).read_bytes()
        return base64.b64decode(self.server.ask("GET", f"keys/{name}"))

    def put(self, name: str, data: bytes) -> None:
        if self.server is not None:
            self.server.ask("SET", f"keys/{name}", base64.b64encode(data))
            return
        path = self.place / "keys" / name
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_bytes(data)

    def remove(self, prefix: str) -> None:
        """All whose names begin so."""
        for name in [name for name in self.everything() if name.startswith(f"keys/{prefix}")]:
            if self.server is None:
                (self.place / name).unlink()
            else:
                self.server.ask("DEL", name)

    def copy(self, name: str, target: str) -> None:
        """As a rotation archives it."""
        if self.server is not None:
            self.server.ask("COPY", f"keys/{name}", f"keys/{target}")
            return
        (self.place / "keys" / target).parent.mkdir(0o700, exist_ok=True)
        os.link(self.place / "keys" / name, self.place / "keys" / target)

    def everything(self) -> dict[str, bytes]:
        """All there is, in the store and beside it, but for locks."""
        if self.server is not None:
            names = [key.decode() for key in self.server.ask("KEYS", "*")]
            found = {name: self.server.ask("GET", name) for name in names}
        else:
            files = [path for path in self.place.rglob("*") if path.is_file()]
            found = {str(path.relative_to(self.place)): path.read_bytes() for path in files}
        return {name: data for name, data in found.items() if not name.endswith("lock") and name != "key"}

    def is_there(self, said: str) -> bool:
        """Whether something lies where a finding says."""
        name = said.removeprefix(f"{self.place}/").removesuffix(" beside the key store")
        return bool({name, f"keys.keyfs/{name}"} & self.everything().keys())

    def beside(self, name: str, data: bytes) -> None:
        with self.opened() as (keys, _):
            keys.store.write_beside(name, data)

    @property
    def codec(self) -> SignedRings:
        known = decode((self.place / "key").read_bytes(), "v2")
        assert known.signature is not None
        signer = Signer(known.signature)
        return SignedRings(lambda: [signer])

    def edit(self, path: str, change: Callable[[Ring], Ring]) -> None:
        """As somebody does who has the master key."""
        ring = self.codec.open(path, self.get(f"{path}.keyring"))
        self.put(f"{path}.keyring", self.codec.seal(path, change(ring), SINCE_NS))


@dataclass(frozen=True)
class Template:
    """A sound store, to be had again and again."""

    site: Site
    in_redis: dict[str, bytes]

    def copy(self, place: Path) -> Site:
        """The same again. There is one in Redis at a time."""
        site = self.site
        if site.server is None:
            shutil.copytree(site.place, place, dirs_exist_ok=True)
            return replace(site, uri=f"dir:{place}/keys", place=place)
        site.server.ask("FLUSHALL")
        for name, data in self.in_redis.items():
            site.server.ask("SET", name, data)
        return site


def make_template(place: Path, layout: str, server: RedisServer | None) -> Template:
    """As `make_site`."""
    site = make_site(place, layout, server)
    return Template(site, {} if server is None else site.everything())


def make_site(place: Path, layout: str, server: RedisServer | None) -> Site:
    """With two versions of some keys, a state, and in layout v1 an archive."""
    site = Site(f"dir:{place}/keys" if server is None else server.unix_uri("keys"), layout, place, server)
    if server is not None:
        server.ask("FLUSHALL")
    (place / "key").touch(0o600)
    (place / "key").write_text(new_master_key(layout))
    app.init_store(site.uri, layout)
    with site.opened() as (keys, writer):
        for ref in (STORAGE, STORAGE_SYM, HMAC_SYM):
            writer.generate(ref)
            writer.rotate(ref)
        StateWriter(keys).set(STORAGE_SYM, CURRENT, KeyState.SUSPENDED, "a reason")
        if layout == "v1":
            archive(keys, HMAC_SYM, lambda ring: ring.versions)
    return site


def say(site: Site, ref: KeyRef) -> None:
    with site.opened() as (keys, _):
        StateWriter(keys).set(ref, CURRENT, KeyState.SUSPENDED)


def lose_a_key_with_a_state(site: Site) -> None:
    say(site, HMAC_SYM)
    site.remove("alice_hmac" if site.layout == "v1" else HMAC)


def damage_states(site: Site) -> None:
    """The last of two records is torn."""
    say(site, STORAGE)
    with site.opened() as (keys, _):
        text = keys.store.read_beside(STATES_BESIDE) or b""
    site.beside(STATES_BESIDE, text[: text.rindex(b'"at_ns"')])


def damage_archive(site: Site) -> None:
    site.beside("archive.jsonl", b'{"key": "storage')


def spoil_a_key(site: Site) -> None:
    if site.layout == "v1":
        site.put("alice_hmac", b"x" * 76)
        return
    spoiled = (KeyData(3, symmetric=b"x" * 76),)
    site.edit(HMAC, lambda ring: ring.with_key(replace(ring.keys[1], data=spoiled, raw=b"")))


def change_a_public_half(site: Site) -> None:
    public = generate_pair()[1]
    if site.layout == "v1":
        site.put("alice_storage.pub", public)
        return
    site.edit(PAIR, lambda r: r.with_key(r.keys[1].holding(r.keys[1].secret, public, is_pair=True)))


def lock_for_ever(site: Site) -> None:
    assert site.server is not None
    site.server.ask("SET", "keys.keyfs/lock", "dead")
    if site.layout == "v2":
        site.server.ask("SET", "keys/.lock", "locked")


def flip(site: Site) -> None:
    data = site.get(f"{PAIR}.keyring")
    site.put(f"{PAIR}.keyring", data[:-1] + bytes([data[-1] ^ 1]))


def put_ring(site: Site, path: str, ring: Ring) -> None:
    site.put(f"{path}.keyring", site.codec.seal(path, ring, SINCE_NS))


def twice(ring: Ring) -> Ring:
    return replace(ring, keys=(*ring.keys, replace(ring.keys[0], raw=b"")))


@dataclass(frozen=True)
class Case:
    """What is done, where that can be, what it is called, whether it is a note, whether it can be mended."""

    damage: Callable[[Site], object]
    layouts: str
    code: str
    is_mended: bool = False
    is_note: bool = False
    media: str = "directory"


BOTH: Final = "v1 v2"
MEDIA: Final = "directory redis"
STAMP: Final = "2030-01-01T00:00:00"
CASES: Final = {
    "a file that is no key": Case(lambda s: s.put("notes_1.txt", b"x"), BOTH, "stray"),
    "a damaged key": Case(spoil_a_key, BOTH, "unreadable", media="redis"),
    "another public half": Case(change_a_public_half, BOTH, "pair", True, media=MEDIA),
    "damaged states": Case(damage_states, BOTH, "states-damaged", True, media=MEDIA),
    "a state of nothing": Case(lose_a_key_with_a_state, BOTH, "states-orphan", True, True, media=MEDIA),
    "a damaged archive": Case(damage_archive, BOTH, "archive-damaged", media="redis"),
    "a lock without an end": Case(lock_for_ever, BOTH, "lock", True, media="redis"),
    "what a write left": Case(lambda s: s.put("alice_storage4711", b"x"), "v1", "left-over", True),
    "a rotation that stopped": Case(
        lambda s: s.copy("alice_storage_sym", f"alice_storage_sym.old/{STAMP}"),
        "v1",
        "half-done",
        True,
        media=MEDIA,
    ),
    "what Acra's write left": Case(
        lambda s: s.put(f"{PAIR}.keyring.new", b"new"), "v2", "left-over", True, media=MEDIA
    ),
    "an empty ring": Case(
        lambda s: put_ring(s, "client/nobody/storage", Ring(b"")), "v2", "empty-ring", True, media=MEDIA
    ),
    "a ring without bytes": Case(
        lambda s: s.put(f"{PAIR}.keyring", b""), "v2", "empty-ring", True, media=MEDIA
    ),
    "a strange file without bytes": Case(lambda s: s.put("zone/x/y.keyring", b""), "v2", "empty-ring", True),
    "a changed ring": Case(flip, "v2", "ring-signature", media=MEDIA),
    "a ring that was moved": Case(
        lambda s: s.put("client/nobody/storage.keyring", s.get(f"{PAIR}.keyring")), "v2", "ring-signature"
    ),
    "no ring": Case(lambda s: s.put(f"{PAIR}.keyring", b"junk"), "v2", "ring-form", media="redis"),
    "a ring of no purpose": Case(
        lambda s: put_ring(s, "client/alice/other", Ring(b"", (ring_key(1),), 1)), "v2", "stray"
    ),
    "a legacy ring": Case(
        lambda s: put_ring(s, "authentication", Ring(b"", (ring_key(1),), 1)), "v2", "stray", False, True
    ),
    "a number twice": Case(lambda s: s.edit(HMAC, twice), "v2", "stray", media="redis"),
    "a newer version": Case(
        lambda s: s.edit(HMAC, lambda ring: replace(ring, current=1)), "v2", "newer", False, True
    ),
    "nothing current": Case(
        lambda s: s.edit(HMAC, lambda ring: replace(ring, current=NO_CURRENT)),
        "v2",
        "no-current",
        False,
        True,
    ),
}
