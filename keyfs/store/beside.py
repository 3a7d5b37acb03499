"""The sibling `D.keyfs/` of a key store `D`: lock, staging area, what a repair set aside, and named files.

Nothing of keyfs ever lies inside the key store: one extra file there can stop Acra from starting.
Losing this directory loses no Acra key, unless somebody had the wrapped master key put there (`from=store`).
Keys of own purposes lie in a store of their own below it (`keyfs.store.annex`).
"""

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from keyfs.errors import KeyfsError, KeyNotFound, StoreBusy, StoreUnavailable
from keyfs.store.files import (
    Owner,
    make_directory,
    mount_id,
    move_copy,
    read_file,
    sync_directory,
    write_new,
)
from keyfs.store.os_errors import translated

LOCK_WAIT_S: Final = 4.0
LOCK_PAUSE_S: Final = 0.005


class Beside:
    """What keyfs keeps beside one directory.

    Args:
        roots: the key store's directories, the private one first.
        owner: whom everything here is given to; None for ourselves.
        lock_wait_s: how long a writer waits for another one.
    """

    def __init__(self, roots: Collection[Path], owner: Owner | None, lock_wait_s: float) -> None:
        root = next(iter(roots))
        self.path = root.with_name(root.name + ".keyfs")
        # Where new files are written before they are renamed into the store.
        self.staging = self.path / "staging"
        self._roots = roots
        self._owner = owner
        self._lock_wait_s = lock_wait_s

    def stage_path(self, target: Path) -> Path:
        """A new path from which rename(2) to *target* works, named NAME plus digits as Acra does.

        Outside the store, so that a crash leaves nothing there; beside *target* only where the store is a
        mount of its own. Then a symbolic link in the staging area remembers it for the next writer.

        Raises:
            OSError: as symlink(2).
        """
        digits = str(secrets.randbelow(10**10))
        here = mount_id(self.staging)
        if here is not None and here == mount_id(target.parent):
            return self.staging / digits
        path = target.with_name(target.name + digits)
        (self.staging / digits).symlink_to(path)
        return path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the writers' lock; whatever is left staged, by a dead writer or by this one, is removed.

        Raises:
            StoreBusy: another writer held it all the time that we waited.
            AccessDenied, ReadOnly, StoreFull, StoreUnavailable: `D.keyfs/` cannot be written; the message
                names it.
        """
        with self._acquire():
            self._clear_staging()
            try:
                yield
            finally:
                with suppress(KeyfsError):  # the next writer tries again, and hears of it
                    self._clear_staging()

    def set_aside(self, path: Path, name: str, step: Callable[[str], None]) -> str:
        """Move *path* out of the store, keeping its bytes: to `set-aside/TIME/NAME`; returns where.

        Raises:
            OSError: as mkdir(2) and rename(2).
        """
        target = self.path / "set-aside" / str(time.time_ns()) / name
        for directory in reversed(target.parents[: name.count("/") + 2]):
            make_directory(directory, self._owner)
        step(f"set aside {name}")
        try:
            path.rename(target)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
            move_copy(path, target, self._owner)
        return str(target)

    def read(self, name: str) -> bytes | None:
        """See `Store.read_beside`."""
        try:
            with translated(f"read {self.path / name}"):
                return read_file(self.path / name).data
        except KeyNotFound:
            return None

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write_beside`. Not by the staging area, which whoever takes the lock clears."""
        new = self.path / f".{name}.{secrets.token_hex(8)}"
        with self._to_write(name), ExitStack() as undo:
            undo.callback(new.unlink, missing_ok=True)
            write_new(new, data, 0o600, time.time_ns(), self._owner)
            new.rename(self.path / name)
            sync_directory(self.path)

    def append(self, name: str, line: bytes) -> None:
        """See `Store.append_beside`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._to_write(name), os.fdopen(os.open(self.path / name, flags, 0o600), "wb", 0) as file:
            if self._owner is not None:
                os.fchown(file.fileno(), self._owner.uid, self._owner.gid)
            file.write(line + b"\n")
            os.fsync(file.fileno())
            sync_directory(self.path)

    @contextmanager
    def _to_write(self, name: str) -> Iterator[None]:
        try:
            with translated(f"write {self.path / name}"):
                make_directory(self.path, self._owner)
                yield
        except KeyNotFound as exc:
            raise StoreUnavailable(str(exc)) from exc

    def _acquire(self) -> ExitStack:
        give_up_at = time.monotonic() + self._lock_wait_s
        while (held := self._try_lock()) is None:
            if time.monotonic() >= give_up_at:
                lock = self.path / "lock"
                raise StoreBusy(f"another writer holds {lock} for more than {self._lock_wait_s:g} s: retry")
            time.sleep(LOCK_PAUSE_S)
        return held

    def _try_lock(self) -> ExitStack | None:
        """What lets go of the lock; None while another one holds it.

        The directory itself is locked, too: where it is mounted in several places, as in containers, each has
        a `D.keyfs/` of its own.
        """
        root = next(iter(self._roots))
        try:
            with translated(f"lock the key store (needs to write in {self.path})"), ExitStack() as held:
                if not self.staging.is_dir():
                    make_directory(self.path, self._owner)
                    make_directory(self.staging, self._owner)
                if _lock_file(self.path / "lock", self._owner, held) and _lock_directory(root, held):
                    return held.pop_all()
        except KeyNotFound as exc:
            raise StoreUnavailable(str(exc)) from exc
        return None

    def _clear_staging(self) -> None:
        with translated(f"clear {self.staging}"), os.scandir(self.staging) as entries:
            for entry in entries:
                if entry.is_symlink():
                    self._remove_staged(Path(os.readlink(entry.path)), entry.name)
                os.unlink(entry.path)

    def _remove_staged(self, path: Path, digits: str) -> None:
        """Remove what was staged inside the store, and nothing that was not: the name must end as ours do."""
        is_inside = ".." not in path.parts and any(path.is_relative_to(root) for root in self._roots)
        if is_inside and path.name.endswith(digits):
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()


def _lock_file(path: Path, owner: Owner | None, held: ExitStack) -> bool:
    """Lock a file, made if need be, until *held* ends; False while another one has it.

    Raises:
        OSError: as open(2).
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    held.callback(os.close, fd)
    if owner is not None:
        os.fchown(fd, owner.uid, owner.gid)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Someone may have removed the directory meanwhile; then others lock another file.
        return os.path.samestat(os.fstat(fd), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _lock_directory(path: Path, held: ExitStack) -> bool:
    """As `_lock_file`; True, too, on a medium that locks no directories.

    Raises:
        OSError: as open(2).
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    held.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
