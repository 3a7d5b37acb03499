"""Laws of the file names of key store v1, for every client id there can be."""

from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.names import Half, KeyRef, is_client_id
from keyfs.core.purposes import PURPOSES
from keyfs.core.stamps import format_stamp
from keyfs.layout.base import Slot
from keyfs.layout.v1 import LayoutV1
from keyfs.layout.v1_names import (
    history_directory,
    is_leftover,
    is_public,
    public_name,
    secret_name,
    slots_of,
    stray_reason,
)

MODERN = [purpose for purpose in PURPOSES if not purpose.is_legacy]
ALPHABET = "ABCXYZabcxyz0189_- "
# Words of which file names are made: the ids that could be taken for something else.
WORDS = [
    "_storage",
    "_storage_sym",
    "_hmac",
    "_sym",
    "_server",
    "_zone",
    "_log_key",
    "secure",
    "poison_key",
    "old",
    "pub",
]

plain_ids = st.text(ALPHABET, min_size=5, max_size=256)
tricky_ids = st.lists(st.one_of(st.sampled_from(WORDS), st.text(ALPHABET, max_size=3)), max_size=8).map(
    "".join
)
client_ids = st.one_of(plain_ids, tricky_ids.filter(is_client_id))
stamps = st.integers(0, 4_000_000_000 * 10**9).map(format_stamp)
digits = st.text("0123456789", min_size=1, max_size=19)


@st.composite
def slots(draw: st.DrawFn) -> Slot:
    purpose = draw(st.sampled_from(MODERN))
    ref = KeyRef(purpose, None if purpose.is_global else draw(client_ids))
    half = draw(st.sampled_from([Half.SECRET, Half.PUBLIC])) if purpose.is_pair else Half.SECRET
    return Slot(ref, half, draw(st.none() | stamps))


def name_of(slot: Slot) -> str:
    name = public_name(slot.ref) if slot.half is Half.PUBLIC else secret_name(slot.ref)
    return name if slot.stamp is None else f"{history_directory(name)}/{slot.stamp}"


@given(slots())
def test_a_name_says_exactly_which_key_it_holds(slot: Slot) -> None:
    assert slots_of(name_of(slot)) == (slot,)


@given(slots(), slots())
def test_two_keys_never_share_a_name(one: Slot, other: Slot) -> None:
    assert (name_of(one) == name_of(other)) == (one == other)


@given(slots(), slots())
def test_no_key_lies_where_the_history_of_another_begins(one: Slot, other: Slot) -> None:
    assert name_of(one) not in LayoutV1().places(other.ref).directories


@given(slots(), digits)
def test_a_temporary_of_a_key_is_never_taken_for_a_key(slot: Slot, suffix: str) -> None:
    current = Slot(slot.ref, slot.half, None)
    temporary = name_of(current) + suffix
    assert LayoutV1().slots(temporary) == ()
    assert is_leftover(temporary)
    assert not is_leftover(name_of(current))
    assert stray_reason(temporary, legacy=False).startswith("left-over")


@given(slots())
def test_where_a_ring_lies_is_where_its_keys_are_looked_for(slot: Slot) -> None:
    places = LayoutV1().places(slot.ref)
    directory, _, _ = name_of(slot).rpartition("/")
    assert name_of(slot) in places.names if slot.stamp is None else directory in places.directories


@given(slots())
def test_public_halves_and_only_they_belong_to_the_public_directory(slot: Slot) -> None:
    assert is_public(name_of(slot)) == (slot.half is Half.PUBLIC)


names = st.one_of(
    st.text(max_size=60), st.lists(st.sampled_from([*WORDS, "/", ".", ".pub", ".old/", "alice"])).map("".join)
)


@given(names)
def test_every_reading_of_any_name_leads_back_to_it(name: str) -> None:
    for slot in slots_of(name):
        assert name_of(slot) == name
    assert stray_reason(name, legacy=True)
    assert stray_reason(name, legacy=False)
