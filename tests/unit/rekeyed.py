"""Key stores whose master key is changed: what they are made of, and what must hold of them all along."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from keyfs.broker.keystore import KeyStore
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.broker.writer import RingWriter
from keyfs.core.label import Label
from keyfs.core.names import Half
from keyfs.core.secret import Secret
from keyfs.errors import KeyfsError, OperationRefused, UnsealFailed
from keyfs.layout.v1 import LayoutV1
from keyfs.seal.protection import CellProtection, Protection, Protections
from keyfs.seal.pure import PureSealer
from keyfs.store.base import Store
from keyfs.testing.builders import EVERY_REF, ManualClock
from keyfs.testing.faults import FaultyStore
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

OLD_KEY, NEW_KEY = bytes(range(32)), bytes(range(50, 82))
Versions = dict[str, list[tuple[object, ...]]]


def under(key: bytes) -> Protection:
    """Secure Cell under that master key."""
    return CellProtection(PureSealer(Secret(key)))


def opened(store: Store, *members: Protection, legacy: bool = True) -> KeyStore:
    """The key store, listed; the first member seals."""
    keys = KeyStore(store, LayoutV1(legacy=legacy), Protections(members))
    keys.load()
    return keys


def writer_under(store: Store, *members: Protection) -> RingWriter:
    """Who writes to it."""
    return RingWriter(opened(store, *members, legacy=False), ManualClock())


def full(medium: Medium, history: int = 3, member: Protection | None = None) -> Medium:
    """A medium with so many versions of a key of every modern purpose."""
    writer = writer_under(MemoryStore(medium), member or under(OLD_KEY))
    for ref in EVERY_REF:
        writer.generate(ref)
        for _ in range(history - 1):
            writer.rotate(ref)
    return medium


def versions(keys: KeyStore) -> Versions:
    """What nobody may see changing: both halves of each version, where it is and since when."""
    found: Versions = {}
    for ring in keys.rings():
        for version in ring.versions:
            facts: list[object] = [version.id, version.created_ns, version.retired_ns, ring.orphans]
            for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public)):
                if part is not None:
                    material = keys.read(ring.ref, version.id, half)[0].material.reveal()
                    facts += [part.name, part.size, part.stat.mode, part.stat.mtime_ns, material]
            found.setdefault(str(ring.ref), []).append(tuple(facts))
    return found


def versions_under(medium: Medium, *members: Protection) -> Versions:
    """As `versions`, opened anew."""
    return versions(opened(MemoryStore(medium), *members))


@dataclass
class Change:
    """A change of the master key, on a store that can be made to fail."""

    medium: Medium
    new: Protection = field(default_factory=lambda: under(NEW_KEY))
    old: Sequence[Protection] = field(default_factory=lambda: (under(OLD_KEY),))

    def __post_init__(self) -> None:
        self.store = FaultyStore(MemoryStore(self.medium))
        self.report = RekeyReport()

    def run(self, *, dry_run: bool = False) -> RekeyReport:
        """Do it; an error leaves the report of what was done."""
        self.report = RekeyReport()
        keys = opened(self.store, self.new, *self.old)
        rekey(keys, self.new, self.report, dry_run=dry_run)
        return self.report


class ClientKeys:
    """A way of sealing with a key for each client: no Secure Cell, as in a KMS. None for *without*."""

    is_local = False
    engine = "double of a KMS"

    def __init__(self, fails: dict[int, KeyfsError] | None = None) -> None:
        self._sealers: dict[str, PureSealer] = {}
        self._fails = fails or {}
        self.calls = 0

    def seal(self, plaintext: Secret, label: Label) -> bytes:
        self._call(label)
        return b"kms:" + self._sealer(label).seal(plaintext, label.context)

    def unseal(self, blob: bytes, label: Label) -> Secret:
        self._call(label)
        if not blob.startswith(b"kms:"):
            raise UnsealFailed("not of this KMS")
        return self._sealer(label).unseal(blob[4:], label.context)

    def _call(self, label: Label) -> None:
        self.calls += 1
        if self.calls in self._fails:
            raise self._fails[self.calls]
        if not label.key_name:
            raise OperationRefused("no key for that")

    def _sealer(self, label: Label) -> PureSealer:
        if label.key_name not in self._sealers:
            self._sealers[label.key_name] = PureSealer(Secret(secrets.token_bytes(32)))
        return self._sealers[label.key_name]


class Recorded:
    """Another way of sealing that remembers what it handed out."""

    def __init__(self, inner: Protection) -> None:
        self._inner = inner
        self.is_local = inner.is_local
        self.engine = inner.engine
        self.handed_out: list[Secret] = []

    def seal(self, plaintext: Secret, label: Label) -> bytes:
        return self._inner.seal(plaintext, label)

    def unseal(self, blob: bytes, label: Label) -> Secret:
        self.handed_out.append(self._inner.unseal(blob, label))
        return self.handed_out[-1]

    @property
    def all_wiped(self) -> bool:
        """Whether nothing is left of it."""
        return bool(self.handed_out) and all(not any(secret.view()) for secret in self.handed_out)
