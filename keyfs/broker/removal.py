"""Removing versions for good: with the lock held, and not if others would be lost with them."""

import logging
from collections.abc import Callable, Sequence

from keyfs.broker.keystore import KeyStore
from keyfs.core.names import CURRENT, KeyRef
from keyfs.errors import KeyNotFound, OperationRefused
from keyfs.layout.base import KeyRing, KeyVersion
from keyfs.logs import event

Which = Callable[[KeyRing], str | None]
_log = logging.getLogger(__name__)


def destroy(keys: KeyStore, ref: KeyRef, which: Which, *, is_forced: bool = False) -> KeyVersion | None:
    """Remove one version for good; returns it.

    Args:
        keys: where it is.
        ref: the key.
        which: asked with the lock held and the ring as it is then; None for no version after all.
        is_forced: also when that makes others unreadable for Acra.

    Raises:
        KeyNotFound: there is no such version, or not any more.
        OperationRefused: it is kept for the sake of others.
        StoreBusy, ReadOnly, AccessDenied.
    """
    with keys.lock(ref):
        keys.relist(ref)
        ring = keys.ring(ref)
        version_id = which(ring)
        if version_id is None:
            return None
        version = ring.version(version_id)
        if version.is_grave:
            raise KeyNotFound(f"{ref}/{version_id} was destroyed: there is nothing left to destroy")
        if not is_forced:
            demand_expendable(keys, ring, version_id)
        remove(keys, ref, [version])
        return version


def demand_expendable(keys: KeyStore, ring: KeyRing, version_id: str) -> None:
    """Nothing, if no other version becomes unreadable for Acra without this one.

    Raises:
        OperationRefused: some would; the message says why.
    """
    why = keys.layout.why_kept(ring, version_id)
    if why:
        remedy = (
            "rotate it first, or use --force" if version_id == CURRENT else "--force does it all the same"
        )
        raise OperationRefused(f"{ring.ref}/{version_id} is not destroyed: {why}: {remedy}")


def remove(keys: KeyStore, ref: KeyRef, versions: Sequence[KeyVersion]) -> None:
    """Remove versions of one key. Call it with the lock held.

    Raises:
        ReadOnly, AccessDenied, StoreUnavailable: as `Store.delete`.
    """
    # The public half first: alone, it would look like a version of its own.
    names = [part.name for v in versions for part in (v.public, v.secret) if part is not None]
    keys.store.delete(names)
    keys.relist(ref, names)
    for version in versions:
        event(_log, logging.INFO, "version.destroyed", key=str(ref), version=version.id)
