"""Laws of own purposes: names and keys are one to one, and no blob opens in another one's place."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keyfs.core.names import GLOBAL, Half, KeyRef, parse_version_path
from keyfs.core.own import OwnKind, OwnSpec, is_own_name
from keyfs.core.purposes import Purpose, Shape
from keyfs.core.secret import Secret
from keyfs.core.stamps import FOLLOWED_NS
from keyfs.errors import UnsealFailed
from keyfs.layout.base import KeyRing, Slot
from keyfs.layout.own import OwnLayout
from keyfs.seal.pure import PureSealer
from keyfs.store.base import ANNEX, parts_are_safe

EVERYTHING = OwnLayout((), undeclared=True)
SEALER = PureSealer(Secret(b"m" * 32))

purpose_names = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
clients = st.just(GLOBAL) | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
times = st.integers(0, FOLLOWED_NS - 20)


@st.composite
def refs(draw: st.DrawFn) -> KeyRef:
    client = draw(clients)
    spec = OwnSpec(OwnKind.OPAQUE)
    purpose = Purpose(draw(purpose_names), Shape.OWN, client == GLOBAL, own=spec)
    return KeyRef(purpose, None if client == GLOBAL else client)


@st.composite
def blobs(draw: st.DrawFn) -> tuple[KeyRef, str]:
    ref, time_ns = draw(refs()), draw(times)
    return ref, EVERYTHING.next_name(KeyRing(ref, ()), lambda: time_ns, is_amended=False)


@given(blobs())
def test_a_name_is_read_back_as_its_key(blob: tuple[KeyRef, str]) -> None:
    ref, name = blob
    [slot] = EVERYTHING.slots(name)
    assert slot == Slot(ref, Half.SECRET, name.rpartition("/")[2])
    assert parse_version_path(name.removeprefix(ANNEX), [ref.purpose]) == (ref, slot.stamp)


@given(st.text(max_size=80) | st.from_regex(r"[a-z]{1,3}/[a-z@]{1,8}/20[\d:T.-]{20,30}", fullmatch=True))
def test_any_other_name_is_a_stray_with_a_reason(rest: str) -> None:
    slots = EVERYTHING.slots(ANNEX + rest)
    if slots:
        assert parts_are_safe(rest)
        assert is_own_name(slots[0].ref.purpose.name)
        assert f"{slots[0].ref}/{slots[0].stamp}" == rest
    else:
        assert EVERYTHING.stray_reason(ANNEX + rest)


@given(blobs(), st.integers(0, 10**10 - 1))
def test_the_name_of_a_temporary_file_is_no_version(blob: tuple[KeyRef, str], digits: int) -> None:
    name = f"{blob[1]}{digits}"
    assert EVERYTHING.slots(name) == ()
    assert EVERYTHING.stray_reason(name).startswith("left-over")


@given(blobs(), blobs())
def test_different_versions_have_different_contexts(one: tuple[KeyRef, str], two: tuple[KeyRef, str]) -> None:
    contexts = {EVERYTHING.label(*blob).context for blob in (one, two)}
    assert len(contexts) == len({one[1], two[1]})
    assert all(EVERYTHING.label(*blob).key_name == "" for blob in (one, two))


@given(blobs(), refs(), times, st.integers(1, 7))
def test_a_blob_opens_nowhere_else(
    blob: tuple[KeyRef, str], strange: KeyRef, time_ns: int, which: int
) -> None:
    """Moved to another purpose, another client, another time, or all of them."""
    ref, name = blob
    sealed = SEALER.seal(Secret(b"material"), EVERYTHING.label(ref, name).context)
    purpose = strange.purpose.name if which & 1 else ref.purpose.name
    client = strange.client_label if which & 2 else ref.client_label
    there = Purpose(purpose, Shape.OWN, client == GLOBAL, own=ref.purpose.own)
    moved = KeyRef(there, None if client == GLOBAL else client)
    later = EVERYTHING.next_name(KeyRing(moved, ()), lambda: time_ns, is_amended=False)
    stamp = (later if which & 4 else name).rpartition("/")[2]
    target = f"{ANNEX}{moved}/{stamp}"
    assume(target != name)
    with pytest.raises(UnsealFailed):
        SEALER.unseal(sealed, EVERYTHING.label(moved, target).context)


def test_the_context_is_what_was_written_once() -> None:
    """Frozen: whoever changes it loses every key."""
    ref = KeyRef(Purpose("tls", Shape.OWN, own=OwnSpec(OwnKind.PEM)), "www.example.org")
    name = f"{ANNEX}tls/www.example.org/2026-11-24T12:00:00.000000001"
    assert EVERYTHING.label(ref, name).context == (
        b"\0\0\0\x0fkeyfs own key 1\0\0\0\x03tls\0\0\0\x0fwww.example.org"
        b"\0\0\0\x1d2026-11-24T12:00:00.000000001"
    )
