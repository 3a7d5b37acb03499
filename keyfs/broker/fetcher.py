"""`Fetcher`: cold blobs are fetched together. Same key: one fetch. Different keys: one round trip."""

from collections.abc import Collection

import trio

from keyfs.broker.line import Line
from keyfs.broker.reader import BlobReader
from keyfs.errors import KeyfsError
from keyfs.layout.base import Part
from keyfs.offload import Offload
from keyfs.store.base import Store


class _Batch:
    """What is wanted by all who came while the round before was under way."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.is_done = False
        self.error: KeyfsError | None = None


class Fetcher:
    """Brings blobs into the reader's memory.

    On the store's channel, if it has one; else, and for what does not come there, in a thread. Of those
    round trips one is under way at a time. Whoever comes meanwhile joins the next batch; the first of them to
    get its turn fetches for all. If it gives up at its deadline, the next one does.
    """

    def __init__(self, store: Store, reader: BlobReader, offload: Offload) -> None:
        self._reader = reader
        self._offload = offload
        self._line = Line(store, offload, reader.keep)
        self._turn = trio.Lock()
        self._next = _Batch()

    async def run(self) -> None:
        """Keep the channel open, if the store has one; without this task there is none."""
        await self._line.run()

    @property
    def has_channel(self) -> bool:
        """Whether blobs can be asked for without waiting, as `foresee` does it."""
        return self._line.is_open

    def foresee(self, part: Part) -> None:
        """This blob is likely to be wanted soon: ask for it on the channel. Never blocks."""
        if self._reader.cached(part) is None:
            self._line.ask([part.name])

    def take_near(self) -> None:
        """Take what came on the channel. Never blocks."""
        self._line.take_near()

    def warm_near(self, *parts: Part) -> None:
        """As `warm`, at once, where the store answers at once; what does not come is left for `warm`."""
        if self._line.is_open:
            self._line.fetch_near(self._cold(parts))

    async def warm(self, *parts: Part) -> None:
        """Fetch what is not in memory yet. A blob that cannot be read is no error here: reading it tells.

        Raises:
            StoreUnavailable: the medium does not answer.
        """
        if self._line.is_open:
            names = self._cold(parts)
            if not names or await self._line.fetch(names):
                return
        await self._fetch_together(parts)

    async def knock(self, part: Part) -> bool:
        """Whether the store has answered just now, on its channel. False: there is none, or it cannot tell.

        Raises:
            StoreUnavailable: the medium does not answer.
        """
        return self._line.is_open and await self._line.fetch([part.name])

    def _cold(self, parts: Collection[Part]) -> list[str]:
        """The names of those that are not in memory."""
        return [part.name for part in parts if self._reader.cached(part) is None]

    async def _fetch_together(self, parts: Collection[Part]) -> None:
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
