"""`Freshness`: may what is in memory still be served?

While nobody tells us of changes, what we have may be old. It is served for a limited time, and everyone
can see that: status, `user.keyfs.state`, one log line at the beginning and one at the end.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.core.stamps import rfc3339
from keyfs.errors import StoreUnavailable
from keyfs.logs import event

FRESH: Final = "fresh"
SERVE_STALE_S: Final = 3600.0
UNHEARD: Final = "the server does not answer"
_log = logging.getLogger(__name__)


class Freshness:
    """Tells fresh from stale.

    Args:
        keys: what is served.
        serve_stale_s: how long it may be served while changes would not be heard of.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        keys: KeyStore,
        serve_stale_s: float = SERVE_STALE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._serve_stale_s = serve_stale_s
        self._clock = clock
        self._stale_since: float | None = None
        self._stale_since_ns = 0

    def look(self, reason: str = UNHEARD) -> None:
        """Notice whether we went deaf, for the reason given; or hear again and know what was missed."""
        is_deaf, was_deaf = self._keys.is_deaf, self._stale_since is not None
        if is_deaf == was_deaf:  # every request comes here
            return
        if is_deaf:
            self._stale_since, self._stale_since_ns = self._clock(), time.time_ns()
            event(_log, logging.WARNING, "store.away", reason=reason, serving_stale_s=self._serve_stale_s)
        elif self._stale_since is not None and not self._keys.has_changes():
            away_s = round(self._clock() - self._stale_since, 1)
            self._stale_since = None
            event(_log, logging.WARNING, "store.back", away_s=away_s)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was missed when `look` was called last."""
        return self._stale_since is None

    @property
    def state(self) -> str:
        """`fresh`, or `stale since TIME`."""
        if self._stale_since is None:
            return FRESH
        return f"stale since {rfc3339(self._stale_since_ns)}"

    def demand_readable(self) -> None:
        """Nothing, if what is in memory may be served.

        Raises:
            StoreUnavailable: it is too old.
        """
        self.look()
        if self._stale_since is not None and self._clock() - self._stale_since > self._serve_stale_s:
            raise StoreUnavailable(
                f"the key store is away, {self.state}: too long to serve what is in memory"
            )

    def demand_writable(self) -> None:
        """Nothing, if a write has a chance: refused now, a write that could not be kept is never half.

        Raises:
            StoreUnavailable: the store is away.
        """
        self.look()
        if self._stale_since is not None:
            raise StoreUnavailable(f"the key store is away, {self.state}: nothing can be written")
