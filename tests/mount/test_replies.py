"""The kernel gets one answer, in time, whatever happens: the boundary, and that no handler lacks it."""

import errno
import inspect
import subprocess
import sys

import pyfuse3
import pytest
import trio
import trio.testing
from pyfuse3 import FUSEError

from keyfs import errors
from keyfs.fs import replies as boundary
from keyfs.fs.operations import KeyfsOperations
from keyfs.fs.replies import ERRNO, replies, swallows

HANDLERS = sorted(name for name, f in vars(pyfuse3.Operations).items() if inspect.iscoroutinefunction(f))
ERRORS = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.KeyfsError)]


# --- guards ---


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_carries_its_boundary(name: str) -> None:
    """Or is not ours: what pyfuse3 itself answers is ENOSYS."""
    handler = getattr(KeyfsOperations, name)
    if handler is getattr(pyfuse3.Operations, name):
        return
    boundaries = {"forget": "silent"}
    assert handler.__code__.co_filename == boundary.__file__
    assert handler.__code__.co_name == boundaries.get(name, "answering")
    assert inspect.signature(handler) == inspect.signature(handler.__wrapped__)


def test_no_coroutine_of_the_operations_is_overlooked() -> None:
    """A handler that a new pyfuse3 brings would be in HANDLERS; a public coroutine that is none would not."""
    ours = {name for name, _ in inspect.getmembers(KeyfsOperations, inspect.iscoroutinefunction)}
    assert {name for name in ours if not name.startswith("_")} <= set(HANDLERS)


def test_every_error_has_an_errno() -> None:
    assert set(ERRNO) == set(ERRORS) - {errors.KeyfsError}
    assert all(number in errno.errorcode for number in ERRNO.values())


# --- the boundary ---


async def answer(error: BaseException, within_s: float = 1.0) -> int:
    """What the kernel would be told of *error*."""

    @replies(within_s)
    async def handler() -> None:
        raise error

    with pytest.raises(FUSEError) as caught:
        await handler()
    return int(caught.value.errno)


def announced(cls: type[errors.KeyfsError]) -> tuple[pytest.MarkDecorator, ...]:
    return () if ERRNO[cls] in boundary._QUIET else (pytest.mark.expects_log("request.failed"),)


@pytest.mark.parametrize("cls", [pytest.param(cls, marks=announced(cls), id=cls.__name__) for cls in ERRNO])
async def test_an_error_of_ours_becomes_its_errno(cls: type[errors.KeyfsError]) -> None:
    assert await answer(cls("why")) == ERRNO[cls]


async def test_an_errno_passes() -> None:
    assert await answer(FUSEError(errno.EXDEV)) == errno.EXDEV


@pytest.mark.expects_log("request.bug")
@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), RecursionError(), OSError(5, "x")])
async def test_a_bug_becomes_eio_and_is_logged(error: Exception) -> None:
    assert await answer(error) == errno.EIO


@pytest.mark.expects_log("request.bug")
async def test_errors_of_several_tasks_become_eio() -> None:
    @replies(1.0)
    async def handler() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyError

    with pytest.raises(FUSEError) as caught:
        await handler()
    assert caught.value.errno == errno.EIO


@pytest.mark.expects_log("request.late")
async def test_a_handler_that_never_ends_is_answered_at_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @replies(2.0)
    async def handler() -> None:
        await trio.sleep_forever()

    started = trio.current_time()
    with pytest.raises(FUSEError) as caught:
        await handler()
    assert caught.value.errno == errno.ETIMEDOUT
    assert trio.current_time() - started == pytest.approx(2.0)


async def test_an_answer_in_time_is_passed_on(autojump_clock: trio.testing.MockClock) -> None:
    @replies(2.0)
    async def handler(number: int) -> int:
        await trio.sleep(1.9)
        return number

    assert await handler(7) == 7


async def test_the_end_of_the_mount_is_no_error_of_the_request() -> None:
    """Cancellation from outside must pass: swallowed, the mount could not end."""

    @replies(1.0)
    async def handler() -> None:
        await trio.sleep_forever()

    @swallows
    async def silent() -> None:
        await trio.sleep_forever()

    for call in (handler(), silent()):
        with trio.CancelScope() as scope:
            scope.cancel()
            await call
        assert scope.cancelled_caught


@pytest.mark.expects_log("request.bug")
async def test_what_has_no_answer_raises_nothing() -> None:
    @swallows
    async def forget() -> None:
        raise KeyError

    await forget()
    await KeyfsOperations.forget(object(), [(1, 1)])  # type: ignore[arg-type]  # it has no _scene: a bug


# --- on a real mount ---

BROKEN = """
import errno, os, pathlib, sys, threading
import pyfuse3, trio
from keyfs.fs.replies import replies, swallows
from keyfs.errors import KeyfsError, StoreUnavailable

class Broken(pyfuse3.Operations):
    bug: Exception = KeyError("x")
    @replies(1.0)
    async def getattr(self, inode, ctx):
        attr = pyfuse3.EntryAttributes()
        attr.st_ino, attr.st_mode = inode, 0o40555
        return attr
    @replies(0.2)
    async def lookup(self, parent, name, ctx):
        if name == b"late": await trio.sleep_forever()
        if name == b"away": raise StoreUnavailable("away")
        raise {b"bug": KeyError("x"), b"group": ExceptionGroup("g", [ValueError()])}[name]
    @swallows
    async def forget(self, inodes):
        raise KeyError

mountpoint = sys.argv[1]
def ask():
    for name in ("bug", "late", "away", "group", "bug"):
        try: os.stat(f"{mountpoint}/{name}")
        except OSError as exc: print(name, errno.errorcode[exc.errno], flush=True)
async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        await trio.to_thread.run_sync(ask)
        pyfuse3.terminate()
pyfuse3.init(Broken(), mountpoint, {"fsname=broken"})
try: trio.run(main)
finally: pyfuse3.close(unmount=True)
"""


def test_a_mount_with_bugs_answers_each_request_and_lives(
    tmp_path_factory: pytest.TempPathFactory, fuse_required: None
) -> None:
    place = tmp_path_factory.mktemp("broken")
    ran = subprocess.run(
        [sys.executable, "-c", BROKEN, place], capture_output=True, text=True, check=False, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["bug EIO", "late ETIMEDOUT", "away EAGAIN", "group EIO", "bug EIO"]
