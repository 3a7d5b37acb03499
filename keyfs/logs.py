"""Logging: one line per event, one formatter, one choke point that keeps key material out.

    2026-11-24T02:46:25.574Z info rotation.committed path=storage/alice version=3

keyfs code calls `event`. What other libraries log passes the same filter; its event is their logger's name.
"""

import contextlib
import json
import logging
import logging.handlers
import os
import re
import socket
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import PurePath
from types import TracebackType
from typing import Final, TextIO

from keyfs.core.purposes import PURPOSES
from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings

LEVELS: Final = ("debug", "info", "warning", "error")
SYSLOG_SOCKET: Final = "/dev/log"
NAME_FIELDS: Final = frozenset({"client", "path", "name", "store", "mountpoint"})
"""Fields whose text is a name, however long: it is printed whole. Bytes are refused in them, too."""

_TOP = logging.getLogger("keyfs")
# A 32-byte key is 64 hex digits or 43 characters of base64. Shorter runs are ids, stamps and words.
_LONG_RUN = re.compile(r"[A-Za-z0-9+/_\-]{40,}={0,2}")
_PATH = re.compile(r"(/[a-z0-9_\-]{1,39})+/?")
_PURPOSES: Final = frozenset(purpose.name for purpose in PURPOSES)
_BARE = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without space, quote, backslash and equals sign
_NOT_BARE = re.compile(r"[^!#-<>-\[\]-~]")
_UNPRINTABLE = re.compile(r"[^ -~]")
_INT_BITS_MAX: Final = 128  # above, a number is more likely key material than a count
_DEPTH_MAX: Final = 4
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure(level: str, target: str) -> None:
    """Send the log of this process to *target*, in place of an earlier target.

    Args:
        level: debug, info, warning or error, in any case. Other libraries are heard from warning on.
        target: "stderr", "syslog", or the path of a file, which is made with mode 0640, appended to, and
            reopened when something else rotates it.

    Raises:
        InvalidSettings: an unknown level, no syslog here, or a file that cannot be opened.
    """
    if level.lower() not in LEVELS:
        raise InvalidSettings(f"log level {level!r} is unknown; use one of: {', '.join(LEVELS)}")
    handler = _open_handler(target)
    handler.setFormatter(Formatter())
    handler.addFilter(Redaction())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _KeyfsHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    _TOP.setLevel(level.upper())


def event(
    logger: logging.Logger,
    level: int,
    name: str,
    /,
    *,
    exc_info: BaseException | None = None,
    **fields: object,
) -> None:
    """Log that *name* (`rotation.committed`) happened, with *fields*. Never raises.

    Args:
        logger: the module's own, below `keyfs`.
        level: logging.DEBUG to logging.ERROR.
        name: what happened: a noun, a dot, a verb in the past.
        exc_info: an error whose traceback is wanted; for one line pass it as the field `error` instead.
        fields: texts, numbers, paths, errors, and lists of these. Anything else shows as its type's name.
    """
    logger.log(level, name, exc_info=exc_info, extra={"fields": fields}, stacklevel=2)


class Redaction(logging.Filter):
    """The choke point: after it a record holds nothing but printable facts.

    An allow-list, because a value of an unknown type may print anything. Long runs of hex or base64
    characters are replaced everywhere but in the fields of `NAME_FIELDS`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite *record* in place; always lets it pass. Never raises."""
        record.msg, record.args = redact(_message_of(record)), None
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            record.fields = {str(key): _field_text(str(key), value) for key, value in fields.items()}
        if record.exc_info:  # even if another handler has left its own text of it, which nobody redacted
            record.exc_text = _traceback_text(record.exc_info)
        record.exc_info = None
        record.stack_info = None
        return True


class Formatter(logging.Formatter):
    """`time level event key=value …`, in ASCII; a traceback follows in lines that start with `    | `."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines for a record that went through `Redaction`."""
        fields = getattr(record, "fields", None)
        name = record.getMessage()
        if not isinstance(fields, Mapping):
            name, fields = record.name, {"message": name}
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = (time.replace("+00:00", "Z"), record.levelname.lower(), _token(name))
        lines = [" ".join((*head, *(f"{_token(key)}={_quoted(value)}" for key, value in fields.items())))]
        lines += ["    | " + _UNPRINTABLE.sub(_escape, line) for line in (record.exc_text or "").splitlines()]
        return "\n".join(lines)


def redact(text: str) -> str:
    """*text* with every run of 40 or more hex or base64 characters replaced by its length.

    Names stay: what starts with a purpose (`storage/…`), and paths that no base64 of a key could look like.
    """
    return _LONG_RUN.sub(_shown, text)


def _shown(run: re.Match[str]) -> str:
    is_name = run[0].partition("/")[0] in _PURPOSES or _PATH.fullmatch(run[0])
    return run[0] if is_name else f"<{len(run[0])} characters>"


