"""Open files that the next worker knows, too: each is kept in the estate until it is closed."""

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from keyfs.broker.snapshot import Snapshot
from keyfs.core.names import KeyRef
from keyfs.core.ordering import at_once
from keyfs.core.secret import Secret
from keyfs.core.staging import StagedWrite
from keyfs.core.tree import ROOT, Facts, Kind, Node, Path, key_node, parse_key_label
from keyfs.custody import Record, Records, held
from keyfs.errors import KeyNotFound
from keyfs.fs.directory_handlers import directory_entries
from keyfs.fs.found_inodes import FoundInodes
from keyfs.fs.handles import DirectoryHandle, Handle, Handles, NudgeHandle, ReadHandle, WriteHandle
from keyfs.fs.scene import Scene
from keyfs.logs import event

_NEVER_S: Final = float("-inf")
_log = logging.getLogger(__name__)


class _Stage(msgspec.Struct, omit_defaults=True):
    """A `StagedWrite` without its bytes."""

    limit: int
    prefix: bytes
    base: str
    is_dirty: bool
    is_refused: bool
    committed: str
    begun_on: str | None = None
    never: bytes = b""


class _Kept(msgspec.Struct, omit_defaults=True):
    """A handle without its bytes."""

    kind: str
    path: Path
    inode: int = 0
    facts: Facts | None = None
    stage: _Stage | None = None


class KeptHandles(Handles):
    """Handles that outlive their worker.

    Args:
        records: where they are kept.
        generation: how many workers the mount had before this one: numbers never come twice.
        scene: of the mount.
        inodes: hear of the numbers of what is open.
    """

    def __init__(self, records: Records, generation: int, scene: Scene, inodes: FoundInodes) -> None:
        super().__init__(generation)
        self._records = records
        self._tree = scene.broker.tree
        self._pages = scene.kernel.pages
        self._inodes = inodes
        for record in list(records.all()):
            self._inherit(record)

    def add(self, handle: Handle) -> int:
        """As `Handles.add`."""
        number = super().add(handle)
        self.keep(number)
        return number

    def remove(self, number: int) -> Handle | None:
        """As `Handles.remove`; wiped in the estate, too."""
        self._records.drop(number)
        return super().remove(number)

    def begin(self, number: int, current: Callable[[KeyRef], str]) -> None:
        """A commit begins: if we die of it, the next worker can tell whether it happened.

        Args:
            number: of the handle.
            current: identity of the current version of a key.
        """
        handle = self._handles.get(number)
        if isinstance(handle, WriteHandle) and handle.staged.is_dirty and handle.node.ref is not None:
            staged = handle.staged
            begun_on = current(handle.node.ref) if staged.begun_on is None else staged.begun_on
            self.keep(number, begun_on)

    def keep_written(self, number: int) -> None:
        """As `keep`, after what may have changed a handle that writes; of others nothing ever changes."""
        if isinstance(self._handles.get(number), WriteHandle):
            self.keep(number)

    def keep(self, number: int, begun_on: str | None = None) -> None:
        """Have the next worker find the handle as it is now; one that has no room there is lost with us.

        Args:
            number: of the handle.
            begun_on: identity of what was current when the handle's commit began, None when none runs.
        """
        handle = self._handles.get(number)
        if isinstance(handle, ReadHandle):
            is_key = handle.node.kind is not Kind.CONTROL  # of those, the content is made anew
            inode = handle.inode
            kept = _Kept("read", handle.node.path, inode, handle.snapshot.facts)
            self._put(number, kept, handle.snapshot.content.view() if is_key else memoryview(b""))
        elif isinstance(handle, WriteHandle):
            staged = handle.staged
            flags = (staged.is_dirty, staged.is_refused, staged.committed, begun_on)
            stage = _Stage(staged.limit, staged.prefix, staged.base, *flags, staged.never)
            kept = _Kept("write", handle.node.path, handle.inode, facts=handle.facts, stage=stage)
            self._put(number, kept, memoryview(staged.buffer))
        elif isinstance(handle, DirectoryHandle):
            self._put(number, _Kept("directory", handle.node.path), memoryview(b""))
        elif isinstance(handle, NudgeHandle):
            self._put(number, _Kept("nudge", ()), memoryview(b""))

    def _put(self, number: int, kept: _Kept, content: memoryview) -> None:
        with content:
            if not self._records.put(number, msgspec.json.encode(kept), content):
                self._records.drop(number)  # rather nothing than what it was before

    def _inherit(self, record: Record) -> None:
        try:
            kept = msgspec.json.decode(record.text, type=_Kept)
            self._handles[record.number] = self._revived(kept, record.content)
        except (msgspec.MsgspecError, KeyNotFound) as exc:
            event(_log, logging.WARNING, "handle.lost", reason=type(exc).__name__)
            self._records.drop(record.number)

    def _revived(self, kept: _Kept, content: memoryview) -> Handle:
        node = self._node_at(kept.path, is_read=kept.kind == "read")
        self._inodes.adopt(kept.inode or self._inodes.number(node), node)
        if kept.kind == "read" and kept.facts is not None:
            if node.kind is Kind.CONTROL:
                snapshot = Snapshot(Secret(self._tree.control(node)), kept.facts)
                return ReadHandle(node, kept.inode, 0, snapshot, _NEVER_S)
            snapshot = Snapshot(held(content), kept.facts)
            admission = self._pages.inherit_reader(kept.inode, snapshot)
            return ReadHandle(node, kept.inode, 0, snapshot, _NEVER_S, admission)
        if kept.kind == "write" and kept.stage is not None and kept.facts is not None:
            stage = kept.stage
            staged = StagedWrite(stage.limit, stage.prefix, stage.base, bytearray(content))
            staged.is_dirty, staged.is_refused = stage.is_dirty, stage.is_refused
            staged.committed, staged.begun_on, staged.never = stage.committed, stage.begun_on, stage.never
            if kept.inode:
                self._pages.inherit_writer(kept.inode)
            return WriteHandle(node, staged, kept.facts, inode=kept.inode)
        if kept.kind == "directory":
            dots = (self._inodes.number(node), self._inodes.above(node))
            return DirectoryHandle(node, at_once(directory_entries(self._tree, node)), dots)
        return NudgeHandle()

    def _node_at(self, path: Path, *, is_read: bool) -> Node:
        """The node of a path. Of what is gone, but still open: enough to read it, or to write it anew.

        Raises:
            KeyNotFound: it cannot be written anew.
        """
        node = ROOT
        for name in path:
            try:
                node = self._tree.child(node, name)
            except KeyNotFound:
                if node.kind is Kind.CLIENT and node.ref is not None:
                    return key_node(node.ref, *parse_key_label(name))
                if is_read:
                    return Node(Kind.KEY, path)
                raise
        return node
