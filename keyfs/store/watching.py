"""The port: what tells of changes in a store, whoever makes them. See `keyfs.store.base.Store.watch`."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since the last look. *lost* means events were dropped: list everything again."""

    names: frozenset[str]  # of blobs; and `keyfs.store.base.STATES_CHANGED`
    lost: bool


class Watch(Protocol):
    """Tells of changes made by anyone, this process included."""

    waits: bool  # whether `take` has every change that was complete before it was called

    @property
    def is_connected(self) -> bool:
        """Whether changes would be heard of now."""

    def fileno(self) -> int:
        """A descriptor that becomes readable when there is something to take."""

    def pending(self) -> bool:
        """Whether `take` would have something to tell. Never blocks."""

    def take(self) -> Changes:
        """All changes that arrived before this call. Never blocks."""

    def renew(self) -> None:
        """Watch everything again, as after lost events. What can be watched by now is; the rest is not."""

    def close(self) -> None:
        """Stop watching. Safe to call twice."""
