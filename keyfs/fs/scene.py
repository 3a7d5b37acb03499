"""What all handlers of one mount share: who is asked, what is open, and what each node looks like."""

import errno
import logging
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

import pyfuse3
from pyfuse3 import FUSEError

from keyfs.broker.broker import KeyBroker
from keyfs.core.names import CLIENT_ID_MAX
from keyfs.core.policy import READ, SEARCH, WRITE, Caller, Ownership, may
from keyfs.core.tree import Facts, Node
from keyfs.errors import KeyNotFound
from keyfs.fs.attrs import entry_attributes
from keyfs.fs.handles import Handles
from keyfs.fs.inodes import Inodes
from keyfs.fs.nudge import Nudger
from keyfs.logs import event

NAME_MAX: Final = CLIENT_ID_MAX  # one more than on most media: Redis keeps such a key, so it has to open
_GROUPS: Final = re.compile(rb"^Groups:(.*)$", re.MULTILINE)
_log = logging.getLogger(__name__)


class Scene:
    """The state of one mount, and the questions that every handler has.

    Args:
        broker: what answers.
        owner: who owns every file.
    """

    def __init__(self, broker: KeyBroker, owner: Ownership) -> None:
        self.broker = broker
        self.owner = owner
        self.inodes = Inodes()
        self.handles = Handles()
        self.nudger: Nudger | None = None

    def facts(self, node: Node) -> Facts:
        """What `stat` shows; also of a file that exists only as an open for writing so far.

        Raises:
            KeyNotFound: it is gone.
        """
        try:
            return self.broker.tree.facts(node)
        except KeyNotFound:
            facts = self.handles.being_written(node.path)
            if facts is None:
                raise
            return facts

    def is_there(self, node: Node) -> bool:
        """Whether there is such a file in the key store."""
        try:
            self.broker.tree.facts(node)
        except KeyNotFound:
            return False
        return True

    def attributes(self, node: Node, facts: Facts, inode: int) -> pyfuse3.EntryAttributes:
        """The attributes of a node for the kernel."""
        return entry_attributes(node, facts, inode, self.owner)

    def demand(self, ctx: pyfuse3.RequestContext, node: Node, want: int) -> None:
        """Refuse, and say so in the log, what the bits do not grant.

        Raises:
            FUSEError: EACCES.
        """
        if may(caller(ctx), self.owner, self.facts(node).mode, want):
            return
        what = {READ: "read", WRITE: "write", SEARCH: "search"}[want]
        event(_log, logging.WARNING, "access.denied", path=str(node), want=what, uid=ctx.uid, pid=ctx.pid)
        raise FUSEError(errno.EACCES)


def caller(ctx: pyfuse3.RequestContext) -> Caller:
    """The process behind a request."""
    return Caller(ctx.uid, ctx.gid, lambda: _groups(ctx.pid))


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
    return os.fsdecode(name)
