"""A key store whose keys are old, and a configuration file with a schedule for it."""

import os
from pathlib import Path

from command_line import Ran, keyfs

from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.shared_store import SharedStore

DAY_S = 86_400
AGES = {"storage/alice": 100, "storage/bobby": 10, "storage-sym/alice": 400, "audit-log": 95}
FILES = {
    "storage/alice": ("alice_storage", "alice_storage.pub"),
    "storage/bobby": ("bobby_storage", "bobby_storage.pub"),
    "storage-sym/alice": ("alice_storage_sym",),
    "audit-log": ("secure_log_key",),
}
CONFIG = """
[rotation]
every = "98d"
keep = 1

[rotation.purpose.storage]
every = "never"

[purpose.token]
kind = "opaque"
"""


def aged(place: Path, config: str) -> LiveStore:
    """A store whose keys have the ages that stand above, in days."""
    made = new_live_store(place, config)
    for label, days in AGES.items():
        made.make(label)
        for name in FILES[label]:
            path = made.root / name
            then = path.stat().st_mtime - days * DAY_S
            os.utime(path, (then, then))
    return made


def run(store: LiveStore | SharedStore, *words: str | Path) -> Ran:
    return keyfs(*words, environment=store.environment)
