"""From the files of one key to its versions: order, matched halves, half-done rotations, times."""

import pytest
from ring_files import MINUTE_NS, NOON_NS, PAIR, SYMMETRIC, Files, Pair, contents, stamp

from keyfs.core.names import CURRENT, Half
from keyfs.errors import KeyNotFound
from keyfs.layout.v1_ring import PAIR_WINDOW_NS, match_halves


def test_versions_stand_oldest_first_and_current_last() -> None:
    files = Files(SYMMETRIC).secret("c").secret("b", stamp(2)).secret("a", stamp(1)).secret("z", stamp(0))
    ring = files.ring()
    assert list(contents(ring)) == [stamp(0), stamp(1), stamp(2), CURRENT]
    assert ring.current is ring.versions[-1]
    assert ring.orphans == ()


def test_trimmed_stamps_stand_in_order_of_time() -> None:
    labels = ["2026-11-24T02:46:25", "2026-11-24T02:46:25.1", "2026-11-24T02:46:25.12", "2026-11-24T02:46:26"]
    files = Files(SYMMETRIC)
    for label in reversed(labels):
        files.secret(label, label)
    assert [version.id for version in files.ring().versions] == labels


def test_sizes_are_those_of_the_plaintext() -> None:
    version = Files(PAIR).secret("a").public("A").ring().version(CURRENT)
    assert (version.part(Half.SECRET).size, version.part(Half.PUBLIC).size) == (45, 45)
    assert (version.part(Half.SECRET).is_sealed, version.part(Half.PUBLIC).is_sealed) == (True, False)
    assert Files(SYMMETRIC).secret("a").ring().version(CURRENT).part(Half.SECRET).size == 32


def test_a_history_without_a_current_version_is_a_ring() -> None:
    ring = Files(SYMMETRIC).secret("a", stamp(1)).secret("b", stamp(2)).ring()
    assert contents(ring) == {stamp(1): ("a", None), stamp(2): ("b", None)}
    assert ring.current is None


def test_both_halves_carry_the_stamp_of_the_private_one() -> None:
    files = Files(PAIR).secret("c").public("C")
    for minute, letter in ((1, "a"), (2, "b")):
        files.secret(letter, stamp(minute)).public(letter.upper(), stamp(minute, public=True))
    assert contents(files.ring()) == {stamp(1): ("a", "A"), stamp(2): ("b", "B"), CURRENT: ("c", "C")}


def test_equal_numbers_match_by_rank_however_slow_the_machine_was() -> None:
    files = Files(PAIR).secret("c").public("C").secret("a", stamp(0)).public("A", stamp(5))
    files.secret("b", stamp(10)).public("B", stamp(15))
    assert contents(files.ring()) == {stamp(0): ("a", "A"), stamp(10): ("b", "B"), CURRENT: ("c", "C")}


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_public_half_leaves_the_others_matched(missing: int) -> None:
    files = Files(PAIR).secret("d").public("D")
    for minute in range(3):
        files.secret("abc"[minute], stamp(minute))
        if minute != missing:
            files.public("ABC"[minute], stamp(minute, public=True))
    found = contents(files.ring())
    wanted = {stamp(m): ("abc"[m], "ABC"[m] if m != missing else None) for m in range(3)}
    assert found == {**wanted, CURRENT: ("d", "D")}


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_public_half_without_a_private_one_has_its_own_stamp(missing: int) -> None:
    files = Files(PAIR).secret("d").public("D")
    for minute in range(3):
        files.public("ABC"[minute], stamp(minute, public=True))
        if minute != missing:
            files.secret("abc"[minute], stamp(minute))
    wanted: dict[str, Pair] = {stamp(m): ("abc"[m], "ABC"[m]) for m in range(3) if m != missing}
    wanted[stamp(missing, public=True)] = (None, "ABC"[missing])
    assert contents(files.ring()) == {**wanted, CURRENT: ("d", "D")}


def test_halves_that_are_far_apart_do_not_match() -> None:
    files = (
        Files(PAIR).secret("c").public("C").secret("a", stamp(0)).secret("b", stamp(1)).public("A", stamp(9))
    )
    assert contents(files.ring()) == {
        stamp(0): ("a", None),
        stamp(1): ("b", None),
        stamp(9): (None, "A"),
        CURRENT: ("c", "C"),
    }


def test_rotations_in_quick_succession_match_in_order() -> None:
    step = PAIR_WINDOW_NS // 10 / MINUTE_NS
    private = [stamp(n * step) for n in range(5)]
    public = [stamp(n * step, public=True) for n in range(5)]
    assert match_halves(private, public) == dict(zip(private, public, strict=True))
    assert match_halves(private, public[1:]) == dict(zip(private[1:], public[1:], strict=True))
    assert match_halves(private[:-1], public) == dict(zip(private[:-1], public[:-1], strict=True))


# --- half-done rotations: from (b, B) to (c, C), two minutes after noon ---

SECRET_LINK = f"alice_storage.old/{stamp(2)}"
PUBLIC_LINK = f"alice_storage.pub.old/{stamp(2, public=True)}"


