"""A Redis URI names one place, or is refused with a line that says what to do and repeats no password."""

from dataclasses import replace
from pathlib import Path

import pytest

from keyfs.app import open_store
from keyfs.errors import InvalidSettings, KeyfsError
from keyfs.store.redis_uri import DEFAULT_PREFIX, TLS, RedisPlace, check_prefix, parse_redis_uri

PLAIN = RedisPlace("redis", (("h", 6379),), "", "", 0, DEFAULT_PREFIX, None, None, 0)
SENTINEL = replace(PLAIN, scheme="redis+sentinel", hosts=(("h", 26379),), service="keys")
CLUSTER = replace(PLAIN, scheme="redis+cluster")
UNIX = replace(PLAIN, scheme="unix", hosts=(), path="/run/redis.sock")


def place(uri: str) -> RedisPlace:
    return parse_redis_uri(uri, {})[0]


def password(uri: str, **environment: str) -> str | None:
    return parse_redis_uri(uri, environment)[1]


def refusal(uri: str, **environment: str) -> str:
    with pytest.raises(InvalidSettings) as caught:
        parse_redis_uri(uri, environment)
    return str(caught.value)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("redis://h", PLAIN),
        ("redis://h/", PLAIN),
        ("redis://h:6379/0?prefix=.acrakeys", PLAIN),
        ("REDIS://h", PLAIN),
        ("redis://h:7/3", replace(PLAIN, hosts=(("h", 7),), db=3)),
        ("redis://h?db=3", replace(PLAIN, db=3)),
        ("redis://[::1]:7", replace(PLAIN, hosts=(("::1", 7),))),
        ("redis://[::1]", replace(PLAIN, hosts=(("::1", 6379),))),
        ("redis://127.0.0.1", replace(PLAIN, hosts=(("127.0.0.1", 6379),))),
        ("redis://ключ.example", replace(PLAIN, hosts=(("ключ.example", 6379),))),
        ("redis://alice:secret@h", replace(PLAIN, username="alice")),
        ("redis://al%40ice:secret@h", replace(PLAIN, username="al@ice")),
        ("redis://:secret@h", PLAIN),
        ("redis://h?wait=2", replace(PLAIN, wait=2)),
        ("redis://h?prefix=/a/b", replace(PLAIN, prefix="/a/b")),
        ("redis://h?prefix=a%26b%3Fc%20d%2Be", replace(PLAIN, prefix="a&b?c d+e")),
        ("redis://h?prefix=a+b", replace(PLAIN, prefix="a+b")),
        ("redis://h?tls=yes", replace(PLAIN, tls=TLS())),
        ("redis://h?tls=no", PLAIN),
        ("rediss://h", replace(PLAIN, scheme="rediss", tls=TLS())),
        (
            "rediss://h?tls_ca=/c%20a&tls_cert=/cert&tls_key=/key&tls_sni=name",
            replace(PLAIN, scheme="rediss", tls=TLS("/c a", "/cert", "/key", "name")),
        ),
        ("unix:///run/redis.sock", UNIX),
        ("unix:/run/redis.sock", UNIX),
        ("unix://alice:secret@/run/redis.sock?db=5", replace(UNIX, username="alice", db=5)),
        ("unix:///run/redis%20@a/s", replace(UNIX, path="/run/redis @a/s")),
        ("redis+sentinel://h/keys", SENTINEL),
        (
            "redis+sentinel://h:1,i,[::1]:3/ke%2Fys?db=2&tls=yes",
            replace(SENTINEL, hosts=(("h", 1), ("i", 26379), ("::1", 3)), service="ke/ys", db=2, tls=TLS()),
        ),
        ("redis+cluster://h", CLUSTER),
        ("redis+cluster://h:1,i:2/0", replace(CLUSTER, hosts=(("h", 1), ("i", 2)))),
    ],
)
def test_every_form_names_its_place(uri: str, expected: RedisPlace) -> None:
    assert place(uri) == expected


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("http://h", "redis+sentinel"),
        ("redis", "redis+sentinel"),
        ("redis:h", "db"),
        ("redis://", "host"),
        ("redis://:6379", "host"),
        ("redis://a,b", "one host"),
        ("redis+cluster://a,,b", "host"),
        ("redis://a..b", "host"),
        ("redis://" + "x" * 64, "host"),
        ("redis://::1", "host"),
        ("redis://[::1", "%5B"),
        ("redis://h:", "host"),
        ("redis://h:0", "port"),
        ("redis://h:65536", "port"),
        ("redis://h:-1", "host"),
        ("redis://h:१", "host"),
        ("redis://h:" + "9" * 5000, "port"),
        ("redis://h/x", "db"),
        ("redis://h/-1", "db"),
        ("redis://h/0/0", "db"),
        ("redis://h/" + "9" * 5000, "db"),
        ("redis://h/1?db=1", "twice"),
        ("redis://h?db=1&db=1", "twice"),
        ("redis://h?wait=many", "wait"),
        ("redis://h?prefx=ks", "'prefx'"),
        ("redis://h?password=x", "'password'"),
        ("redis+cluster://h/1", "db 0"),
        ("redis+cluster://h?db=1", "db 0"),
        ("redis+sentinel://h", "SERVICE"),
        ("redis+sentinel://h/", "SERVICE"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix:", "absolute"),
        ("unix:///a%00b", "absolute"),
        ("unix:///s?tls=yes", "unix socket"),
        ("redis://h?tls_ca=/ca", "tls_ca"),
        ("redis://h?tls=no&tls_ca=/ca", "tls_ca"),
        ("redis://h?tls=perhaps", "yes or no"),
        ("rediss://h?tls=no", "rediss"),
        ("rediss://h?tls_key=/k", "tls_cert"),
        ("redis+cluster://h?tls=yes&tls_sni=x", "tls_sni"),
        ("redis://h?prefix=%ff", "UTF-8"),
        ("redis://%ff@h", "UTF-8"),
        ("redis://h?prefix=a b", "%20"),
        ("redis://h\n", "%20"),
        ("redis://h?prefix=a#b", "%23"),
    ],
)
def test_what_names_no_place_is_refused_with_a_reason(uri: str, word: str) -> None:
    assert word in refusal(uri)


