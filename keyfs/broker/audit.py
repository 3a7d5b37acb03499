"""Lines beside the key store that say who did what to all of it, for whoever asks later."""

import json
import logging
import os
import platform
import pwd
import time
from typing import Final

from keyfs.core.stamps import rfc3339
from keyfs.errors import KeyfsError
from keyfs.logs import event
from keyfs.store.base import Store

_log = logging.getLogger(__name__)
NAME: Final = "audit.log"


def leave_trace(store: Store, action: str, **facts: object) -> None:
    """Add a line of JSON to `STORE.keyfs/audit.log`: time, *action*, *facts*, user and host.

    It is of what was done already: that it could not be written down is only logged.

    Args:
        store: of which it tells.
        action: one word.
        facts: whatever JSON has; no key bytes.
    """
    line = {
        "time": rfc3339(time.time_ns()),
        "action": action,
        **facts,
        "user": _user(),
        "host": platform.node(),
    }
    try:
        store.append_beside(NAME, json.dumps(line).encode("ascii"))
    except KeyfsError as exc:
        event(_log, logging.WARNING, "audit.lost", error=exc)


def _user() -> str:
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)  # in a container users often have no names
