"""What of one key is sealed, as a change of the master key sees it: blobs by name, or one for all of them."""

from dataclasses import dataclass

from keyfs.broker.keystore import KeyStore
from keyfs.broker.ring_resealing import ring_label
from keyfs.core.label import Label
from keyfs.core.names import Half, KeyRef
from keyfs.core.purposes import Shape
from keyfs.core.rings import ring_path
from keyfs.store.base import Blob
from keyfs.store.facts import identity_of_bytes


@dataclass(frozen=True, slots=True)
class SealedRing:
    """The sealed blobs of one key, by name: the current one, then from newest to oldest; or one for all."""

    ref: KeyRef
    labels: dict[str, Label]
    blobs: dict[str, Blob]

    def groups(self) -> list[tuple[bytes, list[str]]]:
        """Each blob with all its names. An archived copy of what is current is the same blob."""
        groups: dict[tuple[bytes, Label], list[str]] = {}
        for name, blob in self.blobs.items():
            groups.setdefault((blob.data, self.labels[name]), []).append(name)
        return [(data, names) for (data, _), names in groups.items()]

    def identities(self, names: list[str]) -> dict[str, str]:
        """Those of the blobs with these names."""
        return {name: self.blobs[name].stat.identity for name in names}

    def known_ahead(self, names: list[str], old: bytes, new: bytes) -> dict[str, str]:
        """The identities of blobs once they are sealed anew, by those before, if they follow from the bytes.

        Where they do not, a medium keeps times, which tell as much.
        """
        before, after = identity_of_bytes(old), identity_of_bytes(new)
        return {before: after} if before in self.identities(names).values() else {}


def ring_blob(keys: KeyStore, ref: KeyRef) -> str | None:
    """The name of the one blob that holds all versions of a key; None where each half is a blob."""
    directories = keys.layout.places(ref).directories
    return next((name for name in directories if keys.layout.ring_named(name) is not None), None)


def sealed_names(keys: KeyStore, ref: KeyRef) -> list[str]:
    """All names of sealed blobs of a key, the current one first, the others from newest to oldest."""
    if ref.purpose.shape is Shape.PLAIN:
        return []
    ring_name = ring_blob(keys, ref)
    if ring_name is not None:
        return [ring_name]
    found = []
    for name in keys.index.blobs(ref):
        slot = next(slot for slot in keys.layout.slots(name) if slot.ref == ref)
        if slot.half is Half.SECRET:
            found.append((slot.stamp is None, slot.stamp or "", name))
    return [name for *_, name in sorted(found, reverse=True)]


def label_of(keys: KeyStore, ref: KeyRef, name: str) -> Label:
    """What a sealed blob is bound to; the path of a ring."""
    if keys.layout.ring_named(name) is not None:
        return ring_label(ring_path(name))
    return keys.layout.label(ref, name)
