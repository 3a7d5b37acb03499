"""What all handlers of one mount share: who is asked, what is open, and what each node looks like."""

import errno
import logging
import re
import stat
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import pyfuse3
import trio
from pyfuse3 import FUSEError

from keyfs.broker.broker import KeyBroker
from keyfs.core.marks import Marks
from keyfs.core.names import CLIENT_ID_MAX, KeyRef
from keyfs.core.policy import READ, WRITE, Caller, Ownership, may, may_always
from keyfs.core.scratch import Scratch, Scratches
from keyfs.core.tree import Facts, Kind, Node
from keyfs.errors import KeyNotFound
from keyfs.fs.attrs import entry_attributes
from keyfs.fs.handles import Handles, ReadHandle, ScratchHandle, WriteHandle
from keyfs.fs.inodes import Inodes
from keyfs.fs.kernel_cache import KernelCache, Left
from keyfs.fs.nudge import Nudger
from keyfs.fs.pages import CUT
from keyfs.fs.polls import Polls
from keyfs.logs import event

NAME_MAX: Final = CLIENT_ID_MAX  # one more than on most media: Redis keeps such a key, so it has to open
ENCODING: Final = sys.getfilesystemencoding()
VIEW_REFUSAL: Final = "a view only shows a key: write to current"
_GROUPS: Final = re.compile(rb"^Groups:(.*)$", re.MULTILINE)
_PROCESS: Final = re.compile(rb"^Tgid:\s*(\d+)$", re.MULTILINE)
_log = logging.getLogger(__name__)