def _field_text(key: str, value: object) -> str:
    text = _text(value)
    return text if key in NAME_FIELDS else redact(text)


def _text(value: object, depth: int = 0) -> str:
    """*value* as text; a type that is not known to be harmless gives `<TypeName>`."""
    if isinstance(value, Secret | bytes | bytearray):
        return f"<{len(value)} bytes>"
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEPTH_MAX:
        return ",".join(_text(item, depth + 1) for item in tuple(value))
    if isinstance(value, BaseException):
        # Not str(): traceback survives an exception whose own __str__ fails.
        return traceback.format_exception_only(value)[0].strip()
    return _scalar_text(value)


def _scalar_text(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, bool | float):
        return repr(value).lower()
    if isinstance(value, int):
        bits = int.bit_length(value)
        return int.__repr__(value) if bits <= _INT_BITS_MAX else f"<number of {bits} bits>"
    if isinstance(value, PurePath):
        return str(value)
    return _memory_text(value) if isinstance(value, memoryview) else f"<{type(value).__name__}>"


def _memory_text(view: memoryview) -> str:
    try:
        return f"<{view.nbytes} bytes>"
    except ValueError:  # released
        return "<no bytes>"


def _message_of(record: logging.LogRecord) -> str:
    """The message with its arguments, both reduced to harmless texts and numbers first."""
    template = _text(record.msg)
    args: object = record.args
    if not args:
        return template
    try:
        if isinstance(args, Mapping):
            return template % {key: _argument(value) for key, value in args.items()}
        return template % tuple(_argument(value) for value in args) if isinstance(args, tuple) else template
    except (TypeError, ValueError, KeyError, OverflowError):
        return template  # a caller's mistake in a log line must not become an error in what it did


def _argument(value: object) -> object:
    if isinstance(value, float) or (isinstance(value, int) and int.bit_length(value) <= _INT_BITS_MAX):
        return value  # stays a number, for %d and %.1f
    return _text(value)


def _traceback_text(exc_info: _ExcInfo) -> str:
    """The traceback without locals. Messages are redacted; source lines are code, paths must stay whole."""
    if exc_info[1] is None:
        return ""
    parts = traceback.TracebackException.from_exception(exc_info[1], capture_locals=False).format()
    return "".join(part if part.lstrip(" |+-").startswith('File "') else redact(part) for part in parts)


def _token(text: str) -> str:
    return _NOT_BARE.sub("_", text) or "-"


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else _text(value)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=True)


def _escape(character: re.Match[str]) -> str:
    return json.dumps(character[0]).strip('"')


class _KeyfsHandler(logging.Handler):
    """Marks our handlers, and loses a record that cannot be written instead of printing its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Nothing: the place to complain about a broken log is the log."""


class _StreamHandler(_KeyfsHandler, logging.StreamHandler[TextIO]):
    pass


class _SyslogHandler(_KeyfsHandler):
    """Datagrams to the local syslog. The standard library's handler waits for a syslog that reads no more."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address
        self._socket = self._connect()

    def emit(self, record: logging.LogRecord) -> None:
        """Send each line of *record* as one message; after a restart of syslog, to the new one."""
        severity = logging.handlers.SysLogHandler.priority_map.get(record.levelname, "warning")
        number = logging.handlers.SysLogHandler.priority_names[severity]
        head = f"<{logging.handlers.SysLogHandler.LOG_DAEMON << 3 | number}>keyfs[{os.getpid()}]: "
        for line in self.format(record).split("\n"):
            self._send((head + line).encode("ascii"))

    def _send(self, message: bytes) -> None:
        # A full queue or a lost syslog costs lines; whoever logs goes on.
        with contextlib.suppress(OSError):
            try:
                self._socket.send(message)
            except BlockingIOError:
                return
            except OSError:
                self._socket.close()
                self._socket = self._connect()
                self._socket.send(message)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        connection.setblocking(False)
        try:
            connection.connect(self._address)
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()


class _FileHandler(_KeyfsHandler, logging.handlers.WatchedFileHandler):
    def emit(self, record: logging.LogRecord) -> None:
        """Append *record*; never raises, though the reopening below it does on a lost disk."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        return os.fdopen(descriptor, "a", encoding="ascii")


def _open_handler(target: str) -> logging.Handler:
    try:
        if target == "stderr":
            return _StreamHandler(sys.stderr)
        if target == "syslog":
            return _SyslogHandler(SYSLOG_SOCKET)
        return _FileHandler(target)
    except OSError as exc:
        place = SYSLOG_SOCKET if target == "syslog" else target
        raise InvalidSettings(
            f"cannot log to {place} ({exc.strerror}); name a file that can be written, stderr or syslog"
        ) from exc
