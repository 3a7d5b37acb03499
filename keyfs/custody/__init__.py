"""What this process does so that a key in its memory does not end in a file. Linux, standard library only."""

from keyfs.custody.dumps import CoreDumps, core_dumps, forbid_core_dumps
from keyfs.custody.guards import Guards, end_with, raise_guards
from keyfs.custody.memory import KeyMemory, allocate, held, key_memory, lock_memory
from keyfs.custody.traces import hide_variable, wipe_immutable

__all__ = [
    "CoreDumps",
    "Guards",
    "KeyMemory",
    "allocate",
    "core_dumps",
    "end_with",
    "forbid_core_dumps",
    "held",
    "hide_variable",
    "key_memory",
    "lock_memory",
    "raise_guards",
    "wipe_immutable",
]
