"""Compare and swap in Redis: keys that change together, if they still are what they were.

WATCH, GET, MULTI, SET, EXEC on a connection of our own. redis-py's pipeline would call an answer that was
lost a race that was lost, and so have us do again what may have happened.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from redis import exceptions as failure

from keyfs.errors import MaterialCorrupt, StoreUnavailable
from keyfs.store.redis_client import FAILURES, Client, borrowed, is_cluster, is_wrong_type

WAIT_MS: Final = 700  # for replicas; less than a connection waits for an answer
SETTLE_TRIES: Final = 5

Command = tuple[bytes | str | int, ...]
Values = Mapping[bytes, bytes | None]  # None: there is no such key


def fetch(client: Client, keys: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """What *keys* hold, all at one moment (in a cluster each at its own).

    Raises:
        MaterialCorrupt: one of them holds no string.
        redis.RedisError, OSError: no answer, or a refusal.
    """
    found: dict[bytes, bytes | None] = {}
    for key, value in fetch_each(client, keys).items():
        if isinstance(value, Exception):
            raise MaterialCorrupt(f"{key.decode(errors='replace')} is no string in Redis")
        found[key] = value
    return found


def fetch_each(client: Client, keys: Sequence[bytes]) -> dict[bytes, bytes | Exception | None]:
    """As `fetch`, with an exception in the place of what is no string."""
    if is_cluster(client):
        pipe = client.pipeline()
        for key in keys:
            pipe.get(key)
        values = pipe.execute(raise_on_error=False)
    else:
        values = client.mget(keys) if keys else []
    return told_apart(client, keys, values)


def told_apart(
    client: Client, keys: Sequence[bytes], values: list[Any]
) -> dict[bytes, bytes | Exception | None]:
    """What MGET, or GETs in a pipeline, answered; an exception for what is no string."""
    # In a cluster a GET of what is no string was refused; MGET calls it absent.
    absent = [] if is_cluster(client) else [index for index, value in enumerate(values) if value is None]
    for index, kind in zip(absent, _types(client, [keys[index] for index in absent]), strict=True):
        if kind not in (b"none", b"string"):  # a string: it was made since
            values[index] = failure.ResponseError("WRONGTYPE")
    for value in [value for value in values if value is not None and type(value) is not bytes]:
        if not isinstance(value, Exception):
            raise failure.InvalidResponse("its answer is no value")
        if not is_wrong_type(value):
            raise value
    return dict(zip(keys, values, strict=True))


def swap(
    client: Client, old: Values, new: Values, *, also: Sequence[Command] = (), replicas: int = 0
) -> bool:
    """Write *new* if the keys are as *old* says; False, with nothing written, if they are not.

    Args:
        client: in a cluster, all keys have to lie in one slot.
        old: what each key has to hold.
        new: what is to be written; None deletes. Every key is in *old* too.
        also: commands for the same transaction.
        replicas: how many must have it before this returns.

    Raises:
        StoreUnavailable: no answer came. The message says whether nothing was written, or nobody can tell.
            Or it is written, but not on so many replicas.
        redis.RedisError, OSError: nothing was written.
    """
    return change(
        client, list(old), lambda now: new if now == dict(old) else None, also=also, replicas=replicas
    )


def change(
    client: Client,
    keys: Sequence[bytes],
    decide: Callable[[Values], Values | None],
    *,
    also: Sequence[Command] = (),
    replicas: int = 0,
) -> bool:
    """As `swap`, where *decide* says what is to be written to some of *keys*, from what they hold now.

    Nothing is written, either, if it says None or raises.
    """
    with borrowed(client, keys[0]) as connection:
        now = _look(connection, keys)
        new = decide(now)
        if new is None:
            ask(connection, [("UNWATCH",)])
            return False
        try:
            if not _write(connection, [*_commands(new), *also]):
                return False
        except failure.ResponseError:
            raise
        except FAILURES:
            connection.disconnect()
        else:
            _wait(connection, replicas)
            return True
    return _settle(client, now, new, replicas)


def _settle(client: Client, old: Values, new: Values, replicas: int) -> bool:
    """Whether a transaction that was not answered has happened; if not, it never will."""
    for _ in range(SETTLE_TRIES):
        with suppress(*FAILURES), borrowed(client, next(iter(old))) as connection:
            now = _look(connection, list(old))
            # The server drops a transaction that comes after a write to a key it watches; and this is the
            # write that WAIT speaks of.
            if not _write(connection, _touch(next(iter(old)), now)):
                continue
            if any(now[key] == value != old[key] for key, value in new.items()):
                _wait(connection, replicas)
                return True
            if now == dict(old):
                raise StoreUnavailable("Redis did not answer: nothing was changed")
        break
    raise StoreUnavailable("Redis did not answer: whether it was written nobody can tell now, look again")


def _look(
    connection: Any,  # noqa: ANN401 - redis-py's connection
    keys: Sequence[bytes],
) -> dict[bytes, bytes | None]:
    """Watch the keys, and what they hold."""
    values = ask(connection, [("WATCH", *keys), *(("GET", key) for key in keys)])[1:]
    return dict(zip(keys, values, strict=True))


def _write(connection: Any, commands: Sequence[Command]) -> bool:  # noqa: ANN401 - as above
    """Whether the transaction took place; if not, something watched has changed."""
    done = ask(connection, [("MULTI",), *commands, ("EXEC",)])[-1]
    for answer in done or ():
        if isinstance(answer, failure.ResponseError):
            raise answer
    return done is not None


def _commands(new: Values) -> list[Command]:
    return [("DEL", key) if value is None else ("SET", key, value) for key, value in new.items()]


def _touch(key: bytes, now: Values) -> list[Command]:
    """Writes that leave everything as it is."""
    value = now[key]
    return [("SET", key, b""), ("DEL", key)] if value is None else [("SET", key, value, "KEEPTTL")]


def _wait(connection: Any, replicas: int) -> None:  # noqa: ANN401 - as above
    if not replicas:
        return
    try:
        [reached] = ask(connection, [("WAIT", replicas, WAIT_MS)])
    except FAILURES as exc:
        raise StoreUnavailable("written, but nobody can tell on how many replicas") from exc
    if reached < replicas:
        raise StoreUnavailable(
            f"written, but only {reached} of {replicas} replicas have it: a fail-over may lose it"
        )


def ask(connection: Any, commands: Sequence[Command]) -> list[Any]:  # noqa: ANN401 - as above
    """The answers to commands sent together; the first refusal is raised when all answers are in."""
    connection.send_packed_command(connection.pack_commands(commands))
    answers: list[Any] = []
    refusals: list[failure.ResponseError] = []
    for _ in commands:
        try:
            answers.append(connection.read_response())
        except failure.ResponseError as exc:
            refusals.append(exc)
    if refusals:
        raise refusals[0]
    return answers


def _types(client: Client, keys: Sequence[bytes]) -> list[bytes]:
    if not keys:
        return []
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.type(key)
    answers: list[bytes] = pipe.execute()
    return answers
