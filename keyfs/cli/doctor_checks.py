"""What `keyfs doctor` looks at: each check states one fact and, where it is bad, the command that mends it.

The commands are Debian's. Checks take what they look at as arguments, so that every answer can be tested.
"""

import errno
import importlib
import importlib.util
import os
import shutil
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from keyfs.custody import CoreDumps, KeyMemory, raise_guards
from keyfs.fs.guard import Guard, guard_of
from keyfs.fs.mounts import FSTYPE, mount_at

PYTHON_MIN: Final = (3, 11)
WATCHES_MIN: Final = (
    8192  # guessed: one watch per directory of a store, and other programs of the user need some
)
FUSE_DEVICE: Final = "/dev/fuse"
FUSE_CONF: Final = "/etc/fuse.conf"
WATCH_LIMIT: Final = "/proc/sys/fs/inotify/max_user_watches"
_IN_CONTAINER: Final = "in a container, start it with: --device /dev/fuse --cap-add SYS_ADMIN"

State = Literal["ok", "missing", "warning"]

_LOCK_LIMIT: Final = (
    "ulimit -l unlimited, in the shell that starts keyfs; under systemd: LimitMEMLOCK=infinity"
)
_KERNEL_OPTION: Final = "use Linux 6.5 or later, or start an older kernel with secretmem.enable=1"
_KEY_MEMORY: Final[dict[KeyMemory, tuple[State, str, str]]] = {
    "memfd_secret": ("ok", "memfd_secret: only keyfs itself can read it", ""),
    "mlock": (
        "warning",
        "mlock: in no core dump and not in swap, but root's debugger can read it: no memfd_secret",
        _KERNEL_OPTION,
    ),
    "undumped": ("warning", "in no core dump, but may go to swap: no memory may be locked", _LOCK_LIMIT),
    "ordinary": ("warning", "ordinary: core dumps have it, and it may go to swap", _KERNEL_OPTION),
}

_GUARDS: Final[dict[Guard, tuple[str, str]]] = {  # what it is, and the command that mends it
    "immutable": ("guarded: nothing can be written there before the mount", ""),
    "by mode": ("guarded by its mode alone: root can write there before the mount", "keyfs guard"),
    "none": ("not guarded: what is written there before the mount lands on the disk", "keyfs guard"),
}

