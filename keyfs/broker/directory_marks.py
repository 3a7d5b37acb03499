"""`DirectoryMarks`: whether names came or went in a directory since it was listed for a writer."""

from collections.abc import Iterable
from typing import Final

from keyfs.broker.recent import Recent
from keyfs.store.base import Store

MARKS_KEPT: Final = 1 << 12


class DirectoryMarks:
    """The marks of directories as they were when they were last listed (see `Store.mark`)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._marks: Recent[object] = Recent(MARKS_KEPT)

    def is_anew(self, directory: str) -> bool:
        """Whether it is not as it was, or nobody knows."""
        known = self._marks.get(directory)
        return known is None or self._store.mark(directory) != known

    def note(self, directories: Iterable[str]) -> None:
        """They are listed next, or what changed in them is known."""
        for directory in directories:
            mark = self._store.mark(directory)
            if mark is None:
                self._marks.drop(directory)
            else:
                self._marks.put(directory, mark)

    def note_again(self, directories: Iterable[str]) -> None:
        """As `note`, of those that were noted before."""
        self.note(d for d in directories if self._marks.get(d) is not None)
