"""The answer to an open brings the key along: the read after it asks nobody."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest
from daemon_life import daemon_of

from keyfs.testing.live import new_live_store
from keyfs.testing.mounted import mounted
from keyfs.testing.waiting import wait_until

LABEL = "storage-sym/alice"
STILL_S = 5.0


@contextmanager
def standing_still(daemon: int) -> Iterator[Timer]:
    """Meanwhile the daemon answers nobody. Not for long: who reads a page cannot even be killed."""
    goes_on = Timer(STILL_S, os.kill, (daemon, signal.SIGCONT))
    os.kill(daemon, signal.SIGSTOP)
    goes_on.start()
    try:
        yield goes_on
    finally:
        goes_on.cancel()
        os.kill(daemon, signal.SIGCONT)


@pytest.mark.parametrize("is_rotated", [False, True])
def test_who_has_opened_a_key_reads_it_while_the_daemon_stands_still(
    tmp_path: Path, fuse_required: None, is_rotated: bool
) -> None:
    store = new_live_store(tmp_path)
    current = store.make(LABEL) / "current"
    # Whoever wakes watchers makes the kernel drop pages; on a read-only mount nobody does that.
    with mounted(store.mountpoint, "--read-only", environment=store.environment):
        if is_rotated:
            old, before = current.read_bytes(), current.stat().st_mtime_ns
            store.make(LABEL)
            wait_until(lambda: current.stat().st_mtime_ns > before)
            assert current.read_bytes() != old
        descriptor = os.open(current, os.O_RDONLY)
        with standing_still(daemon_of(store.mountpoint)) as goes_on:
            read = os.read(descriptor, 99)
            assert goes_on.is_alive()
        os.close(descriptor)
        assert read == store.versions(LABEL)["current"]
