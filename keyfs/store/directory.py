"""The directory driver: one file per blob, switched by rename, archived by hard link."""

import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from keyfs.errors import KeyfsError, KeyNotFound, StoreUnavailable
from keyfs.store.base import (
    DEPTH_LIMIT,
    Blob,
    BlobStat,
    Listing,
    Page,
    Pages,
    Replacement,
    beside_name,
    parent,
    parts_are_safe,
)
from keyfs.store.beside import LOCK_WAIT_S, Beside
from keyfs.store.facts import whole
from keyfs.store.files import (
    NO_LINKS,
    blob_stat,
    directory_mark,
    files_in,
    has_copy,
    link,
    make_directory,
    owner_to_give,
    read_file,
    sync_directory,
    write_new,
)
from keyfs.store.foreign_lock import EndsLocks, HeldFile, file_lock
from keyfs.store.inotify import DirectoryWatch
from keyfs.store.os_errors import attempt, translated
from keyfs.store.rewriting import rewrite
from keyfs.store.roots import checked_directory, checked_root


class DirectoryStore(EndsLocks):
    """Blobs in a directory, or in two when public ones are kept apart.

    Args:
        root: the directory; must exist with mode exactly 0700.
        public_root: where names that *is_public* accepts lie; *root* when None.
        is_public: tells public names from private ones.
        on_step: called before each step of a change with its name, for fault injection.
        lock_wait_s: how long `lock` waits for another writer.

    Raises:
        StoreInvalid: a root is no directory.
        InsecurePermissions: *root* is not 0700, so that Acra would refuse it too.
    """

    name_limit: int | None = 255
    lists_directories = True

    def __init__(
        self,
        root: Path,
        public_root: Path | None = None,
        is_public: Callable[[str], bool] = lambda _name: False,
        on_step: Callable[[str], None] = lambda _step: None,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        self._root = checked_root(root)
        self._public_root = self._root if public_root is None else checked_directory(public_root)
        self._is_public = is_public
        self._step = on_step
        self._owner = owner_to_give(self._root)
        self._lock_wait_s = lock_wait_s
        self._beside = Beside(self._roots(), self._owner, lock_wait_s)
        # The two roots may lie one in the other; then neither is a part of the other.
        self._apart = frozenset({*self._roots(), self._beside.path})

    def now_ns(self) -> int:
        """See `Store.now_ns`: this host's clock."""
        return time.time_ns()

    def describe(self) -> str:
        """`dir:PATH`, with `?public=PATH` when public keys are kept apart."""
        return f"dir:{self._root}" + ("" if len(self._roots()) == 1 else f"?public={self._public_root}")

    def list_pages(self) -> Pages:
        """See `Store.list_pages`. Symbolic links, sockets and the like are strays, never followed."""
        for root in self._roots():
            with self._medium(f"list {root}"):
                yield from self._walk(root, "")

    def list_all(self) -> Listing:
        """See `Store.list_all`."""
        return whole(self.list_pages())

    def list_under(self, directory: str) -> dict[str, BlobStat]:
        """See `Store.list_under`."""
        path = self._path(directory)
        try:
            with self._medium(f"list {directory}"):
                return whole(files_in(path, directory)).blobs
        except KeyNotFound:
            return {}

    def mark(self, directory: str) -> object:
        """See `Store.mark`: which directory it is, and when it last changed."""
        return directory_mark(self._path(directory))

    def stat(self, name: str) -> BlobStat | None:
        """See `Store.stat`; None too for what is no regular file."""
        path = self._path(name)
        try:
            with self._medium(f"look at {name}"):
                facts = path.lstat()
        except KeyNotFound:
            return None
        return blob_stat(facts) if stat.S_ISREG(facts.st_mode) else None

    def stat_many(self, names: Iterable[str]) -> dict[str, BlobStat]:
        """See `Store.stat_many`."""
        return {name: facts for name in names if (facts := self.stat(name)) is not None}

    def get_many(self, names: Iterable[str]) -> dict[str, Blob | KeyfsError]:
        """See `Store.get_many`."""
        found: dict[str, Blob | KeyfsError] = {}
        for name in names:
            try:
                found[name] = self.get(name)
            except KeyfsError as exc:
                found[name] = exc
        return found

    def channel(self) -> None:
        """See `Store.channel`: there is none. Nothing tells when a file can be read without waiting."""

    def get(self, name: str) -> Blob:
        """See `Store.get`. A file that is renamed over while it is read is still read whole."""
        with self._medium(f"read {name}"):
            return read_file(self._path(name))

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        """See `Store.supersede`: stage all, archive all, then rename in order; each step durable."""
        plan = tuple(replacements)
        with self._medium("write to the key store"), ExitStack() as undo:
            staged = [self._stage(item, undo) for item in plan]
            for item in plan:
                self._archive(item, undo)
            for item, path in zip(plan, staged, strict=True):
                self._step(f"switch {item.name}")
                # Whatever comes now, an error of the disk or Ctrl-C: what is archived may be all there is of
                # the old version. At worst it stays as an orphan.
                undo.pop_all()
                path.rename(self._path(item.name))
            for directory in {self._path(item.name).parent for item in plan}:
                self._step("sync names")
                sync_directory(directory)
        self._step("done")

    def rewrite(self, names: Sequence[str], expected: bytes, data: bytes) -> bool:
        """See `Store.rewrite`."""
        paths = {name: self._path(name) for name in names}
        try:
            with self._medium(f"rewrite {names[0]}"):
                return rewrite(paths, expected, data, self._beside.stage_path, self._step)
        except KeyNotFound:
            return False

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`."""
        for name in names:
            path = self._path(name)
            self._step(f"delete {name}")
            with suppress(KeyNotFound), self._medium(f"delete {name}"):
                path.unlink(missing_ok=True)
                sync_directory(path.parent)

    def set_aside(self, name: str) -> str:
        """See `Store.set_aside`: into `D.keyfs/set-aside/`."""
        with self._medium(f"set {name} aside"):
            return self._beside.set_aside(self._path(name), name, self._step)

    def read_beside(self, name: str) -> bytes | None:
        """See `Store.read_beside`: of `D.keyfs/NAME`."""
        return self._beside.read(beside_name(name))

    def write_beside(self, name: str, data: bytes, *, is_locked: bool = False) -> None:
        """See `Store.write_beside`; a lock of the kernel's does not end."""
        self._beside.write(beside_name(name), data)

    def append_beside(self, name: str, line: bytes) -> None:
        """See `Store.append_beside`."""
        self._beside.append(beside_name(name), line)

    def lock(self, name: str = "") -> AbstractContextManager[None]:
        """See `Store.lock`: flock(2) on `D.keyfs/lock`."""
        return self._beside.lock()

    def foreign_lock(self, name: str) -> AbstractContextManager[HeldFile]:
        """See `keyfs.store.ring_changes.RingMedium.foreign_lock`: flock(2) on that file."""
        return file_lock(self._path(name), self._owner, self._lock_wait_s)

    def watch(self) -> DirectoryWatch:
        """See `Store.watch`: inotify(7) on every directory of the store."""
        return DirectoryWatch(self._roots(), DEPTH_LIMIT, self._apart, self._beside.path)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _roots(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys((self._root, self._public_root)))

    def _path(self, name: str) -> Path:
        if not parts_are_safe(name):
            raise KeyNotFound(f"{name!r} is not a blob's name")
        return (self._public_root if self._is_public(name) else self._root) / name

    @contextmanager
    def _medium(self, doing: str) -> Iterator[None]:
        """As `translated`; but only in a store that is there something can be absent."""
        try:
            with translated(doing):
                yield
        except KeyNotFound:
            with translated(doing):
                gone = [root for root in self._roots() if not root.is_dir()]
            if gone:
                raise StoreUnavailable(f"the key store {gone[0]} is gone") from None
            raise

    def _walk(self, root: Path, directory: str) -> Pages:
        depth = directory.count("/") + 1 if directory else 0
        subdirectories: list[str] = []
        for page in files_in(root / directory, directory, subdirectories):
            for name in [name for name in page.blobs if self._is_misplaced(root, name)]:
                page.strays[name] = "private and public keys are split, and this one is in the wrong place"
                del page.blobs[name]
            yield page
        for name in subdirectories:
            if root / name in self._apart:
                continue
            if depth + 1 >= DEPTH_LIMIT:
                yield Page({}, {name: "directory too deep to hold keys"})
                continue
            with suppress(FileNotFoundError):  # removed since its name was read
                yield from self._walk(root, name)

    def _is_misplaced(self, root: Path, name: str) -> bool:
        return self._public_root != self._root and (root == self._public_root) != self._is_public(name)

    def _stage(self, item: Replacement, undo: ExitStack) -> Path:
        target = self._path(item.name)
        self._make_parents(target, item.name, undo)
        path = self._beside.stage_path(target)
        self._step(f"stage {item.name}")
        undo.callback(attempt, path.unlink)
        write_new(path, item.data, item.mode, item.mtime_ns, self._owner)
        return path

    def _archive(self, item: Replacement, undo: ExitStack) -> None:
        """Give what *item* supersedes its second name, unless a rotation that stopped did so."""
        path = self._path(item.name)
        if item.archive is None or not path.exists():
            return
        target = self._path(item.archive)
        self._step(f"make {parent(item.archive)}")
        self._make_parents(target, item.archive, undo)
        self._step(f"archive {item.name}")
        if self._link(path, target):
            undo.callback(attempt, target.unlink)
        self._step(f"sync {parent(item.archive)}")
        sync_directory(target.parent)

    def _link(self, path: Path, target: Path) -> bool:
        """Archive *path* as *target*; False when that was done before.

        A hard link, so that the modification time goes on saying when the key was written. Where none can be
        made, because the medium has none or the file is another user's, a copy that is never seen in part.
        """
        try:
            return link(path, target)
        except OSError as exc:
            if exc.errno not in NO_LINKS:
                raise
            blob = read_file(path)
        if has_copy(target.parent, blob):
            return False
        copy = self._beside.stage_path(path)
        self._step(f"copy {path.name}")
        write_new(copy, blob.data, blob.stat.mode, blob.stat.mtime_ns or 0, self._owner)
        self._step(f"name copy of {path.name}")
        copy.rename(target)
        return True

    def _make_parents(self, path: Path, name: str, undo: ExitStack) -> None:
        """Make the directories of *path* below the root; never the root itself, which may be unmounted."""
        for directory in reversed(path.parents[: name.count("/")]):
            if make_directory(directory, self._owner):
                undo.callback(attempt, directory.rmdir)
