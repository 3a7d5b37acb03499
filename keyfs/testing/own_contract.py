"""What keys of own purposes do in every store, as tests: subclass and say how to make a joined store."""
# ruff: noqa: S101 - tests state what holds by asserting it

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.errors import (
    InvalidMaterial,
    KeyExists,
    KeyNotFound,
    OperationRefused,
    ReadOnly,
    RotationConflict,
)
from keyfs.layout.base import Slot
from keyfs.store.base import ANNEX, Store
from keyfs.testing.builders import STORAGE, STORAGE_SYM, Keys
from keyfs.testing.faults import failing
from keyfs.testing.own import own_ref, with_own
from keyfs.testing.waiting import wait_until

TLS: Final = own_ref("tls")
DB: Final = own_ref("db")
TOKEN: Final = own_ref("token")
AES: Final = own_ref("aes", "a")
SITE: Final = own_ref("site", None)


class OwnContract:
    """One key store with Acra's keys and own ones."""

    def make_store(self, place: Path) -> Store:
        """A joined store on the medium that *place* stands for; called again, another one on the same."""
        raise NotImplementedError

    @pytest.fixture
    def keys(self, tmp_path: Path) -> Iterator[Keys]:
        """The key store, empty."""
        with closing(self.make_store(tmp_path)) as store:
            yield with_own(store)

    @pytest.fixture
    def other(self, tmp_path: Path, keys: Keys) -> Iterator[Keys]:
        """The same key store as another process has it."""
        with closing(self.make_store(tmp_path)) as store:
            yield with_own(store)

    def test_nothing_is_there_before_something_is_written(self, keys: Keys) -> None:
        """Looking makes nothing, and finds nothing."""
        assert not list(keys.keys.rings())
        assert not keys.keys.index.strays
        with pytest.raises(KeyNotFound):
            keys.keys.read(TLS, CURRENT, Half.SECRET)
        with pytest.raises(KeyNotFound):
            keys.writer.rotate(TLS)
        assert keys.store.stat(f"{ANNEX}tls/www.example.org/2026-11-24T12:00:00.000000001") is None

    @pytest.mark.parametrize("ref", [TLS, DB, TOKEN, AES], ids=str)
    def test_a_rotation_makes_one_blob(self, keys: Keys, ref: KeyRef) -> None:
        """What was there stays, under its name, byte for byte (history allowing)."""
        keys.writer.generate(ref)
        first, before = keys.secret(ref), contents(keys)
        assert list(before) == [f"{ANNEX}{ref}/2026-11-24T12:00:01.000000001"]
        keys.writer.rotate(ref)
        after = contents(keys)
        new = set(after) - set(before)
        assert len(new) == 1
        assert all(before[name] == data for name, data in after.items() if name not in new)
        assert keys.secret(ref) != first
        keys.assert_sound(ref)

    def test_the_stat_is_true_without_opening_anything(self, keys: Keys) -> None:
        """Size and time come from the blob's size and name."""
        for ref in (TLS, DB, TOKEN, AES):
            keys.writer.generate(ref)
            version = keys.keys.ring(ref).version(CURRENT)
            assert version.part(Half.SECRET).size == len(keys.secret(ref))
            assert version.created_ns is not None
            assert 0 <= keys.clock.now_ns - version.created_ns <= 2 * keys.clock.step_ns

    def test_versions_are_in_order_whatever_the_clock_says(self, keys: Keys) -> None:
        """A clock that is set back, stands still or has no fine digits reorders nothing."""
        values: list[bytes] = []
        for now_ns in (5_000_000_000, 3_000_000_000, 3_000_000_000, 5_000_000_001, 5_000_000_009):
            keys.clock.now_ns, keys.clock.step_ns = now_ns, 0
            values.append(f"value {now_ns} {len(values)}".encode())
            keys.writer.import_material(SITE, values[-1])
        assert keys.values(SITE) == values
        keys.assert_sound(SITE)

    def test_the_same_bytes_make_no_version(self, keys: Keys) -> None:
        """As for every key."""
        assert keys.writer.import_material(SITE, b"one").is_new
        assert not keys.writer.import_material(SITE, b"one").is_new
        assert keys.versions(SITE) == [CURRENT]

    def test_an_amendment_takes_the_place_of_what_it_amends(self, keys: Keys) -> None:
        """Under the same name; the version before stays."""
        keys.writer.import_material(SITE, b"zero")
        made = keys.writer.import_material(SITE, b"one")
        names = set(contents(keys))
        keys.writer.import_material(SITE, b"one, two", amend=made.identity)
        assert keys.values(SITE) == [b"zero", b"one, two"]
        assert set(contents(keys)) == names

    def test_what_another_writer_made_is_seen_before_writing(self, keys: Keys, other: Keys) -> None:
        """Though nobody told of it."""
        other.writer.import_material(SITE, b"theirs")
        with pytest.raises(KeyExists):
            keys.writer.import_material(SITE, b"ours", must_exist=False)
        seen = keys.keys.ring(SITE).version(CURRENT).part(Half.SECRET).stat.identity
        other.writer.import_material(SITE, b"theirs again")
        with pytest.raises(RotationConflict):
            keys.writer.import_material(SITE, b"ours", expected=seen)
        keys.writer.import_material(SITE, b"ours")
        assert keys.values(SITE) == [b"theirs", b"theirs again", b"ours"]

    def test_two_writers_lose_no_version(self, keys: Keys, other: Keys) -> None:
        """At the same time, with the clocks of the medium."""
        with ThreadPoolExecutor(2) as pool:
            for who, made in enumerate((keys, other)):
                for number in range(5):
                    pool.submit(made.writer.import_material, SITE, f"{who} {number}".encode())
        keys.keys.reload()
        assert sorted(keys.values(SITE)) == sorted(f"{w} {n}".encode() for w in (0, 1) for n in range(5))

    def test_the_history_is_as_long_as_declared(self, keys: Keys) -> None:
        """Older versions are destroyed; what is current never."""
        for number in range(5):
            keys.writer.import_material(DB, b"password %d" % number)
            keys.writer.import_material(TOKEN, b"token %d" % number)
        assert keys.values(DB) == [b"password 2", b"password 3", b"password 4"]
        assert keys.values(TOKEN) == [b"token 4"]
        assert len(contents(keys)) == len(keys.values(DB)) + len(keys.values(TOKEN))

    def test_a_rotation_that_fails_destroys_nothing(self, keys: Keys) -> None:
        """Whether it is refused or the medium fails."""
        for number in range(3):
            keys.writer.import_material(DB, b"password %d" % number)
        before = contents(keys)
        with pytest.raises(InvalidMaterial):
            keys.writer.import_material(DB, b"pass\0word")
        keys.store.before("supersede", failing(ReadOnly("full")))
        with pytest.raises(ReadOnly):
            keys.writer.rotate(DB)
        assert contents(keys) == before

    @pytest.mark.expects_log(r"history\.not_cut")
    def test_a_rotation_counts_even_if_the_history_cannot_be_cut(self, keys: Keys) -> None:
        """The next one cuts it."""
        keys.writer.import_material(TOKEN, b"0")
        keys.store.before("delete", failing(ReadOnly("no")))
        keys.writer.import_material(TOKEN, b"1")
        assert keys.values(TOKEN) == [b"0", b"1"]
        keys.writer.import_material(TOKEN, b"2")
        assert keys.values(TOKEN) == [b"2"]

    def test_a_retired_version_can_be_destroyed_and_no_other(self, keys: Keys) -> None:
        """Neither as `current` nor by its stamp."""
        keys.writer.generate(TLS)
        keys.writer.rotate(TLS)
        retired, current = keys.versions(TLS)
        stamp = keys.keys.ring(TLS).version(current).part(Half.SECRET).name.rpartition("/")[2]
        with pytest.raises(OperationRefused):
            keys.writer.destroy(TLS, current)
        with pytest.raises(KeyNotFound):
            keys.writer.destroy(TLS, stamp)
        keys.writer.destroy(TLS, retired)
        assert keys.versions(TLS) == [CURRENT]

    def test_changes_by_others_are_told(self, keys: Keys, other: Keys) -> None:
        """Of `current`, and of the name under which the version before is seen now; the first one, too."""
        with closing(keys.keys.watch()):
            other.writer.generate(TLS)
            assert told(keys) == {(TLS, None)}
            other.writer.rotate(TLS)
            retired = other.versions(TLS)[0]
            assert told(keys) == {(TLS, None), (TLS, retired)}
            other.writer.destroy(TLS, retired)
            assert told(keys) == {(TLS, retired)}
            other.writer.generate(STORAGE_SYM)
            assert told(keys) == {(STORAGE_SYM, None)}
            assert keys.secret(TLS) == other.secret(TLS)

    def test_own_keys_change_nothing_in_the_key_store(self, keys: Keys, tmp_path: Path) -> None:
        """Everything that Acra sees is as it was."""
        keys.writer.generate(STORAGE)
        before = {name: blob for name, blob in contents(keys).items() if not name.startswith(ANNEX)}
        for ref in (TLS, DB, TOKEN, AES):
            keys.writer.generate(ref)
            keys.writer.rotate(ref)
        after = contents(keys)
        assert {name: blob for name, blob in after.items() if not name.startswith(ANNEX)} == before
        assert len(after) > len(before)

    def test_a_purpose_that_is_not_declared_is_a_stray(self, keys: Keys, tmp_path: Path) -> None:
        """Unless all are wanted: then everything opens, without a declaration."""
        keys.writer.import_material(SITE, b"of the site")
        keys.writer.import_material(AES, b"k" * 48)
        with closing(self.make_store(tmp_path)) as store:
            everything = with_own(store, undeclared=True)
            found = {str(ring.ref): everything.values(ring.ref) for ring in everything.keys.rings()}
        assert found == {"site/@global": [b"of the site"], "aes/a": [b"k" * 48]}
        assert not everything.keys.index.strays


def contents(keys: Keys) -> dict[str, bytes]:
    """Every blob there is, by name."""
    return {name: keys.store.get(name).data for name in sorted(keys.store.list_all().blobs)}


def told(keys: Keys) -> set[tuple[KeyRef, str | None]]:
    """What a look tells of, as soon as it tells something."""
    slots: set[Slot] = set()

    def is_told() -> bool:
        slots.update(keys.keys.refresh())
        return bool(slots)

    wait_until(is_told)
    return {(slot.ref, slot.stamp) for slot in slots}
