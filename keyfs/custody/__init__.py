"""What this process does so that a key in its memory does not end in a file. Linux, standard library only."""

from keyfs.custody.area import create_area, map_area
from keyfs.custody.dumps import CoreDumps, core_dumps, forbid_core_dumps
from keyfs.custody.estate import ESTATE_BYTES, Estate
from keyfs.custody.guards import Guards, end_with, raise_guards
from keyfs.custody.memory import KeyMemory, allocate, held, key_memory, lock_memory
from keyfs.custody.records import Record, Records
from keyfs.custody.traces import hide_variable, wipe_immutable

__all__ = [
    "ESTATE_BYTES",
    "CoreDumps",
    "Estate",
    "Guards",
    "KeyMemory",
    "Record",
    "Records",
    "allocate",
    "core_dumps",
    "create_area",
    "end_with",
    "forbid_core_dumps",
    "held",
    "hide_variable",
    "key_memory",
    "lock_memory",
    "map_area",
    "raise_guards",
    "wipe_immutable",
]
