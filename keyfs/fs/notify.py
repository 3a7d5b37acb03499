"""What a service manager is told of a mount: sd_notify(3), spoken by ourselves.

Datagrams of `NAME=value` lines to the unix socket that `NOTIFY_SOCKET` names.
"""

import logging
import os
import socket
from collections.abc import Callable
from typing import Final

import trio

from keyfs.logs import event

SEND_WITHIN_S: Final = 1.0
FEEDS: Final = 3  # in each period of the watchdog: one that comes late does no harm
_log = logging.getLogger(__name__)


class Notifier:
    """Tells the service manager; nobody, where there is none.

    Args:
        address: a path, or `@` and the name of an abstract socket; empty for nobody.
        watchdog_s: within which time a sign of life must come; 0 for none.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s

    def tell(self, *assignments: str) -> None:
        """Send `NAME=value` lines. Never fails: what cannot be sent is told to the log."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(SEND_WITHIN_S)
                sender.sendto(os.fsencode("\n".join(assignments)), self._address)
        except OSError as exc:
            event(
                _log, logging.WARNING, "notify.failed", said=assignments[0], reason=str(exc.strerror or exc)
            )


def notifier_of_environment() -> Notifier:
    """The one that the environment names. It is taken out of there: what we start is not to speak for us."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    period_us, whose = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    is_ours = period_us.isdecimal() and whose in ("", str(os.getpid()))
    return Notifier(address, int(period_us) / 1e6 if is_ours else 0.0)


async def feed_watchdog(notifier: Notifier, read: Callable[[], int]) -> None:
    """Give the service manager its signs of life, each only after a file of our own mount was read.

    Args:
        notifier: tells it.
        read: opens a file under the mount by a process of its own; 0, or an errno. Runs in a thread.
    """
    while notifier.watchdog_s:
        if await trio.to_thread.run_sync(read, abandon_on_cancel=True) == 0:
            notifier.tell("WATCHDOG=1")
        await trio.sleep(notifier.watchdog_s / FEEDS)
