"""Other bytes in the place of a file that stays the same key: what the directory driver does for `rewrite`.

A new file is exchanged with the old one, and only then it is looked what came out. So what someone wrote in
the last moment, who takes no lock, is seen and put back, never overwritten.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from keyfs.errors import KeyfsError
from keyfs.store.files import NO_LINKS, Owner, exchange, permissions, read_whole, sync_directory, write_new


@dataclass(frozen=True, slots=True)
class _Face:
    """What stays as it is when a file is rewritten. Equal ones can be names of one file."""

    mode: int
    mtime_ns: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class _Target:
    name: str
    path: Path
    face: _Face


def rewrite(
    paths: Mapping[str, Path],
    expected: bytes,
    data: bytes,
    stage_path: Callable[[Path], Path],
    step: Callable[[str], None],
) -> bool:
    """See `Store.rewrite`.

    Args:
        paths: where the names lie.
        expected: what they have to hold.
        data: what they get.
        stage_path: a new path from which a file can be exchanged with the one at the given path.
        step: called before each step.

    Raises:
        FileNotFoundError, KeyNotFound: one of them is gone, or no regular file.
        OSError: as open(2), write(2), fsync(2), rename(2), chown(2).
    """
    targets: list[_Target] = []
    done: dict[_Face, Path] = {}  # files that hold the new bytes
    for name, path in paths.items():
        held, face = _look(path)
        if held == data:
            done.setdefault(face, path)
        elif held == expected:
            targets.append(_Target(name, path, face))
        else:
            return False
    with ExitStack() as undo:
        staged = [_stage(target, data, done, stage_path, step, undo) for target in targets]
        are_swapped = all(
            _swap(target, path, expected, step) for target, path in zip(targets, staged, strict=True)
        )
        for directory in {target.path.parent for target in targets}:
            step("sync names")
            sync_directory(directory)
    step("done")
    return are_swapped


def _look(path: Path) -> tuple[bytes, _Face]:
    data, facts = read_whole(path)
    return data, _Face(permissions(facts), facts.st_mtime_ns, facts.st_uid, facts.st_gid)


def _stage(
    target: _Target,
    data: bytes,
    done: dict[_Face, Path],
    stage_path: Callable[[Path], Path],
    step: Callable[[str], None],
    undo: ExitStack,
) -> Path:
    """A file beside the store that is to take the target's place; one file for all names of one file."""
    path = stage_path(target.path)
    step(f"stage {target.name}")
    undo.callback(_remove, path)
    face, twin = target.face, done.get(target.face)
    if twin is None or not _link(twin, path, data):
        write_new(path, data, face.mode, face.mtime_ns, Owner(face.uid, face.gid))
        done[face] = path
    return path


def _link(path: Path, other: Path, data: bytes) -> bool:
    try:
        os.link(path, other, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in NO_LINKS:
            raise
        return False
    if _holds(other, data):
        return True
    other.unlink()  # someone who takes no lock wrote there since
    return False


def _swap(target: _Target, staged: Path, expected: bytes, step: Callable[[str], None]) -> bool:
    """Put the staged file in its place, unless other bytes are there by now."""
    step(f"swap {target.name}")
    if exchange(staged, target.path):
        if _holds(staged, expected):
            return True
        exchange(staged, target.path)
        return False
    if not _holds(target.path, expected):  # the latest moment there is
        return False
    staged.rename(target.path)
    return True


def _holds(path: Path, data: bytes) -> bool:
    """Whether it does; what cannot be read does not."""
    try:
        return read_whole(path)[0] == data
    except (KeyfsError, OSError):
        return False


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
