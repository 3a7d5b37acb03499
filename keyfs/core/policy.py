"""Who may do what: the permission bits that the tree shows, decided here and not by the kernel.

The kernel would refuse before keyfs is asked (`default_permissions`), and nobody would see the attempt.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

READ = 4
WRITE = 2
SEARCH = 1


@dataclass(frozen=True, slots=True)
class Caller:
    """The process behind a request. *groups* is asked only when it decides."""

    uid: int
    gid: int
    groups: Callable[[], Collection[int]]


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who owns the files of a mount."""

    uid: int
    gid: int


def may(caller: Caller, owner: Ownership, mode: int, want: int) -> bool:
    """Whether the bits in *want* are granted, by the rules of path_resolution(7).

    The superuser may read and search everything, and write what anyone may write.
    """
    if caller.uid == 0:
        return not want & WRITE or bool(mode & 0o222)
    if caller.uid == owner.uid:
        granted = mode >> 6
    elif caller.gid == owner.gid or owner.gid in caller.groups():
        granted = mode >> 3
    else:
        granted = mode
    return granted & want == want