@pytest.mark.parametrize("prefix", [".acrakeys", "ks", "/a", "/a/b", "a/b", "..", "../x", "...", "a*[b]?"])
def test_a_clean_prefix_is_taken(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize(
    ("prefix", "clean"),
    [
        ("./x", "x"),
        ("x/", "x"),
        ("x//y", "x/y"),
        ("a/../x", "x"),
        ("/x/", "/x"),
        ("//x", "/x"),
        ("x/.", "x"),
        ("/../x", "/x"),
        ("./a b", "a%20b"),
        (".", None),
        ("./", None),
        ("/", None),
        ("//", None),
        ("", None),
    ],
)
def test_an_unclean_prefix_is_refused_with_the_clean_form(prefix: str, clean: str | None) -> None:
    """Acra would keep the current keys and the history under different prefixes."""
    with pytest.raises(InvalidSettings, match="lose the history") as caught:
        check_prefix(prefix)
    assert str(caught.value).partition(": use ")[2] == ("" if clean is None else f"prefix={clean}")


# --- passwords ---

SECRET = "s3cr3t"


def test_a_password_comes_from_the_uri(tmp_path: Path) -> None:
    assert password("redis://h") is None
    assert password("redis://:@h") is None
    assert password("redis://alice@h") is None
    assert password("redis://:p%40%2F%3A%23%25w@h") == "p@/:#%w"
    assert password("redis://:p@w:x@h") == "p@w:x"


@pytest.mark.parametrize("content", ["secret", "secret\n", "secret\r\n"])
def test_a_password_comes_from_a_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pass word"
    path.write_text(content, newline="")
    assert password(f"redis://alice@h?password_file={tmp_path}/pass%20word") == "secret"


def test_only_the_line_end_is_no_part_of_the_password(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b" a\nb \n\n")
    assert password(f"redis://h?password_file={path}") == " a\nb \n"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"x" * 5000, b"\xff"])
def test_a_file_without_a_password_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    assert str(path) in refusal(f"redis://h?password_file={path}")
    assert "password" in refusal(f"redis://h?password_file={tmp_path}")
    assert "password" in refusal("redis://h?password_file=%00")


def test_a_password_comes_from_the_environment() -> None:
    assert password("redis://alice@h?password_env=REDIS_PW", REDIS_PW=SECRET) == SECRET
    assert "REDIS_PW" in refusal("redis://h?password_env=REDIS_PW")
    assert "REDIS_PW" in refusal("redis://h?password_env=REDIS_PW", REDIS_PW="")
    assert "UTF-8" in refusal("redis://h?password_env=REDIS_PW", REDIS_PW="a\udcff")


@pytest.mark.parametrize(
    "uri",
    [
        f"redis://:{SECRET}@h?password_env=PW",
        f"redis://:{SECRET}@h?password_file=/p",
        "redis://h?password_env=PW&password_file=/p",
    ],
)
def test_a_password_in_two_places_is_refused(uri: str) -> None:
    assert "one place" in refusal(uri, PW=SECRET)


@pytest.mark.parametrize(
    "uri",
    [
        f"redis://:{SECRET}/x@h",
        f"redis://:x/{SECRET}@h",
        f"redis://:x?{SECRET}@h",
        f"redis://:x?prefix={SECRET}@h",
        f"redis://:x#{SECRET}@h",
        f"redis://:{SECRET}[@h",
        f"redis://:{SECRET}\u2100@h",  # its normal form has a slash
        f"redis://:{SECRET}",
        f"redis://alice:{SECRET}",
        f"redis://{SECRET}%zz:h:1",
        f"redis://:{SECRET}@h:x",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@h/x",
        f"redis://:{SECRET}@h?x=y",
        f"redis://:{SECRET}@h?prefix=x/",
        f"redis://:{SECRET}%ff@h",
        f"redis://:{SECRET} @h",
        f"unix://:{SECRET}/x@/s",
        f"unix://:{SECRET}@s",
        f"unix://:{SECRET}",
        f"redis+sentinel://:{SECRET}@h",
        f"redys://:{SECRET}@h",
        f"redis://:{SECRET}@h?password_env=PW",
    ],
)
def test_no_refusal_repeats_a_password(uri: str) -> None:
    """Nor a piece of one in which a character was not written as it has to be."""
    with pytest.raises(InvalidSettings) as caught:
        parse_redis_uri(uri, {"PW": SECRET})
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("scheme", ["redis", "REDIS", "Redis+Sentinel", "redys", "rediss+cluster"])
def test_a_store_that_cannot_be_opened_repeats_no_password(scheme: str) -> None:
    """Not even one whose URI would be taken for the name of a directory."""
    with pytest.raises(KeyfsError) as caught:
        open_store(f"{scheme}://alice:{SECRET}@127.0.0.1:1/keys")
    assert SECRET not in str(caught.value)


def test_a_place_tells_no_password() -> None:
    found = place(f"redis://alice:{SECRET}@h?prefix=ks")
    assert SECRET not in repr(found) + found.describe()
    assert found.describe() == "redis://alice@h:6379?db=0&prefix=ks"
