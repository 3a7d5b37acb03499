"""The inventory: one row for each half of each version, as `keyfs list` and `.keyfs/inventory.*` show it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from keyfs.core.stamps import rfc3339

COLUMNS: Final = (
    "purpose",
    "client",
    "version",
    "current",
    "public",
    "size",
    "created",
    "destroy_at",
    "state",
)
"""Of the tables for programs, some of which go by position: new ones come last."""


@dataclass(frozen=True, slots=True)
class Row:
    """One half of one version."""

    purpose: str
    client: str | None
    version: str
    current: bool
    public: bool
    size: int
    created_ns: int | None
    state: str = ""  # as in `keyfs.core.states.KeyState`
    destroy_at_ns: int | None = None  # when it is to be destroyed, if that is planned

    @property
    def created(self) -> str | None:
        """When the version became current, RFC 3339, UTC."""
        return None if self.created_ns is None else rfc3339(self.created_ns)

    @property
    def destroy_at(self) -> str | None:
        """When it is to be destroyed, RFC 3339, UTC."""
        return None if self.destroy_at_ns is None else rfc3339(self.destroy_at_ns)

    def as_object(self) -> dict[str, str | int | bool | None]:
        """The row as a JSON object."""
        return {
            "purpose": self.purpose,
            "client": self.client,
            "version": self.version,
            "current": self.current,
            "size": self.size,
            "created": self.created,
            "public": self.public,
            "state": self.state,
            "destroy_at": self.destroy_at,
        }


def as_json(rows: Iterable[Row]) -> str:
    """An array of objects, one a line."""
    lines = ",\n ".join(json.dumps(row.as_object()) for row in rows)
    return f"[{lines}]\n"


def as_tsv(rows: Iterable[Row]) -> str:
    """A header and a line for each row, columns parted by tabs; names hold neither tabs nor newlines."""
    lines = ["\t".join(COLUMNS)]
    for row in rows:
        values = row.as_object()
        lines.append("\t".join(_cell(values[column]) for column in COLUMNS))
    return "\n".join(lines) + "\n"


def as_csv(rows: Iterable[Row]) -> str:
    """The same as RFC 4180 has it, for spreadsheets: columns parted by commas, lines ended by CR LF."""
    import csv  # noqa: PLC0415 - every mount has this module, and few ask for this
    import io  # noqa: PLC0415 - as above

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        values = row.as_object()
        writer.writerow([_cell(values[column]) for column in COLUMNS])
    return text.getvalue()


def _cell(value: str | int | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
