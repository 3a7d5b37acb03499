"""`CachingProtection`: what a KMS opened is kept for a while, so that not every read is a call and a bill.

Age and uses bound how long: then the KMS is asked again, and whoever lost the right to a key there loses it
here. While the KMS does not answer, what it opened before goes on being served, for a longer but limited
time. Nothing is kept as plaintext: each key is a Secure Cell under a key that is made when the process
starts, lies in memory of its own and dies with it.
"""

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from keyfs.core.label import Label
from keyfs.core.secret import Secret
from keyfs.errors import KeyfsError, KeyServiceUnavailable
from keyfs.logs import event
from keyfs.seal.protection import Protection
from keyfs.seal.pure import PureSealer

ENTRIES_MAX: Final = 65536  # at some 300 bytes each
LOCKS: Final = 64  # who wants the same key waits for one call; seldom does anyone wait for another key's
RETRY_S: Final = 5.0  # a KMS that did not answer is left alone for so long, where there is something to serve
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    cell: bytes
    opened_at: float
    uses_left: int


class CachingProtection:
    """A `Protection` that asks another one only now and then. Safe for threads.

    Args:
        inner: a KMS.
        max_age_s: how long an answer counts.
        max_uses: how often it does.
        stale_s: how long, from the answer on, it may be served while the KMS does not answer.
        clock: seconds, monotonic.
    """

    is_local: Final = False

    def __init__(
        self,
        inner: Protection,
        max_age_s: float,
        max_uses: int,
        stale_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._max_age_s = max_age_s
        self._max_uses = max_uses
        self._stale_s = stale_s
        self._clock = clock
        with Secret(secrets.token_bytes(32)) as key:
            self._sealer = PureSealer(key)
        self._entries: LRUCache[bytes, _Entry] = LRUCache(ENTRIES_MAX)
        self._lock = threading.Lock()  # of the entries
        self._asking = [threading.Lock() for _ in range(LOCKS)]
        self._ask_again_at = 0.0
        self._has_answered = False  # before that an outage is no news: whoever asks hears of it
        self._is_away = False

    @property
    def engine(self) -> str:
        """That of the KMS."""
        return self._inner.engine

    def seal(self, plaintext: Secret, label: Label) -> bytes:
        """See `Protection.seal`. What was sealed is not taken for what opens: that only the KMS can say."""
        return self._inner.seal(plaintext, label)

    def unseal(self, blob: bytes, label: Label) -> Secret:
        """See `Protection.unseal`. Of several callers at once for one blob, one asks."""
        name = _name(blob, label)
        with self._asking[name[0] % LOCKS]:
            known = self._take(name)
            return known if known is not None else self._ask(name, blob, label)

    def _take(self, name: bytes) -> Secret | None:
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or not self._counts(entry):
                return None
            entry.uses_left -= 1
        return self._sealer.unseal(entry.cell, name)

    def _counts(self, entry: _Entry) -> bool:
        now = self._clock()
        age_s = now - entry.opened_at
        if entry.uses_left > 0 and age_s < self._max_age_s:
            return True
        return now < self._ask_again_at and age_s < self._stale_s

    def _ask(self, name: bytes, blob: bytes, label: Label) -> Secret:
        try:
            opened = self._inner.unseal(blob, label)
        except KeyServiceUnavailable as exc:
            self._note_away(exc)
            known = self._take(name)
            if known is None:
                raise
            return known
        except KeyfsError:
            with self._lock:
                self._entries.pop(name, None)
            raise
        self._note_back()
        entry = _Entry(self._sealer.seal(opened, name), self._clock(), self._max_uses - 1)
        with self._lock:
            self._entries[name] = entry
        return opened

    def _note_away(self, reason: KeyServiceUnavailable) -> None:
        self._ask_again_at = self._clock() + RETRY_S
        if self._has_answered and not self._is_away:
            self._is_away = True
            event(_log, logging.WARNING, "kms.away", reason=str(reason), serving_stale_s=self._stale_s)

    def _note_back(self) -> None:
        self._ask_again_at, self._has_answered = 0.0, True
        if self._is_away:
            self._is_away = False
            event(_log, logging.WARNING, "kms.back")


def _name(blob: bytes, label: Label) -> bytes:
    """What one answer is for: these bytes, under this label. It says nothing of the key."""
    parts = (label.key_name.encode(), label.context, blob)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()
