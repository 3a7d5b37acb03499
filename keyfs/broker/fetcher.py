"""`Fetcher`: cold blobs are fetched together. Same key: one fetch. Different keys: one round trip."""

import trio

from keyfs.broker.reader import BlobReader
from keyfs.errors import KeyfsError
from keyfs.layout.base import Part
from keyfs.offload import Offload


class _Batch:
    """What is wanted by all who came while the round before was under way."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.is_done = False
        self.error: KeyfsError | None = None


class Fetcher:
    """Brings blobs into the reader's memory.

    One round trip is under way at a time. Whoever comes meanwhile joins the next batch; the first of them
    to get its turn fetches for all. If it gives up at its deadline, the next one does.
    """

    def __init__(self, reader: BlobReader, offload: Offload) -> None:
        self._reader = reader
        self._offload = offload
        self._turn = trio.Lock()
        self._next = _Batch()

    async def warm(self, *parts: Part) -> None:
        """Fetch what is not in memory yet. A blob that cannot be read is no error here: reading it tells.

        Raises:
            StoreUnavailable: the medium does not answer.
        """
        batch = self._next
        batch.parts.update((part.name, part) for part in parts)
        async with self._turn:
            if not batch.is_done:
                if batch is self._next:
                    self._next = _Batch()
                await self._fetch(batch)
        if batch.error is not None:
            raise batch.error

    async def _fetch(self, batch: _Batch) -> None:
        try:
            await self._offload.read(self._reader.prefetch, tuple(batch.parts.values()))
        except KeyfsError as exc:
            batch.error = exc
        batch.is_done = True
