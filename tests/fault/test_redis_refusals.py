"""Redis refuses a password, a permission, a certificate: said by name, without the password."""

import logging
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from keyfs.errors import AccessDenied, InvalidSettings, KeyfsError, StoreUnavailable
from keyfs.store.redis import RedisStore
from keyfs.testing.certificates import SERVER_NAME, Authority
from keyfs.testing.redis_groups import redis_cluster, sentinel_group
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.redis_stores import READS, WRITES, open_redis, put_after, redis_store
from keyfs.testing.store_steps import contents, put

PASSWORD = "c4n4ry-p4ssw0rd"
READER = f"user reader on >{PASSWORD} %R~ks/* %R~ks.keyfs/* +get +mget +type +exists +scan +time +@connection"
LOCKER = f"user locker on >{PASSWORD} %R~ks/* ~ks.keyfs/* +@all"
STRANGER = f"user stranger on >{PASSWORD} ~elsewhere/* +@all"
DEAF = f"user deaf on >{PASSWORD} ~* +@all -client"
WRITER = f"user writer on >{PASSWORD} ~* +@all"


def refusal(call: Callable[[], object]) -> KeyfsError:
    """The error of a call; neither it, nor what it came from, may hold the password."""
    with pytest.raises(KeyfsError) as caught:
        call()
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    return caught.value


# --- permissions ---


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server(acl=[READER, LOCKER, STRANGER, DEAF, WRITER]) as server:
        yield server


@pytest.fixture
def before(server: RedisServer) -> dict[str, bytes]:
    server.ask("FLUSHALL")
    with redis_store(server.uri(user=f"writer:{PASSWORD}")) as store:
        put(store, "key", b"old")
        return contents(store)


def stored(server: RedisServer) -> dict[str, bytes]:
    with redis_store(server.uri(user=f"writer:{PASSWORD}")) as store:
        return contents(store)


def test_who_may_only_read_reads(server: RedisServer, before: dict[str, bytes]) -> None:
    with redis_store(server.uri(user=f"reader:{PASSWORD}")) as store:
        for call in READS.values():
            call(store)
        assert contents(store) == before
        for call in WRITES.values():
            assert type(refusal(partial(call, store))) is AccessDenied
    assert stored(server) == before


def test_who_may_lock_but_not_write_changes_nothing(server: RedisServer, before: dict[str, bytes]) -> None:
    with redis_store(server.uri(user=f"locker:{PASSWORD}")) as store:
        assert type(refusal(lambda: put_after(store, lambda: None))) is AccessDenied
    assert stored(server) == before


def test_a_permission_that_is_taken_away_meanwhile_changes_nothing(
    server: RedisServer, before: dict[str, bytes]
) -> None:
    with redis_store(server.uri(user=f"writer:{PASSWORD}")) as store:
        revoke = partial(server.ask, "ACL", "SETUSER", "writer", "-set")
        assert type(refusal(lambda: put_after(store, revoke))) is AccessDenied
        server.ask("ACL", "SETUSER", "writer", "+set")
    assert stored(server) == before


def test_who_may_read_other_keys_reads_none_of_these(server: RedisServer, before: dict[str, bytes]) -> None:
    with redis_store(server.uri(user=f"stranger:{PASSWORD}")) as store:
        for call in (*(READS[name] for name in ("list_all", "stat", "get", "get_many")), *WRITES.values()):
            assert type(refusal(partial(call, store))) is AccessDenied


def test_who_may_not_track_has_no_watch(server: RedisServer, before: dict[str, bytes]) -> None:
    assert type(refusal(lambda: open_redis(server.uri(user=f"deaf:{PASSWORD}")))) is AccessDenied


# --- passwords ---


@pytest.mark.parametrize("user", ["writer:wrong-" + PASSWORD, f"nobody:{PASSWORD}", f":{PASSWORD}", ""])
def test_a_wrong_password_is_denied(server: RedisServer, user: str) -> None:
    assert type(refusal(lambda: open_redis(server.uri(user=user)))) is AccessDenied
    assert (
        type(refusal(lambda: open_redis(server.unix_uri().replace("unix://", f"unix://{user}@"))))
        is AccessDenied
    )


