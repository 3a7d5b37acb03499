"""`keyfs` with one rule of its cache taken away; its kernel is slow to forget, and never does so unasked.

    python mutated_keyfs.py MUTANT ARGUMENT...

MUTANT is a name in `MUTANTS`; "none" takes nothing away.
"""

import sys
import time
from collections.abc import Callable
from typing import Any, Final

import pyfuse3

from keyfs.cli.main import run
from keyfs.core.tree import Node
from keyfs.fs import kernel_cache, pages
from keyfs.fs.kernel_cache import KernelCache
from keyfs.fs.nudge import Nudger
from keyfs.fs.pages import Admission

SLOW_S: Final = 0.15
Patch = tuple[object, str, Any]
FORGET: Final = pyfuse3.invalidate_inode
STALE: Final = KernelCache.stale
# What runs out by itself would do the work of a rule on a slow machine.
FOR_LONG: Final[tuple[Patch, ...]] = (
    (kernel_cache, "KEPT_S", 3600.0),
    (kernel_cache, "CLIENT_KEPT_S", 3600.0),
)


async def at_once(*_: object) -> None:
    """In the place of what waits."""


def keeping_always(admit: Callable[..., Admission | None]) -> Callable[..., Admission | None]:
    def admitted(*args: Any) -> Admission | None:
        admission = admit(*args)
        return None if admission is None else admission._replace(keep=True)

    return admitted


def keeping_for_all(_file: object, _digest: bytes) -> bool:
    return True


def without_directories(stale: Callable[[KernelCache, Any], None], cache: KernelCache, nodes: Any) -> None:
    stale(cache, [node for node in nodes if not isinstance(node, Node) or not node.kind.is_directory])


MUTANTS: Final[dict[str, tuple[Patch, ...]]] = {
    "none": (),
    "other versions share the pages": ((pages._File, "keeps", keeping_for_all),),
    "attributes of changed files stay": ((KernelCache, "stale", lambda *_: None),),
    "those of their directories stay": (
        (KernelCache, "stale", lambda self, nodes: without_directories(STALE, self, nodes)),
    ),
    "opens do not wait for the kernel": ((KernelCache, "is_settled", lambda *_: True),),
    # Waking watchers makes the kernel forget, too, a little later.
    "changes are acknowledged before": ((KernelCache, "settled", at_once), (Nudger, "tell", at_once)),
    "names that move are kept": ((KernelCache, "bare", lambda *_: True),),
}


def slowly(inode: int, attr_only: bool = False) -> None:
    time.sleep(SLOW_S)
    FORGET(inode, attr_only)


if __name__ == "__main__":
    for where, name, what in (*FOR_LONG, *MUTANTS[sys.argv.pop(1)]):
        setattr(where, name, what)
    pyfuse3.invalidate_inode = slowly
    run()
