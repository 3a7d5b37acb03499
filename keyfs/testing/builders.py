"""A whole key store in memory for tests: real layout, real sealer, a clock that the test sets."""
# ruff: noqa: S101 - tests state what holds by asserting it

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

from keyfs.broker.broker import KeyBroker
from keyfs.broker.changes import Tools
from keyfs.broker.controls import MountInfo, controls
from keyfs.broker.freshness import Freshness
from keyfs.broker.keystore import KeyStore
from keyfs.broker.outcomes import Outcomes
from keyfs.broker.tree import Tree
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half, KeyRef, parse_key_ref
from keyfs.core.policy import Policy
from keyfs.core.secret import Secret
from keyfs.core.stamps import rfc3339
from keyfs.layout.base import Layout
from keyfs.layout.v1 import LayoutV1
from keyfs.offload import Offload
from keyfs.seal.base import Sealer
from keyfs.seal.keypair import generate_pair, public_from_private
from keyfs.seal.protection import Protections
from keyfs.seal.pure import PureSealer
from keyfs.store.base import Store
from keyfs.testing.faults import FaultyStore
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

MASTER_KEY: Final = bytes(range(101, 133))
NOON_NS: Final = 1_795_521_600_000_000_000  # 2026-11-24T12:00:00
STORAGE: Final = parse_key_ref("storage/alice")
STORAGE_SYM: Final = parse_key_ref("storage-sym/alice")
HMAC_SYM: Final = parse_key_ref("hmac-sym/alice")
POISON: Final = parse_key_ref("poison-record")
POISON_SYM: Final = parse_key_ref("poison-record-sym")
AUDIT_LOG: Final = parse_key_ref("audit-log")
EVERY_REF: Final = (STORAGE, STORAGE_SYM, HMAC_SYM, POISON, POISON_SYM, AUDIT_LOG)


class ManualClock:
    """Says what time it is told; each look may make it go on by *step_ns*."""

    def __init__(self, now_ns: int = NOON_NS, step_ns: int = 1_000_000_000) -> None:
        self.now_ns = now_ns
        self.step_ns = step_ns

    def __call__(self) -> int:
        """Nanoseconds since 1970."""
        self.now_ns += self.step_ns
        return self.now_ns


@dataclass(frozen=True, slots=True)
class Keys:
    """A key store and all that it is made of. *store* stands between *keys* and the medium."""

    store: FaultyStore
    keys: KeyStore
    writer: RingWriter
    clock: ManualClock
    sealer: Sealer

    def secret(self, ref: KeyRef, version: str = CURRENT) -> bytes:
        """The private or symmetric bytes of a version."""
        return self.keys.read(ref, version, Half.SECRET)[0].material.reveal()

    def public(self, ref: KeyRef, version: str = CURRENT) -> bytes:
        """The public bytes of a version."""
        return self.keys.read(ref, version, Half.PUBLIC)[0].material.reveal()

    def versions(self, ref: KeyRef) -> list[str]:
        """The ids of all versions, oldest first."""
        return [version.id for version in self.keys.ring(ref).versions]

    def values(self, ref: KeyRef) -> list[bytes]:
        """The private or symmetric bytes of all versions, oldest first."""
        return [self.secret(ref, version) for version in self.versions(ref)]

    def assert_sound(self, ref: KeyRef) -> None:
        """One current version, and it is last; ids grow, or times and ids; halves belong together."""
        ring = self.keys.ring(ref)
        ids = [version.id for version in ring.versions]
        assert ids == [*sorted(set(ids[:-1]), key=_age), CURRENT]
        created = [version.created_ns for version in ring.versions if version.created_ns is not None]
        assert created == sorted(set(created)) or all(version.number for version in ring.versions)
        assert not ring.orphans
        if not ref.purpose.is_pair:
            return
        for version in ring.versions:
            if version.is_grave:
                continue
            private = Secret(self.secret(ref, version.id))
            assert self.public(ref, version.id) == public_from_private(private)
            assert self.keys.reader.stored_matches(ref, version)

    def sealed(self, ref: KeyRef, material: bytes, name: str = "") -> bytes:
        """*material* as a blob of this key store; its *name* counts for own purposes only."""
        return self.sealer.seal(Secret(material), self.keys.layout.label(ref, name).context)


def in_memory(medium: Medium, *, legacy: bool = False, sealer: Sealer | None = None) -> Keys:
    """The key store on *medium*, listed."""
    return on_store(MemoryStore(medium), legacy=legacy, sealer=sealer)


def on_store(
    store: Store, *, legacy: bool = False, sealer: Sealer | None = None, layout: Layout | None = None
) -> Keys:
    """The key store on *store*, listed."""
    faulty, clock = FaultyStore(store), ManualClock()
    sealer = sealer or PureSealer(Secret(MASTER_KEY))
    keys = KeyStore(faulty, layout or LayoutV1(legacy=legacy), Protections.under(sealer))
    keys.load()
    return Keys(faulty, keys, RingWriter(keys, clock), clock, sealer)


@contextmanager
def watched(medium: Medium) -> Iterator[Keys]:
    """The key store on *medium* as a mount has it: changes by others are heard of."""
    made = in_memory(medium)
    with closing(made.keys):
        made.keys.watch()
        yield made


def full_medium() -> Medium:
    """A medium with one version of a key of every modern purpose."""
    medium = Medium()
    made = in_memory(medium)
    for ref in EVERY_REF:
        made.writer.import_material(ref, new_material(ref))
    return medium


def broker_on(
    keys: KeyStore,
    writer: RingWriter,
    *,
    is_writable: bool = True,
    may_destroy: bool = False,
    policy: Policy | None = None,
) -> KeyBroker:
    """A broker as a mount has it, with a tree that shows `.keyfs` too."""
    info = MountInfo("0", 1, "/m", "memory:", "v1", not is_writable, rfc3339(NOON_NS))
    freshness = Freshness(keys)
    outcomes = Outcomes(lambda: NOON_NS)
    shown = {**controls(keys, info, lambda: freshness.state), "rotations": outcomes.render}
    tree = Tree(keys, shown, is_writable=is_writable, started_ns=NOON_NS, policy=policy)
    return KeyBroker(Tools(keys, writer, tree, Offload(), freshness, outcomes, may_destroy))


def _age(version_id: str) -> tuple[int, str]:
    """By which ids are in order: numbers as numbers, stamps as they are."""
    return (int(version_id), "") if version_id.isdecimal() else (0, version_id)


def new_material(ref: KeyRef, fill: int = 0) -> bytes:
    """A key of this kind: 32 equal bytes, or a new private container."""
    return generate_pair()[0].reveal() if ref.purpose.is_pair else bytes([fill]) * 32


def snapshot(medium: Medium) -> dict[str, tuple[bytes, str]]:
    """Everything on a medium: bytes and identity by name. Equal snapshots mean that nothing was touched."""
    return {name: (blob.data, blob.stat.identity) for name, blob in medium.blobs.items()}
