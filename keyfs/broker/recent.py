"""`Recent`: what was used last, up to a limit. Safe for threads."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by name; when they are too many, the one that was not used for longest goes.

    Args:
        limit: the greatest sum of sizes.
        size_of: says what counts for a value; it is constant.
    """

    def __init__(self, limit: int, size_of: Callable[[Value], int] = lambda _: 1) -> None:
        self._limit = limit
        self._size_of = size_of
        self._size = 0
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Value | None:
        """The value; None for none."""
        with self._lock:
            value = self._values.get(name)
            if value is not None:
                self._values.move_to_end(name)
            return value

    def put(self, name: str, value: Value) -> None:
        """Keep *value*, unless it is too large by itself."""
        with self._lock:
            self._drop(name)
            size = self._size_of(value)
            if size > self._limit:
                return
            self._values[name] = value
            self._size += size
            while self._size > self._limit:
                self._drop(next(iter(self._values)))

    def drop(self, name: str) -> None:
        """Forget the value, if there is one."""
        with self._lock:
            self._drop(name)

    def values(self) -> list[Value]:
        """All of them."""
        with self._lock:
            return list(self._values.values())

    def _drop(self, name: str) -> None:
        value = self._values.pop(name, None)
        if value is not None:
            self._size -= self._size_of(value)
