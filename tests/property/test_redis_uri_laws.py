"""Laws of Redis URIs: any text is a place or refused, and a place's description names it."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from keyfs.errors import InvalidSettings
from keyfs.store.redis_uri import SCHEMES, TLS, RedisPlace, parse_redis_uri

TEXTS = st.text() | st.text(alphabet="redisunx+:/@?#&=%.,[]0123456789ab\x00é\udcff", max_size=60)
WORDS = "redis: rediss: unix: redis+sentinel: redis+cluster: // / @ : h [::1] 1 ? & = prefix db tls yes"
PIECES = st.sampled_from([*WORDS.split(), "tls_ca", "wait", "password_env", "PW", "%41", "%", ",", "#"])


@given(TEXTS | st.lists(PIECES, max_size=16).map("".join))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    for uri in (text, f"redis://{text}", f"unix:///{text}", f"redis://h?{text}", f"redis+sentinel://{text}"):
        with suppress(InvalidSettings):
            found, _ = parse_redis_uri(uri, {"PW": "canary-word"})
            assert found.describe().isprintable()


HOSTS = st.sampled_from(["h", "h.example", "10.0.0.1", "::1", "ключ"])
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
CLEAN = NAMES.map(lambda text: text.replace("/", "_")).filter(lambda text: text != ".")


@st.composite
def places(draw: st.DrawFn) -> RedisPlace:
    scheme = draw(st.sampled_from(SCHEMES))
    several = scheme in ("redis+sentinel", "redis+cluster")
    hosts = st.lists(st.tuples(HOSTS, st.integers(1, 65535)), min_size=1, max_size=3 if several else 1)
    tls = st.builds(TLS, st.none() | NAMES, st.none() | NAMES, st.none(), st.none())
    return RedisPlace(
        scheme=scheme,
        hosts=() if scheme == "unix" else tuple(draw(hosts)),
        path="/" + draw(NAMES).replace("\0", "") if scheme == "unix" else "",
        service=draw(NAMES) if scheme == "redis+sentinel" else "",
        db=0 if scheme == "redis+cluster" else draw(st.integers(0, 99)),
        prefix=draw(CLEAN),
        username=draw(st.none() | NAMES),
        tls=draw(tls) if scheme == "rediss" else None if scheme == "unix" else draw(st.none() | tls),
        wait=draw(st.integers(0, 3)),
    )


@given(places())
def test_the_description_of_a_place_names_it(found: RedisPlace) -> None:
    assert parse_redis_uri(found.describe(), {}) == (found, None)
