"""The permission bits, held against what the kernel itself decides for files of this machine."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyfs.core.policy import READ, SEARCH, WRITE, Caller, Ownership, may

OWNER_UID, GROUP_GID, OTHER = 4201, 4202, 4203
OWNER = Ownership(OWNER_UID, GROUP_GID)
CALLERS = {
    "owner": Caller(OWNER_UID, OTHER, lambda: ()),
    "owner in the group": Caller(OWNER_UID, GROUP_GID, lambda: (GROUP_GID,)),
    "group": Caller(OTHER, GROUP_GID, lambda: ()),
    "supplementary group": Caller(OTHER, OTHER, lambda: (OTHER, GROUP_GID)),
    "other": Caller(OTHER, OTHER, lambda: (OTHER,)),
    "root": Caller(0, 0, lambda: (0,)),
}
MODES = range(0o1000)
WANTS = [READ, WRITE, READ | WRITE]
FLAGS = {READ: os.O_RDONLY, WRITE: os.O_WRONLY, READ | WRITE: os.O_RDWR}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def ask_the_kernel(caller: Caller, attempt: Callable[[], bytes]) -> bytes:
    """What *attempt* answers in a child process that is *caller*."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing may be raised in here: it would go on as a second pytest.
        try:
            os.close(reading)
            os.setgroups(list(caller.groups()))
            os.setgid(caller.gid)
            os.setuid(caller.uid)
            os.write(writing, attempt())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        answer = answers.read()
    assert os.waitpid(child, 0)[1] == 0
    return answer


def can_open(name: str, flags: int, folder: int) -> bool:
    try:
        os.close(os.open(name, flags, dir_fd=folder))
    except PermissionError:
        return False
    return True


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A directory, as a descriptor, with a file of each mode that belongs to OWNER."""
    folder = tmp_path_factory.mktemp("modes")
    for mode in MODES:
        path = folder / f"{mode:04o}"
        path.touch()
        os.chown(path, OWNER_UID, GROUP_GID)
        path.chmod(mode)
    folder.chmod(0o755)
    # By descriptor: the directories above are closed to others.
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@needs_root
@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize("want", WANTS)
def test_a_file_opens_when_the_kernel_would_open_it(files: int, name: str, want: int) -> None:
    caller = CALLERS[name]

    def attempt() -> bytes:
        return bytes(can_open(f"{mode:04o}", FLAGS[want], files) for mode in MODES)

    verdicts = ask_the_kernel(caller, attempt)
    assert len(verdicts) == len(MODES)
    for mode in MODES:
        kernel = bool(verdicts[mode])
        if caller.uid == 0 and want & WRITE:
            # The one difference, on purpose: root does not write what nobody may write.
            assert kernel
            assert may(caller, OWNER, mode, want) is bool(mode & 0o222)
        else:
            assert may(caller, OWNER, mode, want) is kernel, f"{mode:04o}"


@needs_root
@pytest.mark.parametrize("name", CALLERS)
def test_a_directory_is_searched_when_the_kernel_would_search_it(tmp_path: Path, name: str) -> None:
    caller = CALLERS[name]
    modes = range(0, 0o1000, 0o011) if name == "root" else range(0, 0o1000, 5)
    for mode in modes:
        folder = tmp_path / f"{mode:04o}"
        folder.mkdir()
        (folder / "inside").touch()
        (folder / "inside").chmod(0o444)
        os.chown(folder, OWNER_UID, GROUP_GID)
        folder.chmod(mode)
    top = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    tmp_path.chmod(0o755)

    def attempt() -> bytes:
        return bytes(can_open(f"{mode:04o}/inside", os.O_RDONLY, top) for mode in modes)

    verdicts = ask_the_kernel(caller, attempt)
    os.close(top)
    assert [may(caller, OWNER, mode, SEARCH) for mode in modes] == [bool(verdict) for verdict in verdicts]


def test_groups_are_asked_only_when_they_decide() -> None:
    def asked() -> tuple[int, ...]:
        raise AssertionError("nobody needs to know")

    for uid, gid in ((0, 0), (OWNER_UID, OTHER), (OTHER, GROUP_GID)):
        may(Caller(uid, gid, asked), OWNER, 0o750, READ)


@pytest.mark.parametrize("name", CALLERS)
def test_wanting_nothing_is_always_granted(name: str) -> None:
    assert may(CALLERS[name], OWNER, 0, 0)
