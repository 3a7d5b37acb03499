"""Whether a directory can be a root of a key store."""

from pathlib import Path

from keyfs.errors import InsecurePermissions, StoreInvalid
from keyfs.store.files import DIRECTORY_MODE, permissions
from keyfs.store.os_errors import translated


def checked_directory(path: Path) -> Path:
    """The directory by its true path.

    Raises:
        StoreInvalid: there is none.
        AccessDenied, StoreUnavailable: it cannot be looked at.
    """
    with translated(f"open the key store {path}"):
        if not path.exists():
            raise StoreInvalid(
                f"there is no directory {path}: make a key store with keyfs init --store {path}"
            )
        if not path.is_dir():
            raise StoreInvalid(f"{path} is not a directory")
        # Two spellings of one directory must share one lock.
        return path.resolve(strict=True)


def checked_root(path: Path) -> Path:
    """As `checked_directory`.

    Raises:
        InsecurePermissions: it has a mode with which Acra refuses it.
        StoreInvalid, AccessDenied, StoreUnavailable: as `checked_directory`.
    """
    root = checked_directory(path)
    mode = permissions(root.stat())
    if mode != DIRECTORY_MODE:
        raise InsecurePermissions(
            f"{path} has mode {mode:04o}; Acra and keyfs open a key store only with 0700: chmod 700 {path}"
        )
    return root
