"""What a program can do with names and attributes: the other rows of the conformance table."""

import os
import stat
import struct
from collections.abc import Callable
from typing import Final

import libc_calls as libc
from opened_files import KEY, Call, opened, reading

BESIDE: Final = "beside"  # a scratch file that is there where one can be made
NEW: Final = "a new name"
NOBODY_SPECIAL: Final = 0xFFFFFFFF


def renamed(target: str, flags: int = 0) -> Call:
    return lambda name: libc.renameat2(name, target, flags)


def renamed_from(source: str, flags: int = 0) -> Call:
    return lambda name: libc.renameat2(source, name, flags)


def onto_itself(name: str) -> None:
    os.rename(name, name)


def replaced(name: str) -> None:
    """Remove it, make it again, as `cp --remove-destination` does."""
    os.unlink(name)
    with opened(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
        os.write(fd, KEY)


def gone_after_unlink(name: str) -> str:
    os.unlink(name)
    return "there" if os.path.lexists(name) else "gone"


def agreed(name: str) -> str:
    with opened(name) as fd:
        seen = {os.stat(name), os.fstat(fd), os.lstat(name)}
        return "agree" if len(seen) == 1 and libc.statx_size(name) == os.fstat(fd).st_size else "differ"


def kind_and_mode(name: str) -> str:
    return stat.filemode(os.stat(name).st_mode)


def changed_mode(name: str) -> None:
    os.chmod(name, stat.S_IMODE(os.stat(name).st_mode) ^ 0o044)


def same_mode(name: str) -> None:
    os.chmod(name, stat.S_IMODE(os.stat(name).st_mode))


def fchmod(fd: int) -> None:
    os.fchmod(fd, 0o777)


def same_owner(name: str) -> None:
    facts = os.stat(name)
    os.chown(name, facts.st_uid, facts.st_gid)


def exec_it(name: str) -> None:
    os.execv(f"./{name}", [name])


def names_of(name: str) -> str:
    """All that readdir(3) names can be asked for, and `..` leads back."""
    with os.scandir(name) as entries:
        for entry in entries:
            entry.stat(follow_symlinks=False)
    return "all there" if os.stat(f"{name}/..").st_ino == os.stat(".").st_ino else "another parent"


def state(name: str) -> str:
    return os.getxattr(name, "user.keyfs.state").decode()


def listed(name: str) -> str:
    return "+".join(sorted(set(os.listxattr(name)) & {"user.keyfs.state"}))


def xattr(do: Callable[..., object], attribute: str, *more: bytes) -> Call:
    return lambda name: do(name, attribute, *more)


def free_bytes(name: str) -> str:
    facts = os.statvfs(name)
    return f"{facts.f_bavail} free, {facts.f_namemax} a name"


# Whoever owns it may read and write, its group may read, others may not.
ACL: Final = struct.pack(
    "<I" + 3 * "HHI", 2, 1, 6, NOBODY_SPECIAL, 4, 4, NOBODY_SPECIAL, 32, 0, NOBODY_SPECIAL
)


def xattrs(word: str, do: Callable[..., object], *more: bytes) -> dict[str, Call]:
    names = ("user.x", "security.selinux", "trusted.x", "system.posix_acl_access")
    return {f"{word} {name}": xattr(do, name, *more) for name in names}


CALLS: dict[str, Call] = {
    "stat, fstat, lstat, statx": agreed,
    "mode": kind_and_mode,
    "access F_OK": lambda name: os.access(name, os.F_OK),
    "access R_OK": lambda name: os.access(name, os.R_OK),
    "access W_OK": lambda name: os.access(name, os.W_OK),
    "access X_OK": lambda name: os.access(name, os.X_OK),
    "faccessat2 EACCESS R_OK|W_OK": lambda name: libc.eaccess(name, os.R_OK | os.W_OK),
    "chmod to the same": same_mode,
    "chmod": changed_mode,
    "fchmod": reading(fchmod),
    "chown to the same": same_owner,
    "chown": lambda name: os.chown(name, 4201, 4202),
    "fchown": reading(lambda fd: os.fchown(fd, 4201, 4202)),
    "utimensat now": os.utime,
    "utimensat": lambda name: os.utime(name, ns=(1, 1)),
    "futimens": reading(lambda fd: os.utime(fd, ns=(2, 2))),
    "readlink": os.readlink,
    "execve": exec_it,
    "chdir": os.chdir,
    "link to a new name": lambda name: os.link(name, NEW),
    "link from beside": lambda name: os.link(BESIDE, name),
    "symlink": lambda name: os.symlink("x", name),
    "mkfifo": os.mkfifo,
    "mknod, regular": lambda name: os.mknod(name, stat.S_IFREG | 0o600),
    "mknod, device": lambda name: os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "mkdir": os.mkdir,
    "mkdir in it": lambda name: os.mkdir(f"{name}/bobby2"),
    "create in it": lambda name: os.close(os.open(f"{name}/made", os.O_WRONLY | os.O_CREAT | os.O_EXCL)),
    "create current.pem in it": lambda name: os.close(
        os.open(f"{name}/current.pem", os.O_WRONLY | os.O_CREAT)
    ),
    "create a stamp in it": lambda name: os.close(
        os.open(f"{name}/2020-01-01T00:00:00", os.O_WRONLY | os.O_CREAT)
    ),
    "rmdir": os.rmdir,
    "unlink": gone_after_unlink,
    "unlink, create, write": replaced,
    "rename to a new name": renamed(NEW),
    "rename to itself": onto_itself,
    "rename to current": renamed("current"),
    "rename to current.pub": renamed("current.pub"),
    "rename to rotate": renamed("rotate"),
    "rename to a scratch file": renamed(BESIDE),
    "rename to another client": renamed(f"../bobby/{NEW}"),
    "rename to another purpose": renamed(f"../../hmac-sym/bobby/{NEW}"),
    "rename a scratch file to it": renamed_from(BESIDE),
    "rename current to it": renamed_from("current"),
    "rename NOREPLACE to a new name": renamed(NEW, libc.RENAME_NOREPLACE),
    "rename NOREPLACE to current": renamed("current", libc.RENAME_NOREPLACE),
    "rename NOREPLACE a scratch file to it": renamed_from(BESIDE, libc.RENAME_NOREPLACE),
    "rename EXCHANGE with current": renamed("current", libc.RENAME_EXCHANGE),
    "rename EXCHANGE with a scratch file": renamed(BESIDE, libc.RENAME_EXCHANGE),
    "rename WHITEOUT": renamed(NEW, libc.RENAME_WHITEOUT),
    "getxattr user.keyfs.state": state,
    "listxattr": listed,
    **xattrs("getxattr", os.getxattr),
    **xattrs("setxattr", os.setxattr, ACL),
    **xattrs("removexattr", os.removexattr),
    "readdir": names_of,
    "telldir, seekdir": libc.walk_back_and_forth,
    "statfs": free_bytes,
    "name_to_handle_at": libc.name_to_handle,
    "inotify_add_watch": libc.inotify_watch,
    "fanotify_mark": libc.fanotify_mark,
}
