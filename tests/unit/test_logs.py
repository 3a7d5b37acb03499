"""The log: one line per event, no key material in it, and never an error for the one who logs."""

import io
import logging
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs import logs
from keyfs.core.secret import Secret
from keyfs.errors import KeyNotFound

CANARY = b"keyfs-canary-key-of-32-bytes-len"
LONG_ID = "c" * 233


class Log:
    """A logger of its own with our filter and formatter, read back as text."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.addFilter(logs.Redaction())
        handler.setFormatter(logs.Formatter())
        self.logger = logging.getLogger("other.library")
        self.logger.propagate = False
        self.logger.setLevel(logging.DEBUG)
        self.logger.handlers = [handler]

    def line(self) -> str:
        """What was logged last, without its time, which must have the promised form."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        assert text.endswith("\n")
        assert text.isascii()
        time, _, rest = text[:-1].partition(" ")
        assert len(time) == len("2026-11-24T02:46:25.574Z")
        assert time.endswith("Z")
        return rest

    def event(self, name: str = "it.happened", /, **fields: Any) -> str:
        logs.event(self.logger, logging.INFO, name, **fields)
        return self.line()


@pytest.fixture
def log() -> Log:
    return Log()


# --- form ---


def test_an_event_is_one_line_of_facts(log: Log) -> None:
    line = log.event("rotation.committed", path="storage/alice", version=3, public=False, owner=None)
    assert line == "info rotation.committed path=storage/alice version=3 public=false owner=none"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", '"two words"'),
        ("", '""'),
        ('say "x"', '"say \\"x\\""'),
        ("a=b", '"a=b"'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("é", '"\\u00e9"'),
        ("\udcff", '"\\udcff"'),
        (PurePosixPath("/a/b"), "/a/b"),
        ([1, "a"], "1,a"),
        (2.5, "2.5"),
        (-7, "-7"),
    ],
)
def test_values_are_quoted_when_they_must_be(log: Log, value: object, shown: str) -> None:
    assert log.event(x=value) == f"info it.happened x={shown}"


def test_fields_may_be_called_like_our_arguments(log: Log) -> None:
    assert log.event(name="n", level="l", logger="g") == "info it.happened name=n level=l logger=g"


def test_what_other_libraries_log_has_their_name_as_event(log: Log) -> None:
    log.logger.warning("%s of %d at %.1f", "one", 7, 2.25)
    assert log.line() == 'warning other.library message="one of 7 at 2.2"'


# --- key material ---


@pytest.mark.parametrize("kind", [Secret, bytes, bytearray, lambda data: memoryview(bytearray(data))])
@pytest.mark.parametrize("field", ["x", "client", "path", "name"])
def test_bytes_show_as_their_length_even_under_an_exempt_name(log: Log, kind: type, field: str) -> None:
    assert log.event(**{field: kind(CANARY)}) == f'info it.happened {field}="<32 bytes>"'
    assert log.event(**{field: [kind(CANARY)]}) == f'info it.happened {field}="<32 bytes>"'


@pytest.mark.parametrize(
    "text", [CANARY.hex(), CANARY.hex().upper(), "A" * 43 + "=", "ab+/" * 11, "ab-_" * 10]
)
def test_long_runs_of_hex_or_base64_are_replaced(log: Log, text: str) -> None:
    assert log.event(x=text) == f'info it.happened x="<{len(text)} characters>"'
    assert text not in log.event(error=KeyNotFound(f"no {text} here"))
    assert text not in log.event(text)
    log.logger.warning("got %s", text)
    assert text not in log.line()
    log.logger.warning(text)
    assert text not in log.line()


@pytest.mark.parametrize("field", sorted(logs.NAME_FIELDS))
def test_names_survive_however_long(log: Log, field: str) -> None:
    assert log.event(**{field: LONG_ID}) == f"info it.happened {field}={LONG_ID}"


@pytest.mark.parametrize(
    "text",
    [
        f"storage/{LONG_ID}",
        f"no key hmac-sym/{LONG_ID}/current",
        "/var/lib/keyfs/production/keystore-of-the-north",
    ],
)
def test_names_survive_in_other_fields_and_in_reasons(log: Log, text: str) -> None:
    assert text in log.event(reason=text)
    assert text in log.event(reason=KeyNotFound(text))


@pytest.mark.parametrize(
    "text", [f"/{CANARY.hex()}", f"/a/{CANARY.hex()}", f"key/{CANARY.hex()}", "/Ab+c" * 9]
)
def test_what_only_resembles_a_path_is_replaced(log: Log, text: str) -> None:
    assert log.event(reason=text) == f'info it.happened reason="<{len(text)} characters>"'


