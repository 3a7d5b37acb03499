"""The handlers as a supervised worker has them: what they need to know outlives the worker."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

from keyfs.custody import Estate
from keyfs.fs.found_inodes import FoundInodes
from keyfs.fs.kept_handles import KeptHandles
from keyfs.fs.operations import KeyfsOperations
from keyfs.fs.suspects import CRASH, KILL, Suspects

Handler = Callable[..., Awaitable[Any]]
_COMMITS: Final = frozenset({"flush", "fsync"})
_CHANGES: Final = frozenset({"write", "setattr", *_COMMITS})


class Surviving:
    """In the place of `KeyfsOperations`: the same handlers, each with what comes before and after it.

    Args:
        operations: the handlers.
        estate: of the mount; from now on it is ours.
        generation: how many workers the mount had before.
        ended: how the last of them ended.
        begin: called when pyfuse3 has read the kernel's first request.
    """

    enable_writeback_cache = False
    supports_dot_lookup = False
    enable_acl = False

    def __init__(
        self,
        operations: KeyfsOperations,
        estate: Estate,
        generation: int,
        ended: str,
        begin: Callable[[], None],
    ) -> None:
        scene = operations.scene
        self._inodes = FoundInodes(scene.broker.tree, scene.kernel.unsure)
        self._handles = KeptHandles(estate.open_handles(), generation, scene, self._inodes)
        scene.inodes, scene.handles = self._inodes, self._handles
        if generation:
            scene.left = self._inodes.all
        self._broker = scene.broker
        self._suspects = Suspects(estate.ledger, KILL if ended == "SIGKILL" else CRASH)
        self.init = begin
        self.forget = operations.forget
        for name, handler in inspect.getmembers(operations, inspect.iscoroutinefunction):
            if not name.startswith("_") and name != "forget":
                setattr(self, name, self._surviving(name, handler))

    def _surviving(self, name: str, handler: Handler) -> Handler:
        parameters = list(inspect.signature(handler).parameters)
        inodes = [place for place, word in enumerate(parameters) if "inode" in word]
        handle = parameters.index("fh") if name in _CHANGES else None

        @functools.wraps(handler)
        async def answering(*args: Any) -> Any:  # noqa: ANN401 - as various as the handlers are
            async with self._suspects.noted(name, *(a for a in args[:2] if isinstance(a, int | bytes))):
                for place in inodes:
                    await self._inodes.learn(args[place])
                if handle is None or args[handle] is None:
                    return await handler(*args)
                if name in _COMMITS:
                    self._handles.begin(args[handle], self._broker.changes.current_identity)
                try:
                    return await handler(*args)
                finally:
                    self._handles.keep_written(args[handle])

        return answering
