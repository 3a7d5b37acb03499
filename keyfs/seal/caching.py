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
from concurrent.futures import Future, ThreadPoolExecutor
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
THREADS: Final = 8  # that ask
# Less than any reader has: a KMS that takes requests and says nothing must not keep old answers from serving.
ASK_WITHIN_S: Final = 2.0
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
        self._threads = ThreadPoolExecutor(THREADS, "kms")
        self._asking = [threading.Lock() for _ in range(LOCKS)]
        self._ask_again_at = 0.0
        self._has_answered = False  # before that an outage is no news: whoever asks hears of it
        self._is_away = False

    @property
    def engine(self) -> str:
        """That of the KMS; and that it does not answer, if so."""
        return f"{self._inner.engine} (does not answer)" if self._is_away else self._inner.engine

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
        asked = self._threads.submit(self._ask_kms, name, blob, label)
        try:
            return asked.result(ASK_WITHIN_S if self._may_serve(name) else None)
        except TimeoutError:
            self._note_away(f"no answer within {ASK_WITHIN_S:g} s")
        except KeyServiceUnavailable:
            pass
        known = self._take(name)
        if known is None:
            return asked.result()  # or its error
        asked.add_done_callback(_wipe_answer)  # only now: what is returned above must stay whole
        return known

    def _ask_kms(self, name: bytes, blob: bytes, label: Label) -> Secret:
        try:
            opened = self._inner.unseal(blob, label)
        except KeyServiceUnavailable as exc:
            self._note_away(str(exc))
            raise
        except KeyfsError:
            with self._lock:
                self._entries.pop(name, None)
            raise
        self._note_back()
        entry = _Entry(self._sealer.seal(opened, name), self._clock(), self._max_uses - 1)
        with self._lock:
            self._entries[name] = entry
        return opened

    def _may_serve(self, name: bytes) -> bool:
        """Whether there is an answer, if an old one, that serves while the KMS is away."""
        with self._lock:
            entry = self._entries.get(name)
        return entry is not None and self._clock() - entry.opened_at < self._stale_s

    def _note_away(self, reason: str) -> None:
        self._ask_again_at = self._clock() + RETRY_S
        if self._has_answered and not self._is_away:
            self._is_away = True
            event(_log, logging.WARNING, "kms.away", reason=reason, serving_stale_s=self._stale_s)

    def _note_back(self) -> None:
        self._ask_again_at, self._has_answered = 0.0, True
        if self._is_away:
            self._is_away = False
            event(_log, logging.WARNING, "kms.back")


def _wipe_answer(asked: Future[Secret]) -> None:
    """For whoever did not wait for it."""
    if asked.exception() is None:
        asked.result().wipe()


def _name(blob: bytes, label: Label) -> bytes:
    """What one answer is for: these bytes, under this label. It says nothing of the key."""
    parts = (label.key_name.encode(), label.context, blob)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()