def test_a_wrong_password_is_denied_by_a_cluster_and_under_sentinel() -> None:
    with redis_cluster() as cluster:
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "requirepass", "x")
        uri = cluster.uri().replace("://", f"://:{PASSWORD}@")
        assert type(refusal(lambda: open_redis(uri))) is AccessDenied
    with sentinel_group() as group:
        group.primary.ask("CONFIG", "SET", "requirepass", "x")
        uri = group.uri().replace("://", f"://:{PASSWORD}@")
        assert type(refusal(lambda: open_redis(uri))) is AccessDenied


@pytest.mark.parametrize("command", ["AUTH", "HELLO"])
def test_a_server_that_repeats_what_it_does_not_know_tells_no_password(command: str) -> None:
    """`unknown command 'AUTH', with args beginning with: …` (Redis, for any command it does not have)."""
    with redis_server("--requirepass", PASSWORD, "--rename-command", command, "") as server:
        error = refusal(lambda: open_redis(server.uri(user=f":{PASSWORD}")).watch())
    assert type(error) is StoreUnavailable
    assert command in str(error)


def test_nothing_that_is_logged_or_shown_has_the_password(
    server: RedisServer, before: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """At any level, redis-py's own log included."""
    caplog.set_level(logging.DEBUG)
    store = open_redis(server.uri(user=f"writer:{PASSWORD}"))
    for call in (*READS.values(), *WRITES.values()):
        call(store)
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(KeyfsError):
        open_redis(server.uri(user=f"nobody:{PASSWORD}"))
    shown = [
        store.describe(),
        repr(store),
        repr(store._client),
        repr(store._connector),
        str(vars(store._lock)),
    ]
    store.close()
    assert PASSWORD not in caplog.text + "".join(shown)


# --- TLS ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def secured(folder: Path) -> Iterator[RedisServer]:
    """Its certificate has a name, and not the address."""
    with redis_server(authority=Authority(folder, [SERVER_NAME])) as server:
        yield server


def opened(uri: str) -> RedisStore:
    store = open_redis(uri)
    put(store, "key", b"0")
    store.watch().close()
    store.close()
    return store


def test_a_server_is_known_by_the_name_that_is_asked_for(secured: RedisServer) -> None:
    opened(secured.uri(tls_sni=SERVER_NAME))


@pytest.mark.parametrize("sni", [{}, {"tls_sni": "another.example"}])
def test_a_server_of_another_name_is_refused(secured: RedisServer, sni: dict[str, str]) -> None:
    error = refusal(lambda: open_redis(secured.uri(**sni)))
    assert type(error) is StoreUnavailable
    assert "certificate" in str(error)


def test_a_server_that_another_authority_vouches_for_is_refused(secured: RedisServer, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    for parameters in (
        {"tls_ca": str(other.ca)},
        {"tls_cert": str(other.client[0]), "tls_key": str(other.client[1])},
    ):
        uri = secured.uri(tls_sni=SERVER_NAME, **parameters)
        assert type(refusal(partial(open_redis, uri))) is StoreUnavailable


def test_a_client_without_a_certificate_is_refused(secured: RedisServer) -> None:
    assert secured.authority is not None
    uri = f"rediss://127.0.0.1:{secured.port}?tls_ca={secured.authority.ca}&tls_sni={SERVER_NAME}"
    assert type(refusal(lambda: open_redis(uri))) is StoreUnavailable


def test_a_certificate_that_cannot_be_read_is_a_wrong_setting(secured: RedisServer, tmp_path: Path) -> None:
    for parameter in ("tls_ca", "tls_cert", "tls_key"):
        uri = secured.uri(**{parameter: str(tmp_path / "absent")})
        error = refusal(partial(open_redis, uri))
        assert type(error) is InvalidSettings
        assert parameter in str(error)


def test_tls_and_no_tls_do_not_understand_each_other(secured: RedisServer, server: RedisServer) -> None:
    plain = f"redis://127.0.0.1:{secured.port}"
    assert type(refusal(lambda: open_redis(plain))) is StoreUnavailable
    assert type(refusal(lambda: open_redis(f"rediss://127.0.0.1:{server.port}"))) is StoreUnavailable
