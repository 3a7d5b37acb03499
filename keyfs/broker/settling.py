"""Half-done or left over? An Acra tool takes no lock in layout v1, and rotates in several steps.

For less than a millisecond of that a key store looks half-done. What has looked so for a while is left over.
"""

import time
from typing import Final

from keyfs.core.stamps import NANOSECONDS

SETTLE_S: Final = 2.0
PAUSE_S: Final = 0.02


class Patience:
    """How long a check waits for others to finish: once for all that it found at its beginning.

    Args:
        settle_s: how old something must be to count as left over.
    """

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self._began = time.monotonic()

    def is_old(self, time_ns: int | None) -> bool:
        """Whether what was made then is left over; None where nothing tells when it was made."""
        if self.is_over:
            return True
        return time_ns is not None and (time.time_ns() - time_ns) / NANOSECONDS >= self.settle_s

    @property
    def is_over(self) -> bool:
        """Whether all that was there at the beginning is old by now."""
        return time.monotonic() - self._began >= self.settle_s

    def wait(self) -> None:
        """Until it is over."""
        time.sleep(max(0.0, self._began + self.settle_s - time.monotonic()))
