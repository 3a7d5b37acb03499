"""The keys of one purpose in the index."""

from collections.abc import Sequence

Clients = Sequence[str | None]


class Section:
    """The rows of one purpose by client, and its clients in order for as long as none comes or goes."""

    def __init__(self) -> None:
        self.rows: dict[str | None, bytes] = {}
        self._moves = 0  # how often a client came or went
        self._ordered: tuple[int, Clients] = (-1, ())

    def set(self, client: str | None, row: bytes | None) -> None:
        """Let the row of a client be this one; None for none."""
        before = len(self.rows)
        if row is None:
            self.rows.pop(client, None)
        else:
            self.rows[client] = row
        if len(self.rows) != before:
            self._moves += 1  # last: who ordered them before it does so again

    def clients(self) -> Clients:
        """All clients, sorted; as long as none comes or goes, the very same object."""
        moves = self._moves  # first: if one comes or goes from here on, this order is not used again
        ordered = self._ordered
        if ordered[0] != moves:
            clients = list(self.rows)
            ordered = self._ordered = (moves, tuple(sorted(filter(None, clients)) or clients))
        return ordered[1]