class Scene:
    """The state of one mount, and the questions that every handler has.

    Args:
        broker: what answers.
        owner: who owns every file of which no rule says who does.
        ttl_s: how long the kernel may keep plaintext that nobody opens; 0 for never.
    """

    def __init__(self, broker: KeyBroker, owner: Ownership, ttl_s: float) -> None:
        self.broker = broker
        self.owner = owner
        self.inodes = Inodes()
        self.handles = Handles()
        self.kernel = KernelCache(lambda: self.inodes, ttl_s)
        self.nudger: Nudger | None = None
        self.polls = Polls()
        self.scratches = Scratches(time.time_ns())
        self.removed = Marks()  # who removed `current`, and does not see it for a while
        self.writers = Marks()  # who wrote `current` just now, and may set its mode after that
        self.left: Left | None = None  # files that an earlier process may have given out, if there was one
        broker.on_version(self.polls.wake)
        broker.on_stale(self.kernel.stale)

    def facts(self, node: Node) -> Facts:
        """What `stat` shows; also of a file that exists only as long as it is open.

        Raises:
            KeyNotFound: it is gone.
        """
        if node.kind is Kind.SCRATCH:
            scratch = self.scratches.of(node)
            return Facts(
                scratch.mode, len(scratch.buffer), scratch.mtime_ns, uid=scratch.uid, gid=scratch.gid
            )
        try:
            return self.broker.tree.facts(node)
        except KeyNotFound:
            facts = self.handles.facts_of(node.path)
            if facts is None:
                raise
            return facts

    def was_read(self, fh: int) -> None:
        """The kernel has fetched bytes for an open file."""
        handle = self.handles.get(fh)
        if isinstance(handle, ReadHandle):
            self.kernel.pages.was_read(handle.inode, handle.admission)
        elif isinstance(handle, WriteHandle):
            self.kernel.pages.was_read(handle.inode, CUT)

    def is_there(self, node: Node) -> bool:
        """Whether there is such a file in the key store."""
        try:
            self.broker.tree.facts(node)
        except KeyNotFound:
            return False
        return True

    def is_hidden(self, node: Node, pid: int) -> bool:
        """Whether a process has just removed this file, so that it is not there for it."""
        return bool(self.removed) and self.removed.has(
            node.path, lambda: process_of(pid), trio.current_time()
        )

    def scratch(self, parent: Node, name: str, uid: int) -> Scratch | None:
        """The caller's scratch file of that name in a directory."""
        if not self.scratches or parent.kind is not Kind.CLIENT or parent.ref is None:
            return None
        return self.scratches.find(parent.ref, name, uid)

    def new_scratch(self, ref: KeyRef, name: str, mode: int, ctx: pyfuse3.RequestContext) -> Scratch:
        """A new, empty scratch file of the caller's; one of that name is removed.

        Raises:
            QuotaExceeded: the caller has too many.
        """
        known = self.scratches.find(ref, name, ctx.uid)
        if known is not None:
            self.scratches.remove(known)
        scratch = Scratch(
            self.scratches.new_node(ref),
            ref,
            name,
            ctx.uid,
            ctx.gid,
            stat.S_IMODE(mode),
            time.time_ns(),
            trio.current_time(),
        )
        return self.scratches.make(scratch)

    def open_scratch(self, scratch: Scratch) -> int:
        """A new handle of a scratch file."""
        scratch.handles += 1
        return self.handles.add(ScratchHandle(scratch))

    def attributes(self, node: Node, facts: Facts, inode: int) -> pyfuse3.EntryAttributes:
        """The attributes of a node for the kernel."""
        facts, kept_s = self.kernel.shown(node, inode, facts)
        return entry_attributes(node, facts, inode, self.owner, kept_s)

    def passing_attributes(self, node: Node, facts: Facts, inode: int) -> pyfuse3.EntryAttributes:
        """As `attributes`, for one caller and one moment: the kernel keeps nothing of them."""
        return entry_attributes(node, facts, inode, self.owner, 0.0)

    def owner_of(self, facts: Facts) -> Ownership:
        """Who owns a node."""
        if facts.uid is None and facts.gid is None:
            return self.owner
        return Ownership(
            self.owner.uid if facts.uid is None else facts.uid,
            self.owner.gid if facts.gid is None else facts.gid,
        )

    def grants(self, ctx: pyfuse3.RequestContext, facts: Facts, want: int) -> bool:
        """Whether the bits of a node let the caller do what it wants."""
        return may(Caller(ctx.uid, ctx.gid, lambda: _groups(ctx.pid)), self.owner_of(facts), facts.mode, want)

    def demand(self, ctx: pyfuse3.RequestContext, node: Node, want: int) -> None:
        """Refuse, and say so in the log, what the bits do not grant.

        Raises:
            FUSEError: EACCES.
        """
        if not may_always(ctx.uid, want):
            self.demand_of(ctx, node, self.facts(node), want)

    def demand_of(self, ctx: pyfuse3.RequestContext, node: Node, facts: Facts, want: int) -> None:
        """As `demand`, of a node whose *facts* are at hand."""
        if self.grants(ctx, facts, want):
            return
        what = {READ: "read", WRITE: "write"}[want]
        denied: dict[str, Any] = {"path": str(node), "want": what, "uid": ctx.uid, "pid": ctx.pid}
        if want == WRITE and node.kind is Kind.VIEW:
            denied["reason"] = VIEW_REFUSAL
        event(_log, logging.WARNING, "access.denied", **denied)
        raise FUSEError(errno.EACCES)


def process_of(pid: int) -> int:
    """The process of a thread: requests name the thread. *pid* itself where that cannot be looked at."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return pid
    found = _PROCESS.search(status)
    return pid if found is None else int(found[1])


def _groups(pid: int) -> Collection[int]:
    """A process's supplementary groups; none when it cannot be looked at.

    It ended while its request was under way, or lives in a pid namespace that is not ours.
    """
    try:
        # Not pyfuse3.get_sup_groups: it fails for a process whose name is not UTF-8.
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return ()
    return {int(group) for line in _GROUPS.findall(status) for group in line.split()}


def text_of(name: bytes) -> str:
    """A name of the kernel's as text.

    Raises:
        FUSEError: ENAMETOOLONG.
    """
    if len(name) > NAME_MAX:
        raise FUSEError(errno.ENAMETOOLONG)
    return name.decode(ENCODING, "surrogateescape")
