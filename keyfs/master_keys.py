"""From the URIs of master keys to the ways of sealing that they stand for; and again while they are used."""

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar, cast

from keyfs.errors import KeyServiceUnavailable
from keyfs.logs import event
from keyfs.master.apart import provider_of
from keyfs.master.base import MasterKey, MasterKeyProvider, ReadBeside
from keyfs.master.env import EnvironmentMasterKey
from keyfs.master.registry import is_per_client, open_per_client, split_uris
from keyfs.seal.caching import CachingProtection
from keyfs.seal.protection import CellProtection, Protection
from keyfs.seal.registry import open_sealer
from keyfs.seal.signature import Signer

FETCH_WITHIN_S: Final = 40.0  # a program has 30 s, and a KMS that does not answer is given up before
RETRY_S: Final = 2.0
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class _Limits(Protocol):
    """How long an answer of a KMS counts; see `CachingProtection`."""

    @property
    def max_age_s(self) -> float: ...

    @property
    def max_uses(self) -> int: ...

    @property
    def stale_s(self) -> float: ...


class _ClientKeys(Protection, Protocol):
    """A KMS with a key for each client."""

    @property
    def cache(self) -> _Limits: ...

    def describe(self) -> str: ...

    def renew(self) -> None:
        """Read again what is needed to log in."""


class _Source(Protocol):
    """What one URI stands for."""

    def fetch(self, wait_s: float) -> Protection: ...

    def describe(self) -> str: ...


class Keeper(Protocol):
    """Keeps master keys beyond the life of this process."""

    def recall(self, uri: str) -> MasterKey | None:
        """What was kept of it; None where it is to be fetched."""

    def keep(self, uri: str, key: MasterKey) -> None:
        """Keep *key*, which was fetched there."""


class _MasterKeySource:
    def __init__(self, provider: MasterKeyProvider, keeper: Keeper | None) -> None:
        self._provider = provider
        self._keeper = keeper
        self.describe = provider.describe

    def fetch(self, wait_s: float) -> Protection:
        key = self._recalled() or patiently(self._provider.fetch, wait_s)
        for warning in key.warnings:
            event(_log, logging.WARNING, "master_key.suspicious", reason=warning)
        try:
            if self._keeper is not None:
                self._keeper.keep(self.describe(), key)
            signer = None if key.signature is None else Signer(key.signature)
            return CellProtection(open_sealer(key.encryption), signer)
        finally:
            key.wipe()

    def _recalled(self) -> MasterKey | None:
        return None if self._keeper is None else self._keeper.recall(self.describe())


class _ClientKeysSource:
    def __init__(self, kms: _ClientKeys) -> None:
        self._kms = kms
        self.describe = kms.describe

    def fetch(self, wait_s: float) -> Protection:
        patiently(self._kms.renew, wait_s)
        cache = self._kms.cache
        return CachingProtection(self._kms, cache.max_age_s, cache.max_uses, cache.stale_s)


class MasterKeys:
    """The list of `--master-key`: the first seals, all open.

    Args:
        uris: separated by commas.
        layout: of the key store, "v1" or "v2".
        read_beside: reads what is kept beside the key store.
        keeper: keeps what was fetched for the process that comes after us.

    Raises:
        InvalidSettings: as `open_provider`.
    """

    def __init__(self, uris: str, layout: str, read_beside: ReadBeside, keeper: Keeper | None = None) -> None:
        # Opened once: paths in a URI are meant from where we are now, and a daemon goes elsewhere.
        self._sources = [_source(uri, layout, read_beside, keeper) for uri in split_uris(uris)]

    def fetch(self, wait_s: float = 0.0) -> tuple[Protection, ...]:
        """All keys anew, and with them the ways of sealing. What a KMS opened before is forgotten.

        Args:
            wait_s: how long to go on asking a service that does not answer.

        Raises:
            MasterKeyUnavailable, KeyServiceUnavailable, InsecurePermissions, InvalidSettings: as
                `MasterKeyProvider.fetch`, or a KMS with a key for each client cannot be asked.
        """
        return tuple(source.fetch(wait_s) for source in self._sources)

    def describe(self) -> tuple[str, ...]:
        """The URIs, for status and logs. Hold no secret."""
        return tuple(source.describe() for source in self._sources)


def hide_variables(uris: str) -> None:
    """Where one of *uris* names a variable, take it out of this process; it is still fetched from there.

    Raises:
        InvalidSettings: that is no name of a variable.
    """
    for uri in split_uris(uris):
        scheme, _, name = uri.partition(":")
        if scheme.lower() == "env":
            EnvironmentMasterKey(name, "v1").hide()


def patiently(call: Callable[[], Result], wait_s: float) -> Result:
    """What *call* returns; a key service that does not answer is asked again until *wait_s* are over.

    Raises:
        KeyfsError: whatever *call* raises.
    """
    give_up_at = time.monotonic() + wait_s
    has_told = False
    while True:
        try:
            return call()
        except KeyServiceUnavailable as exc:
            left_s = give_up_at - time.monotonic()
            if left_s <= 0:
                raise
            if not has_told:
                event(_log, logging.WARNING, "master_key.waiting", reason=str(exc), wait_s=wait_s)
                has_told = True
            time.sleep(min(RETRY_S, left_s))


def _source(uri: str, layout: str, read_beside: ReadBeside, keeper: Keeper | None) -> _Source:
    if is_per_client(uri):
        return _ClientKeysSource(cast("_ClientKeys", open_per_client(uri)))
    return _MasterKeySource(provider_of(uri, layout, read_beside, FETCH_WITHIN_S), keeper)
