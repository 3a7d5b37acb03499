"""What a check can find: each kind by its code, with what it means, and what a repair does, or why nothing.

README's table is this one; a test compares them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of findings. Both are sentences without their end."""

    meaning: str
    repair: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. Notes are no faults."""

    code: str  # one of `KINDS`
    where: str
    message: str
    is_note: bool = False
    is_repaired: bool = False
    set_aside: str = ""  # where a repair put what it took away

    @property
    def kind(self) -> Kind:
        """What is known of all such findings."""
        return KINDS[self.code]


@dataclass(frozen=True, slots=True)
class Report:
    """What a check saw."""

    rings: int
    blobs: int
    findings: tuple[Finding, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong, or everything wrong was mended."""
        return all(f.is_note or f.is_repaired for f in self.findings)


KINDS: Final[Mapping[str, Kind]] = {
    "stray": Kind(
        "a name that is no key's, or a version that hides behind another one",
        "none: nobody can tell what it is for; if nothing needs it, move it away by hand",
    ),
    "left-over": Kind(
        "the temporary of an interrupted write, such as Acra's `.keyring.new`, which keeps Acra from writing",
        "it is set aside",
    ),
    "half-done": Kind("the blob of another version, a second time: a rotation stopped", "it is set aside"),
    "pair": Kind(
        "a public half that is not that of its private half",
        "of what is current, the right one is written and the other one kept; a retired one stays: readers "
        "derive the right one",
    ),
    "no-current": Kind(
        "a key of which no version is current, so that Acra reads none of them",
        "none: which version to use is yours to say; `keyfs generate` makes the next one, or `keyfs rotate` "
        "where what is current was destroyed",
    ),
    "newer": Kind(
        "a version that came after the current one: Acra died between its two writes",
        "none is needed: it can be read by its number, and the next rotation takes the number after it",
    ),
    "unreadable": Kind(
        "a blob that does not open, or holds no key of its kind",
        "none: what is sealed cannot be guessed; restore it with `keyfs import`, or destroy that version",
    ),
    "empty-ring": Kind(
        "a key ring without versions, or without bytes, which Acra's lister does not survive",
        "it is set aside: there is no key in it",
    ),
    "ring-signature": Kind(
        "a key ring that is not signed, or not with this master key",
        "none: it is never overwritten; give the master key that signed it, go on with `keyfs rekey`, "
        "or restore it",
    ),
    "ring-form": Kind(
        "a file in the place of a key ring that is none",
        "none: it is never overwritten; restore it from a backup, and move this one away",
    ),
    "lock": Kind(
        "a lock in Redis that has no end, so that nobody can write any more",
        "it is removed: whoever takes one sets an end",
    ),
    "states-damaged": Kind(
        "key-states.json beside the store cannot be understood, so no version has a state that somebody set",
        "it is kept under another name, and what can be read of it stays; not if a later keyfs wrote it",
    ),
    "states-orphan": Kind(
        "a state for a version that is neither in the store nor in the archive",
        "it is taken out, and kept in a file of its own",
    ),
    "archive-damaged": Kind(
        "archive.jsonl beside the store cannot be understood",
        "none: a version in it may be the only one; mend that line by hand, or restore the file",
    ),
}
