"""Every request is answered once, in time, with an errno that means something, whatever the store does."""

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pyfuse3
import pytest
import trio
from kernel import Kernel, refused
from trio.testing import MockClock, wait_all_tasks_blocked

from keyfs import errors
from keyfs.broker.broker import FRESH_WITHIN_S
from keyfs.fs.replies import ERRNO, READ_WITHIN_S, WRITE_WITHIN_S, replies, swallows
from keyfs.testing.builders import HMAC_SYM, STORAGE_SYM, Keys, in_memory
from keyfs.testing.faults import Gate, failing
from keyfs.testing.medium import Medium

pytest_plugins = ["fs_fixtures"]

SYM = "storage-sym/alice/current"
ERRORS = sorted(ERRNO, key=lambda error: error.__name__)


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """Opened at the end, so that no thread stays behind."""
    gate = Gate()
    yield gate
    gate.open()


async def answer_after(clock: MockClock, within_s: float, request: Callable[[], Awaitable[object]]) -> int:
    """The errno that *request* gets at its deadline, and not before."""
    answers: list[int] = []

    async def ask() -> None:
        try:
            await request()
        except pyfuse3.FUSEError as exc:
            answers.append(exc.errno)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        clock.jump(within_s * 0.99)
        await wait_all_tasks_blocked()
        assert not answers
        clock.jump(within_s * 0.02)
    return answers[0]


# --- what the store says ---


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.expects_log("request.failed")
async def test_an_error_of_the_store_is_its_errno(
    kernel: Kernel, keys: Keys, error: type[errors.KeyfsError]
) -> None:
    fh = (await kernel.operations.open(await kernel.inode(SYM), os.O_WRONLY | os.O_TRUNC, kernel.ctx)).fh
    await kernel.operations.write(fh, 0, b"k" * 32)
    keys.store.before("supersede", failing(error("on purpose")))
    with refused(errno.errorcode[ERRNO[error]]):
        await kernel.operations.flush(fh)
    keys.store.before("supersede", failing(errors.StoreBusy("so that something is logged")))
    with refused("EBUSY"):
        await kernel.operations.flush(fh)
    await kernel.operations.flush(fh)
    assert keys.secret(STORAGE_SYM) == b"k" * 32


def test_every_error_has_an_errno() -> None:
    found, left = set[type[errors.KeyfsError]](), [errors.KeyfsError]
    while left:
        left += (subclasses := left.pop().__subclasses__())
        found.update(error for error in subclasses if error.__module__ == "keyfs.errors")
    assert found == set(ERRNO)


@pytest.mark.expects_log("request.failed")
async def test_an_error_that_has_no_row_is_answered_as_the_one_it_is_a_kind_of() -> None:
    """A store of a third party may bring its own errors."""

    class QuotaExceeded(errors.StoreFull):
        pass

    class Unheard(errors.KeyfsError):
        pass

    @replies(1)
    async def handler(error: errors.KeyfsError) -> None:
        raise error

    with refused("ENOSPC"):
        await handler(QuotaExceeded("quota"))
    with refused("EIO"):
        await handler(Unheard("what"))


@pytest.mark.expects_log("request.bug")
@pytest.mark.parametrize("bug", [KeyError("x"), ZeroDivisionError(), OSError(2, "x"), AssertionError()])
async def test_a_bug_is_eio_and_a_traceback(bug: Exception, caplog: pytest.LogCaptureFixture) -> None:
    @replies(1)
    async def handler() -> None:
        raise bug

    with refused("EIO"):
        await handler()
    assert caplog.records[-1].exc_info is not None


async def test_cancellation_passes() -> None:
    """The end of the mount is no late request."""

    @replies(1)
    async def handler() -> None:
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        scope.cancel()
        await handler()
    assert scope.cancelled_caught


@pytest.mark.expects_log("request.bug")
async def test_nothing_comes_out_of_a_request_without_an_answer() -> None:
    @swallows
    async def handler() -> None:
        raise pyfuse3.FUSEError(errno.EIO)

    await handler()


@pytest.mark.expects_log("request.failed|store.away")
async def test_a_cold_key_of_a_store_that_is_away_is_eagain(kernel: Kernel, medium: Medium) -> None:
    warm = await kernel.read(SYM)
    medium.is_gone = True
    assert await kernel.read(SYM) == warm
    assert "current" in await kernel.names("storage-sym/alice")
    with refused("EAGAIN"):
        await kernel.read("hmac-sym/alice/current")
    with refused("EAGAIN"):
        await kernel.write("storage-sym/alice/rotate", b"1")
    medium.is_gone = False
    assert await kernel.read("hmac-sym/alice/current")


