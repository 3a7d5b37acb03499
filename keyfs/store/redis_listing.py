"""All keys under a prefix in Redis with their values, page by page."""

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from keyfs.store.redis_client import Client, borrowed, is_cluster
from keyfs.store.redis_swap import Command, fetch_each, told_apart

PAGE_KEYS: Final = 1000  # in one round trip

Values = dict[bytes, bytes | Exception | None]
ValuePages = Generator[Values, None, None]


def value_pages(client: Client, begin: bytes) -> ValuePages:
    """Every key that begins like that, with what `fetch_each` says of it. A key may come twice.

    Raises:
        redis.RedisError, OSError: no answer, or a refusal.
    """
    if is_cluster(client):
        keys = scanned(client, begin)
        while some := list(islice(keys, PAGE_KEYS)):
            yield fetch_each(client, some)
        return
    with borrowed(client, begin) as connection:
        yield from _overlapping(client, connection, begin)


def scanned(client: Client, begin: bytes) -> Iterator[bytes]:
    """Every key that begins like that; it may come twice. All keys of the database are looked at."""
    found: Iterable[bytes] = client.scan_iter(match=_pattern(begin), count=PAGE_KEYS)
    return iter(found)


def _overlapping(client: Client, connection: Any, begin: bytes) -> ValuePages:  # noqa: ANN401 - redis-py's
    """While our caller works on a page, the server gathers the next one, and the keys of the one after it."""
    options = ("MATCH", _pattern(begin), "COUNT", PAGE_KEYS)
    cursor: bytes | None = b"0"  # None behind the last keys
    keys: list[bytes] = []
    page: Values = {}
    while cursor is not None or keys:
        scan: list[Command] = [] if cursor is None else [("SCAN", cursor, *options)]
        fetch: list[Command] = [("MGET", *keys)] if keys else []
        connection.send_packed_command(connection.pack_commands([*fetch, *scan]))
        if page:
            yield page
        page = told_apart(client, keys, connection.read_response()) if fetch else {}
        cursor, keys = _scanned(connection.read_response()) if scan else (None, [])
    if page:
        yield page


def _scanned(answer: Any) -> tuple[bytes | None, list[bytes]]:  # noqa: ANN401 - it is for us to see what it is
    """What SCAN said: where it would go on, and keys."""
    cursor, keys = answer
    return (None if int(cursor) == 0 else cursor), keys


def _pattern(begin: bytes) -> bytes:
    """What matches only what begins like that (Redis SCAN, MATCH)."""
    special = b"*?[]^\\-"
    return b"".join(b"\\%c" % byte if byte in special else b"%c" % byte for byte in begin) + b"*"
