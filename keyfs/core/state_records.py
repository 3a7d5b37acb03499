"""What is written down of states where the format of a key store has none: a record for each version. Pure.

Only what somebody said has a record. The text is JSON, one record a line, in order, so that people can
compare two of them.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from keyfs.core.states import KeyState, VersionState, default_state, settled
from keyfs.errors import MaterialCorrupt

FORMAT: Final = 1
WHY_LIMIT: Final = 1000  # characters of a reason
_DAMAGE: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_FORMAT_SAID: Final = re.compile(rb'"format"\s*:\s*(\d{1,9})')


@dataclass(frozen=True, slots=True)
class Anchor:
    """What tells which version a record is of, even after it has retired, or its store was moved.

    A version that had retired is told by its *stamp*, which stays; one that has a number, by that. One that
    was current may have neither: it is the one with these bytes; or, where those were sealed anew or copied,
    the one that became current then.
    """

    stamp: str | None
    identity: str = ""
    created_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What somebody said of one version."""

    key: str  # PURPOSE/CLIENT
    anchor: Anchor
    state: KeyState | None  # None: nothing but when it is to be destroyed
    why: str
    at_ns: int  # when that was said
    destroy_at_ns: int | None = None
    is_forced: bool = False  # destroying it was asked for although others become unreadable for Acra

    def shown(self, *, is_current: bool) -> VersionState:
        """The state that this makes of a version."""
        if self.state is None:
            state = default_state(is_current=is_current)
        else:
            state = settled(self.state, is_current=is_current)
        return VersionState(state, self.state is not None, self.why, self.at_ns, self.destroy_at_ns)


def as_text(records: Iterable[Record]) -> bytes:
    """All of them, as they are kept."""
    ordered = sorted(records, key=lambda r: (r.key, r.anchor.stamp or "~", r.anchor.identity))
    lines = ",\n  ".join(json.dumps(_as_object(record), ensure_ascii=False) for record in ordered)
    return f'{{"format": {FORMAT}, "states": [\n  {lines}\n]}}\n'.encode()


def records_of(text: bytes) -> tuple[Record, ...]:
    """The records in *text*, in order.

    Raises:
        MaterialCorrupt: it is not as `as_text` makes it, or of a format that is not known here.
    """
    try:
        whole = json.loads(text)
        if whole["format"] != FORMAT:
            raise MaterialCorrupt(f"of format {whole['format']!r}, which this version does not know")
        return tuple(map(_record, whole["states"]))
    except _DAMAGE as exc:
        raise MaterialCorrupt("damaged: it is no list of key states") from exc


def salvaged(text: bytes) -> tuple[Record, ...] | None:
    """Those records in a damaged *text* that can be read; None if it is of a later format."""
    said = _FORMAT_SAID.search(text)
    if said is not None and int(said[1]) != FORMAT:
        return None
    found = []
    for candidate in _candidates(text):
        with suppress(*_DAMAGE):
            found.append(_record(candidate))
    return tuple(found)


def _candidates(text: bytes) -> Iterator[dict[str, Any]]:
    """What may be records: in the list, or line by line, as `as_text` writes them."""
    with suppress(*_DAMAGE):
        yield from json.loads(text)["states"]
        return
    for line in text.splitlines():
        with suppress(*_DAMAGE):
            yield json.loads(line.strip().rstrip(b","))


def _as_object(record: Record) -> dict[str, object]:
    anchor = record.anchor
    found: dict[str, object] = {"key": record.key, "version": anchor.stamp, "at_ns": record.at_ns}
    if anchor.stamp is None:
        found |= {"identity": anchor.identity, "created_ns": anchor.created_ns}
    if record.state is not None:
        found["state"] = record.state.value
    if record.why:
        found["why"] = record.why
    if record.destroy_at_ns is not None:
        found |= {"destroy_at_ns": record.destroy_at_ns, "force": record.is_forced}
    return found


def _record(found: dict[str, Any]) -> Record:
    state = found.get("state")
    stamp, created_ns = _text(found["version"], None), _number(found.get("created_ns"))
    return Record(
        key=_text(found["key"]) or "",
        anchor=Anchor(stamp, _text(found.get("identity", "")) or "", created_ns),
        state=None if state is None else KeyState(state),
        why=_text(found.get("why", "")) or "",
        at_ns=_number(found["at_ns"]) or 0,
        destroy_at_ns=_number(found.get("destroy_at_ns")),
        is_forced=found.get("force") is True,
    )


def _text(value: object, *others: None) -> str | None:
    if isinstance(value, str):
        return value
    if others and value is None:
        return None
    raise ValueError("no text")


def _number(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError("no number")