_FOR_ALL: Final = stat.S_IROTH | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about this machine. *remedy* is empty when the state is "ok"."""

    name: str
    state: State  # "missing": keyfs mount does not work; "warning": some of it does not
    detail: str
    remedy: str = ""


def run_checks() -> list[Finding]:
    """Every finding, in the order in which a mount needs things. Raises the guards of a mount, for good."""
    uid = os.geteuid()
    guards = raise_guards()
    return [
        check_python(sys.version_info[:3]),
        check_pyfuse3("pyfuse3"),
        check_fuse_device(FUSE_DEVICE, uid),
        check_fusermount(shutil.which("fusermount3"), uid),
        check_allow_other(FUSE_CONF, uid),
        check_sealer(_engines()),
        check_package("redis", "redis:// key stores"),
        check_package("boto3", "master keys in AWS KMS"),
        check_package("hvac", "master keys in Vault", extra="vault"),
        check_package("pkcs11", "master keys in an HSM (PKCS#11)", extra="pkcs11"),
        check_watches(WATCH_LIMIT, uid),
        check_core_dumps(guards.core_dumps),
        check_key_memory(guards.key_memory),
        check_memory_lock(locked=guards.is_locked),
    ]


def check_python(version: tuple[int, ...]) -> Finding:
    """Whether Python is new enough."""
    shown = ".".join(map(str, version))
    if version >= PYTHON_MIN:
        return Finding("python", "ok", shown)
    wanted = ".".join(map(str, PYTHON_MIN))
    return Finding(
        "python",
        "missing",
        f"{shown}; keyfs needs {wanted}",
        "use Debian 12 or later: apt-get install python3",
    )


def check_pyfuse3(module: str) -> Finding:
    """Whether *module* imports; it is really imported, because libfuse may be what is missing."""
    try:
        version = getattr(importlib.import_module(module), "__version__", "present")
    except ImportError as exc:
        build = as_root("apt-get install gcc libc6-dev python3-dev pkg-config libfuse3-dev", os.geteuid())
        return Finding(module, "missing", _one_line(exc), f"{build} && {_pip_install(module)}")
    return Finding(module, "ok", str(version))


def check_fuse_device(device: str, uid: int) -> Finding:
    """Whether this user can open *device*. Opening it mounts nothing."""
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as exc:
        return Finding(
            device, "missing", f"cannot be opened: {exc.strerror}", _mend_device(device, exc.errno, uid)
        )
    try:
        mode = os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)
    if not stat.S_ISCHR(mode):
        return Finding(
            device, "missing", "is no device", f"{as_root(f'rm {device}', uid)}; {_load_module(uid)}"
        )
    if mode & _FOR_ALL != _FOR_ALL:
        remedy = _open_to_all(device, uid)
        return Finding(device, "warning", f"mode {stat.S_IMODE(mode):04o}: only some users can mount", remedy)
    return Finding(device, "ok", f"mode {stat.S_IMODE(mode):04o}")


def check_fusermount(program: str | None, uid: int) -> Finding:
    """Whether *program*, the path of fusermount3 or None, lets *uid* mount and unmount."""
    if program is None:
        # Root mounts by itself; everyone else needs the setuid program.
        state: State = "warning" if uid == 0 else "missing"
        return Finding("fusermount3", state, "not on PATH", as_root("apt-get install fuse3", uid))
    if uid != 0 and not _is_setuid_root(program):
        remedy = as_root("apt-get install --reinstall fuse3", uid)
        return Finding("fusermount3", "missing", f"{program} is not setuid root", remedy)
    return Finding("fusermount3", "ok", program)


def check_allow_other(path: str, uid: int) -> Finding:
    """Whether *uid* may mount with `--allow-other`."""
    if uid == 0:
        return Finding("allow-other", "ok", "root needs no entry")
    if "user_allow_other" in (line.strip() for line in _lines_of(path)):
        return Finding("allow-other", "ok", f"user_allow_other in {path}")
    detail = f"no user_allow_other in {path}: --allow-other works for root only"
    return Finding("allow-other", "warning", detail, f"echo user_allow_other | sudo tee -a {path}")


def check_sealer(engines: Iterable[tuple[str, bool, str]]) -> Finding:
    """Which of the sealer *engines* (name, usable, remark), best first, does the work."""
    known = list(engines)
    usable = [f"{name} ({remark})" for name, works, remark in known if works]
    idle = [f"; {name} is not used: {remark}" for name, works, remark in known if not works]
    if usable:
        return Finding("sealer", "ok", usable[0] + "".join(idle))
    return Finding("sealer", "missing", f"none works{''.join(idle)}", _pip_install("cryptography"))


def check_package(name: str, purpose: str, extra: str = "") -> Finding:
    """Whether the package *name* is installed, which *purpose* needs. It is not imported.

    Args:
        name: as it is imported.
        purpose: what does not work without it, in words.
        extra: the extra of keyfs that brings it; empty for a regular dependency.
    """
    if importlib.util.find_spec(name) is not None:
        return Finding(name, "ok", "installed")
    remedy = _pip_install(f"'keyfs[{extra}]'" if extra else name)
    return Finding(name, "warning", f"not installed: no {purpose}", remedy)


def check_watches(path: str, uid: int) -> Finding:
    """Whether the limit for inotify watches in *path* has room for a store."""
    text = "".join(_lines_of(path)).strip()
    if text.isdecimal() and int(text) >= WATCHES_MIN:
        return Finding("inotify", "ok", f"{text} watches per user")
    detail = f"{text or 'unknown number of'} watches per user, {WATCHES_MIN} is advised"
    return Finding("inotify", "warning", detail, as_root("sysctl fs.inotify.max_user_watches=65536", uid))


def check_core_dumps(found: CoreDumps) -> Finding:
    """Whether a crash would leave key material in a core dump."""
    if found.forbidden:
        return Finding("core dumps", "ok", "forbidden")
    open_ways = [] if found.size_limit_zero else ["RLIMIT_CORE is not 0"]
    open_ways += [] if found.undumpable else ["the process is dumpable"]
    return Finding(
        "core dumps", "warning", "; ".join(open_ways), "ulimit -Hc 0, in the shell that starts keyfs"
    )


def check_key_memory(kind: KeyMemory) -> Finding:
    """Where master keys would lie."""
    return Finding("key memory", *_KEY_MEMORY[kind])


def check_memory_lock(*, locked: bool) -> Finding:
    """Whether keys that are being read or written could go to swap."""
    if locked:
        return Finding("memory lock", "ok", "no page goes to swap")
    return Finding("memory lock", "warning", "what is being read or written may go to swap", _LOCK_LIMIT)


def check_guard(path: str, uid: int) -> Finding:
    """Whether a program that comes before the mount at *path* could write a key to the disk there."""
    mount = mount_at(path)
    if mount is not None and mount.fstype == FSTYPE:
        return Finding("mountpoint", "ok", f"keyfs is mounted at {path}; what is below shows when it is not")
    try:
        found = guard_of(path)
    except PermissionError:
        return Finding(
            "mountpoint", "warning", f"{path} is closed to this user", as_root("keyfs doctor", uid)
        )
    except OSError as exc:
        return Finding("mountpoint", "missing", f"{path}: {exc.strerror}", as_root(f"mkdir -p {path}", uid))
    detail, remedy = _GUARDS[found]
    return Finding(
        "mountpoint",
        "warning" if remedy else "ok",
        f"{path} is {detail}",
        as_root(f"{remedy} {path}", uid) if remedy else "",
    )


def as_root(command: str, uid: int) -> str:
    """*command* as *uid* must type it."""
    return command if uid == 0 else f"sudo {command}"


def _engines() -> list[tuple[str, bool, str]]:
    try:
        from keyfs.seal.registry import available_engines  # noqa: PLC0415 - cryptography may be what is missing
    except ImportError as exc:
        return [("pure", False, _one_line(exc))]
    return [(engine.name, engine.usable, engine.remark) for engine in available_engines()]


def _mend_device(device: str, number: int | None, uid: int) -> str:
    if number == errno.EACCES:
        return _open_to_all(device, uid)
    if number == errno.EPERM:
        return _IN_CONTAINER
    return f"{_load_module(uid)}; {_IN_CONTAINER}"


def _open_to_all(device: str, uid: int) -> str:
    # Without udev the node stays 0600, as the kernel made it. Access is guarded by fusermount3 instead.
    chmod, udev = as_root(f"chmod 666 {device}", uid), as_root("apt-get install udev", uid)
    return f"{chmod} (until the next boot; for good: {udev})"


def _load_module(uid: int) -> str:
    return as_root("modprobe fuse", uid)


def _is_setuid_root(program: str) -> bool:
    try:
        status = os.stat(program)
    except OSError:
        return False
    return status.st_uid == 0 and bool(status.st_mode & stat.S_ISUID)


def _lines_of(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _pip_install(package: str) -> str:
    return f"{sys.executable} -m pip install {package}"


def _one_line(exc: ImportError) -> str:
    return " ".join(str(exc).split())
