"""A key that odd things are done to, and what must hold afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from opened_files import KEY

from keyfs.testing.live import LiveStore, live_store

OLD: Final = b"o" * 32
LABEL: Final = "storage-sym/alice"


@contextmanager
def odd_site(place: Path) -> Iterator[LiveStore]:
    """A mount with a few keys."""
    with live_store(place, "--allow-other") as store:
        for label in ("storage/alice", "audit-log"):
            store.make(label)
        yield store


@contextmanager
def unharmed_key(live: LiveStore) -> Iterator[Path]:
    """A key's directory; at the end the mount answers, nothing is lost or mixed, and no handler failed."""
    directory = live.make(LABEL, OLD)
    before = list(live.versions(LABEL).values())
    yield directory
    assert (live.mountpoint / ".keyfs/status").read_text()
    after = list(live.versions(LABEL).values())
    assert after[: len(before)] == before
    assert set(after) <= {OLD, KEY}
    assert (directory / "current").read_bytes() == after[-1]
    for words in ("request.bug", "request.late", "Traceback"):
        assert not live.logged(words)
