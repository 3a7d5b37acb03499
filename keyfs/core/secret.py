"""`Secret`: key material that does not print, pickle or compare in variable time."""

import hmac
from collections.abc import Callable
from typing import NoReturn


class Secret:
    """Key material in a buffer of its own, wiped at the end of a `with` block.

    Wiping is best effort: Python and the libraries below may have made copies that nobody can reach.
    It still shortens the time for which a memory dump holds the key.
    """

    __slots__ = ("_buffer",)

    def __init__(self, material: bytes | bytearray | memoryview) -> None:
        self._buffer: bytearray | memoryview = bytearray(material)

    @classmethod
    def adopt(cls, buffer: bytearray | memoryview) -> "Secret":
        """Take over *buffer* without a copy; the caller must not keep it.

        A memoryview must be writable and of single bytes, such as `keyfs.custody.allocate` gives.
        """
        secret = cls(b"")
        secret._buffer = buffer
        return secret

    def reveal(self) -> bytes:
        """The bytes themselves. Keep the result as briefly as possible; never log it."""
        return bytes(self._buffer)

    def view(self) -> memoryview:
        """A read-only view without a copy, valid until `wipe`."""
        return memoryview(self._buffer).toreadonly()

    def wipe(self) -> None:
        """Overwrite the buffer with zeros. Safe to call twice."""
        self._buffer[:] = bytes(len(self._buffer))

    def __enter__(self) -> "Secret":
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def __len__(self) -> int:
        return len(self._buffer)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._buffer, other._buffer)

    __hash__ = None  # type: ignore[assignment]  # mutable: wiping changes its value

    def __repr__(self) -> str:
        return f"<Secret {len(self._buffer)} bytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised")


class LateSecret(Secret):
    """A `Secret` that is made when somebody looks, which often nobody does, and anew after each `wipe`.

    So one of them serves all who may look: whoever has done with it wipes it.

    Args:
        make: gives it, the same bytes every time. What it raises, the one who looks gets.
    """

    __slots__ = ("_is_made", "_make")

    def __init__(self, make: Callable[[], Secret]) -> None:
        super().__init__(b"")
        self._make = make
        self._is_made = False

    def reveal(self) -> bytes:
        """As `Secret.reveal`."""
        self._look()
        return super().reveal()

    def view(self) -> memoryview:
        """As `Secret.view`."""
        self._look()
        return super().view()

    def wipe(self) -> None:
        """As `Secret.wipe`."""
        if self._is_made:
            super().wipe()
            self._is_made = False

    def __len__(self) -> int:
        self._look()
        return super().__len__()

    def _look(self) -> None:
        if not self._is_made:
            made = self._make()
            self._buffer = bytearray(made.view())
            made.wipe()
            self._is_made = True
