"""Every handler answers exactly once, in time, with an errno that means something.

An exception that escapes a pyfuse3 handler ends the mount, and an interrupted reader does not end its
handler. So each handler carries `@replies`; its sibling `@swallows` is for `forget`, which has no answer.
"""

import errno
import functools
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

import trio
from pyfuse3 import FUSEError

from keyfs import errors
from keyfs.logs import event

P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[P, Coroutine[Any, Any, T]]

METADATA_WITHIN_S: Final = 2.0
READ_WITHIN_S: Final = 5.0
WRITE_WITHIN_S: Final = 10.0

ERRNO: Final[dict[type[errors.KeyfsError], int]] = {
    errors.InvalidName: errno.ENOENT,
    errors.ClientIdTooLong: errno.ENAMETOOLONG,
    errors.InvalidMaterial: errno.EINVAL,
    errors.InvalidSettings: errno.EINVAL,
    errors.KeyNotFound: errno.ENOENT,
    errors.KeyExists: errno.EEXIST,
    errors.KeyExpired: errno.EKEYEXPIRED,
    errors.KeyRevoked: errno.EKEYREVOKED,
    errors.KeyDestroyed: errno.ENOKEY,
    errors.AccessDenied: errno.EACCES,
    errors.OperationRefused: errno.EPERM,
    errors.QuotaExceeded: errno.EDQUOT,
    errors.ClientNotEmpty: errno.ENOTEMPTY,
    errors.ReadOnly: errno.EROFS,
    errors.InsecurePermissions: errno.EACCES,
    errors.MasterKeyUnavailable: errno.ENOKEY,
    errors.KeyServiceUnavailable: errno.EAGAIN,
    errors.MasterKeyWrong: errno.ENOKEY,
    errors.UnsealFailed: errno.EBADMSG,
    errors.MaterialCorrupt: errno.EIO,
    errors.RingInvalid: errno.EBADMSG,
    errors.RotationConflict: errno.ESTALE,
    errors.StoreBusy: errno.EBUSY,
    errors.StoreFull: errno.ENOSPC,
    errors.StoreUnavailable: errno.EAGAIN,
    errors.StoreInvalid: errno.EIO,
    errors.LayoutUnsupported: errno.EOPNOTSUPP,
    errors.MountFailed: errno.EIO,
    errors.NotMounted: errno.EIO,
}
# What the caller did wrong is no news to the operator.
_QUIET: Final = frozenset(
    {
        *(errno.ENOENT, errno.EINVAL, errno.EEXIST, errno.EPERM),
        *(errno.ENAMETOOLONG, errno.ENOTEMPTY, errno.EDQUOT),
    }
)
_log = logging.getLogger(__name__)


def replies(within_s: float | None, *, looks: bool = False) -> Callable[[Handler[P, T]], Handler[P, T]]:
    """Answer within the time given: a `KeyfsError` by table, lateness ETIMEDOUT, a bug of ours EIO.

    Args:
        within_s: the deadline; None for a handler that waits for nobody, or has deadlines of its own.
        looks: whether changes that were complete before the request are taken in first.
    """

    def decorate(handler: Handler[P, T]) -> Handler[P, T]:
        name = handler.__name__

        @functools.wraps(handler)
        async def answering(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                if looks:
                    operations: Any = args[0]  # a `Refusals`; no cast, which every request would pay for
                    if operations.broker.has_news():
                        await operations.broker.fresh()  # which has a deadline
                if within_s is None:
                    return await handler(*args, **kwargs)
                with trio.fail_after(within_s):
                    return await handler(*args, **kwargs)
            except FUSEError:
                raise
            except Exception as exc:  # noqa: BLE001 - the boundary: anything else would end the mount
                raise FUSEError(_errno_of(name, exc)) from None

        return answering

    return decorate


def swallows(handler: Handler[P, None]) -> Handler[P, None]:
    """For requests without an answer: nothing may be raised, whatever happens."""

    @functools.wraps(handler)
    async def silent(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await handler(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001 - the boundary: anything raised here would end the mount
            event(_log, logging.ERROR, "request.bug", request=handler.__name__, exc_info=exc)

    return silent


def is_about_wanted_answer(record: logging.LogRecord) -> bool:
    """A filter for pyfuse3's log: no, if it tells of an answer that the kernel did not want any more.

    A mount that ends while the last close of a file is under way does that. pyfuse3 calls it an error.
    """
    is_reply = record.msg.endswith("fuse_reply_* failed with %s")
    return not (is_reply and record.args == (os.strerror(errno.ENOENT),))


def _errno_of(request: str, exc: Exception) -> int:
    if isinstance(exc, errors.KeyfsError):
        return _answer(request, exc)
    if isinstance(exc, trio.TooSlowError):
        event(_log, logging.ERROR, "request.late", request=request)
        return errno.ETIMEDOUT
    event(_log, logging.ERROR, "request.bug", request=request, exc_info=exc)
    return errno.EIO


def _answer(request: str, exc: errors.KeyfsError) -> int:
    # A third party's store may raise an error of its own; it is answered as what it is a kind of.
    number = next((ERRNO[kind] for kind in type(exc).__mro__ if kind in ERRNO), errno.EIO)
    level = logging.DEBUG if number in _QUIET else logging.WARNING
    event(_log, level, "request.failed", request=request, errno=errno.errorcode[number], reason=str(exc))
    return number
