"""Lines beside the key store that say who did what to all of it, for whoever asks later."""

import json
import os
import platform
import pwd
import time
from typing import Final

from keyfs.core.stamps import rfc3339
from keyfs.store.base import Store

NAME: Final = "audit.log"


def leave_line(store: Store, action: str, **facts: object) -> None:
    """Add a line of JSON to `STORE.keyfs/audit.log`: time, *action*, *facts*, user and host.

    Args:
        store: of which it tells.
        action: one word.
        facts: whatever JSON has; no key bytes.

    Raises:
        StoreUnavailable, StoreFull, ReadOnly, AccessDenied, StoreBusy: as `Store.append_beside`.
    """
    line = {
        "time": rfc3339(time.time_ns()),
        "action": action,
        **facts,
        "user": _user(),
        "host": platform.node(),
    }
    store.append_beside(NAME, json.dumps(line).encode("ascii"))


def _user() -> str:
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)  # in a container users often have no names