# --- what takes too long ---


@pytest.mark.expects_log("request.late")
async def test_a_read_of_a_store_that_hangs_is_late_and_others_are_answered(
    kernel: Kernel, keys: Keys, gate: Gate, mock_clock: MockClock
) -> None:
    warm = await kernel.read(SYM)
    inode = await kernel.inode("hmac-sym/alice/current")
    keys.store.before("get", gate, None)
    late = await answer_after(
        mock_clock, READ_WITHIN_S, lambda: kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)
    )
    assert late == errno.ETIMEDOUT
    assert await kernel.read(SYM) == warm
    assert "current" in await kernel.names("hmac-sym/alice")
    gate.open()
    assert await kernel.read("hmac-sym/alice/current")


@pytest.mark.expects_log("request.late")
async def test_a_write_to_a_store_that_hangs_is_late_and_goes_on(
    kernel: Kernel, keys: Keys, gate: Gate, mock_clock: MockClock
) -> None:
    before = await kernel.read(SYM)
    fh = (await kernel.operations.open(await kernel.inode(SYM), os.O_WRONLY | os.O_TRUNC, kernel.ctx)).fh
    await kernel.operations.write(fh, 0, b"k" * 32)
    keys.store.before("supersede", gate)
    late = await answer_after(mock_clock, WRITE_WITHIN_S, lambda: kernel.operations.flush(fh))
    assert late == errno.ETIMEDOUT
    assert await kernel.read(SYM) == before
    await kernel.operations.release(fh)  # wipes what the write has its own copy of
    gate.open()
    await kernel.write("hmac-sym/alice/current", b"h" * 32)  # waits for it, as every writer does
    assert await kernel.read(SYM) == b"k" * 32


@pytest.mark.expects_log("request.late")
async def test_a_writer_behind_one_that_hangs_is_late_and_changes_nothing(
    kernel: Kernel, keys: Keys, gate: Gate, mock_clock: MockClock
) -> None:
    answers: dict[str, int] = {}

    async def rotate(path: str) -> None:
        fh = (await kernel.operations.open(await kernel.inode(path), os.O_WRONLY, kernel.ctx)).fh
        await kernel.operations.write(fh, 0, b"1")
        try:
            await kernel.operations.flush(fh)
        except pyfuse3.FUSEError as exc:
            answers[path] = exc.errno

    keys.store.before("supersede", gate)
    async with trio.open_nursery() as nursery:
        for path in ("storage-sym/alice/rotate", "hmac-sym/alice/rotate"):
            nursery.start_soon(rotate, path)
            await wait_all_tasks_blocked()
            mock_clock.jump(WRITE_WITHIN_S * 0.6)
        await wait_all_tasks_blocked()
        assert answers == {"storage-sym/alice/rotate": errno.ETIMEDOUT}
        mock_clock.jump(WRITE_WITHIN_S * 0.6)
    assert answers["hmac-sym/alice/rotate"] == errno.ETIMEDOUT
    gate.open()
    await kernel.write("audit-log/@global/rotate", b"1")
    assert len(keys.versions(STORAGE_SYM)) == 2
    assert len(keys.versions(HMAC_SYM)) == 1


@pytest.mark.expects_log("store.away")
@pytest.mark.expects_log("store.back")
async def test_a_look_that_hangs_stops_nobody_for_long(
    kernel: Kernel, keys: Keys, medium: Medium, gate: Gate, mock_clock: MockClock
) -> None:
    """What is known goes on being served, visibly; what changed is seen when the store answers again."""
    warm = await kernel.read(SYM)
    await kernel.read(".keyfs/status")
    in_memory(medium).writer.rotate(STORAGE_SYM)
    keys.store.before("stat", gate, None)
    seen: list[bytes] = []

    async def ask() -> None:
        seen.append(await kernel.read(SYM))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        while not gate.reached.is_set():
            await wait_all_tasks_blocked()
        while not seen:
            await wait_all_tasks_blocked()
            mock_clock.jump(FRESH_WITHIN_S)
    assert seen == [warm]
    assert await kernel.read(SYM) == warm  # nobody waits any more
    assert b"state: stale since" in await kernel.read(".keyfs/status")
    keys.store.mend()
    gate.open()
    while await kernel.read(SYM) == warm:
        await wait_all_tasks_blocked()
    assert b"state: fresh" in await kernel.read(".keyfs/status")