@pytest.mark.parametrize("text", ["2026-11-24T02:46:25.574915812", "user.keyfs.state", "a" * 39])
def test_short_runs_survive(log: Log, text: str) -> None:
    assert log.event(x=text) == f"info it.happened x={text}"


def test_a_number_as_long_as_a_key_is_not_printed(log: Log) -> None:
    number = int.from_bytes(CANARY, "big")
    assert log.event(x=number) == f'info it.happened x="<number of {number.bit_length()} bits>"'
    log.logger.warning("%s", number)
    assert str(number) not in log.line()


def test_a_value_of_an_unknown_type_shows_its_type(log: Log) -> None:
    assert log.event(x={"key": CANARY}, y=object()) == "info it.happened x=<dict> y=<object>"


def test_arguments_pass_the_same_rules(log: Log) -> None:
    log.logger.warning("%s %r %s", CANARY, Secret(CANARY), {"a": CANARY})
    assert log.line() == "warning other.library message=\"<32 bytes> '<32 bytes>' <dict>\""
    log.logger.warning("%(a)s", {"a": CANARY})
    assert log.line() == 'warning other.library message="<32 bytes>"'


# --- tracebacks ---


def fail_with(text: str) -> Exception:
    held = CANARY.hex()  # a local, which no traceback may show

    def fail() -> None:
        raise ValueError(text + held[:0])

    try:
        fail()
    except ValueError as exc:
        return exc
    raise AssertionError


def test_a_traceback_follows_indented_without_locals_and_without_keys(log: Log) -> None:
    logs.event(log.logger, logging.ERROR, "bug.found", exc_info=fail_with(f"bad {CANARY.hex()}"))
    head, *traceback = log.line().split("\n")
    assert head == "error bug.found"
    assert all(line.startswith("    | ") for line in traceback)
    assert f'File "{__file__}"' in traceback[1]
    assert traceback[-1] == "    | ValueError: bad <64 characters>"
    assert CANARY.hex() not in "".join(traceback)


def test_a_message_cannot_pretend_to_be_a_line_of_the_log(log: Log) -> None:
    fake = "x\n2026-11-24T02:46:25.574Z info rotation.committed\r\x1b[2J"
    logs.event(log.logger, logging.ERROR, "bug.found", exc_info=fail_with(fake))
    _, *traceback = log.line().split("\n")
    assert all(line.startswith("    | ") for line in traceback)
    assert "\x1b" not in "".join(traceback)
    assert "\n" not in log.event(error=KeyNotFound(fake))


def test_groups_of_errors_and_their_causes_are_shown(log: Log) -> None:
    group = ExceptionGroup("both", [fail_with(CANARY.hex()), KeyError("second")])
    group.__cause__ = fail_with("cause")
    logs.event(log.logger, logging.ERROR, "bug.found", exc_info=group)
    text = log.line()
    assert "ValueError: <64 characters>" in text
    assert "KeyError: 'second'" in text
    assert "ValueError: cause" in text
    assert __file__ in text


# --- never an error for the caller ---


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


@pytest.mark.parametrize(
    "value", [HostileError(), [[[[[[1]]]]]], float("nan"), 10**6000, memoryview(b"")], ids=type
)
def test_a_hostile_value_is_logged_somehow(log: Log, value: object) -> None:
    assert log.event(x=value).startswith("info it.happened x=")
    log.logger.warning("%s %d", value, value)
    assert log.line().startswith("warning other.library ")
    if isinstance(value, Exception):
        logs.event(log.logger, logging.ERROR, "bug.found", exc_info=value)
        assert "HostileError" in log.line()


def test_a_released_view_is_logged(log: Log) -> None:
    view = memoryview(CANARY)
    view.release()
    assert log.event(x=view) == 'info it.happened x="<no bytes>"'


@pytest.mark.parametrize("args", [("x",), (1, 2), ({"b": 1},)])
def test_arguments_that_do_not_fit_leave_the_template(log: Log, args: tuple[object, ...]) -> None:
    log.logger.warning("%(a)d", *args)
    assert log.line() == "warning other.library message=%(a)d"


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text() | st.binary() | st.integers() | st.floats()))
def test_any_event_is_one_line_of_printable_ascii(name: str, fields: dict[str, object]) -> None:
    log = Log()
    log.logger.info(name, extra={"fields": fields})
    line = log.line()
    assert line.isprintable()
    for value in fields.values():
        if isinstance(value, bytes) and len(value) > 8:
            assert f"<{len(value)} bytes>" in line