@pytest.fixture(params=[False, True], ids=["first rotation", "second rotation"])
def files(request: pytest.FixtureRequest) -> Files:
    """A pair before the rotation, with or without a version (a, A) that retired before."""
    found = Files(PAIR).secret("b").public("B")
    return found.secret("a", stamp(1)).public("A", stamp(1, public=True)) if request.param else found


def retired_before(files: Files) -> dict[str, Pair]:
    return {stamp(1): ("a", "A")} if len(files.blobs) > 2 else {}


def test_before_the_first_link_nothing_has_happened(files: Files) -> None:
    assert contents(files.ring()) == {**retired_before(files), CURRENT: ("b", "B")}


def test_a_private_half_that_is_linked_is_still_only_current(files: Files) -> None:
    wanted = {**retired_before(files), CURRENT: ("b", "B")}
    ring = files.secret("b", stamp(2)).ring()
    assert contents(ring) == wanted
    assert ring.orphans == (SECRET_LINK,)


def test_both_halves_linked_are_still_only_current(files: Files) -> None:
    wanted = {**retired_before(files), CURRENT: ("b", "B")}
    ring = files.secret("b", stamp(2)).public("B", stamp(2, public=True)).ring()
    assert contents(ring) == wanted
    assert set(ring.orphans) == {SECRET_LINK, PUBLIC_LINK}


def test_a_switched_private_half_has_retired_the_one_before_with_its_public_half(files: Files) -> None:
    """The public half of the retired version is a second name of what is still current, and is needed."""
    wanted = {**retired_before(files), stamp(2): ("b", "B"), CURRENT: ("c", "B")}
    ring = files.secret("b", stamp(2)).public("B", stamp(2, public=True)).secret("c").ring()
    assert contents(ring) == wanted
    assert ring.orphans == ()


def test_a_private_half_switched_by_acra_leaves_the_retired_one_alone_for_a_moment(files: Files) -> None:
    """Acra switches the private half before it links the public one."""
    wanted = {**retired_before(files), stamp(2): ("b", None), CURRENT: ("c", "B")}
    ring = files.secret("b", stamp(2)).secret("c").ring()
    assert contents(ring) == wanted
    assert ring.orphans == ()


def test_after_the_last_switch_all_is_as_it_should_be(files: Files) -> None:
    wanted = {**retired_before(files), stamp(2): ("b", "B"), CURRENT: ("c", "C")}
    ring = files.secret("b", stamp(2)).public("B", stamp(2, public=True)).secret("c").public("C").ring()
    assert contents(ring) == wanted
    assert ring.orphans == ()


def test_a_symmetric_key_that_is_linked_is_still_only_current() -> None:
    files = Files(SYMMETRIC).secret("b").secret("a", stamp(1)).secret("b", stamp(2))
    ring = files.ring()
    assert contents(ring) == {stamp(1): ("a", None), CURRENT: ("b", None)}
    assert ring.orphans == (f"alice_storage_sym.old/{stamp(2)}",)
    assert files.secret("c").ring().orphans == ()


def test_a_key_that_is_linked_again_and_again_has_one_version() -> None:
    files = Files(SYMMETRIC).secret("a").secret("a", stamp(1)).secret("a", stamp(2)).secret("a", stamp(3))
    assert contents(files.ring()) == {CURRENT: ("a", None)}
    assert len(files.ring().orphans) == 3


# --- times ---


def test_a_version_became_current_when_its_private_half_was_written() -> None:
    files = Files(PAIR).secret("b", written=3).public("B", written=4)
    files.secret("a", stamp(3), written=1).public("A", stamp(3, public=True), written=2)
    retired, current = files.ring().versions
    assert (retired.created_ns, retired.retired_ns) == (NOON_NS + MINUTE_NS, NOON_NS + 3 * MINUTE_NS)
    assert (current.created_ns, current.retired_ns) == (NOON_NS + 3 * MINUTE_NS, None)


def test_a_public_half_alone_has_its_own_time() -> None:
    (version,) = Files(PAIR).public("A", stamp(3, public=True), written=2).ring().versions
    assert (version.id, version.created_ns) == (stamp(3, public=True), NOON_NS + 2 * MINUTE_NS)
    with pytest.raises(KeyNotFound):
        version.part(Half.SECRET)


def test_without_times_a_version_became_current_when_the_one_before_retired() -> None:
    files = Files(PAIR, keeps_times=False).secret("d").public("D")
    for minute, letter in ((1, "a"), (2, "b"), (5, "c")):
        files.secret(letter, stamp(minute)).public(letter.upper(), stamp(minute, public=True))
    created = [version.created_ns for version in files.ring().versions]
    assert created == [None, *(NOON_NS + minute * MINUTE_NS for minute in (1, 2, 5))]


def test_without_times_and_history_nobody_knows_when() -> None:
    assert Files(SYMMETRIC, keeps_times=False).secret("a").ring().version(CURRENT).created_ns is None
