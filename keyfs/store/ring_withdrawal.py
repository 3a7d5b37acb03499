"""Versions that leave their key ring whole, and come back as they were: for the archive beside the key store.

Not as those that are destroyed: their numbers stay in the ring, and Acra reads only what is current then. A
ring with gaps it reads. On its own a version is a ring of that one version, signed for the same path.
"""

from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from keyfs.core.rings import Ring, parse_whole_name, ring_path, rings_of
from keyfs.errors import KeyNotFound, MaterialCorrupt, RingInvalid
from keyfs.store.base import Replacement
from keyfs.store.ring_changes import RingChanges, RingCodec


class Withdrawals:
    """Takes versions out of their rings and puts them back, by names as of `keyfs.core.rings.whole_name`."""

    def __init__(self, changes: RingChanges, codec: RingCodec) -> None:
        self._changes = changes
        self._codec = codec

    def apart(self, name: str, ring: Ring) -> tuple[bytes, int] | None:
        """A version on its own, of an equal one the same bytes at any time, and since when it is; or None."""
        part = parse_whole_name(name)
        alone = None if part is None else ring.alone(part[1])
        if part is None or alone is None:
            return None
        since_ns = alone.keys[0].since_ns
        return self._codec.seal(ring_path(part[0]), alone, since_ns), since_ns

    def withdraw(self, names: Iterable[str]) -> None:
        """Take versions out of their rings.

        Raises:
            OperationRefused: one is current, or has the largest number.
            As `Store.delete`.
        """
        for ring_name, wholes in rings_of(names).items():
            seqnums = [part[1] for part in map(parse_whole_name, wholes) if part is not None]
            with suppress(KeyNotFound):
                self._changes.edit(ring_name, partial(Ring.without, seqnums=seqnums))

    def put_back(self, item: Replacement) -> None:
        """Let a ring have a version again.

        Raises:
            KeyNotFound: there is no such ring.
            KeyExists: it has a version of that number, or one of that number was destroyed.
            MaterialCorrupt: it is not that version, or does not verify.
            As `Store.supersede`.
        """
        part = parse_whole_name(item.name)
        assert part is not None  # noqa: S101 - who calls has looked
        try:
            alone = self._codec.open(ring_path(part[0]), item.data).alone(part[1])
        except RingInvalid as exc:
            raise MaterialCorrupt(
                f"{item.name} cannot be put back: {exc}; after keyfs rekey it takes --master-key NEW,OLD"
            ) from exc
        if alone is None:
            raise MaterialCorrupt(f"{item.name} cannot be put back: it is another version, or none")
        self._changes.edit(part[0], partial(Ring.with_again, key=alone.keys[0]))
