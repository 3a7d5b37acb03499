"""Before a mount the master key is proved: one blob that opens is enough, none that does is the wrong key."""

import pytest

from keyfs.broker.master_key_proof import PROOF_TRIES, verify_master_key
from keyfs.core.names import CURRENT, KeyRef, parse_key_ref
from keyfs.core.secret import Secret
from keyfs.errors import MasterKeyWrong
from keyfs.seal.pure import PureSealer
from keyfs.testing.builders import (
    EVERY_REF,
    STORAGE_SYM,
    Keys,
    full_medium,
    in_memory,
)
from keyfs.testing.medium import Medium

OTHER_KEY = Secret(bytes(32))


@pytest.fixture
def medium() -> Medium:
    return full_medium()


def with_key(medium: Medium, key: Secret) -> Keys:
    return in_memory(medium, sealer=PureSealer(key))


def test_a_master_key_that_opens_something_is_right(medium: Medium) -> None:
    verify_master_key(in_memory(medium).keys)


def test_a_master_key_that_opens_nothing_is_wrong(medium: Medium) -> None:
    with pytest.raises(MasterKeyWrong, match="none of the 6 keys"):
        verify_master_key(with_key(medium, OTHER_KEY).keys)


def test_one_good_blob_among_damaged_ones_proves_the_key(medium: Medium) -> None:
    for ref in EVERY_REF[:-1]:
        medium.put(in_memory(medium).keys.layout.places(ref).names[0], b"x" * 100)
    verify_master_key(in_memory(medium).keys)


def test_a_blob_that_opens_to_no_key_proves_the_master_key(medium: Medium) -> None:
    """What is in it is damaged, but it was sealed with this key."""
    keys = in_memory(medium)
    for ref in EVERY_REF:
        name = keys.keys.layout.places(ref).names[0]
        medium.put(name, b"x" * 100 if ref != STORAGE_SYM else keys.sealed(STORAGE_SYM, b"short"))
    verify_master_key(in_memory(medium).keys)


def test_an_empty_store_takes_any_key() -> None:
    verify_master_key(with_key(Medium(), OTHER_KEY).keys)


def test_only_retired_versions_prove_nothing(medium: Medium) -> None:
    for ref in EVERY_REF:
        medium.set(in_memory(medium).keys.layout.places(ref).names[0], None)
    verify_master_key(with_key(medium, OTHER_KEY).keys)


def test_a_wrong_key_is_not_tried_on_everything() -> None:
    medium = Medium()
    keys = in_memory(medium)
    for number in range(PROOF_TRIES + 10):
        keys.writer.generate(KeyRef(STORAGE_SYM.purpose, f"client-{number}"))
    wrong = with_key(medium, OTHER_KEY)
    with pytest.raises(MasterKeyWrong, match=f"none of the {PROOF_TRIES} keys"):
        verify_master_key(wrong.keys)
    assert wrong.store.counts["get"] == PROOF_TRIES


def test_a_key_that_vanishes_meanwhile_does_not_matter(medium: Medium) -> None:
    keys = in_memory(medium)
    medium.set("alice_storage", None)
    verify_master_key(keys.keys)
    assert keys.keys.ring(parse_key_ref("audit-log")).version(CURRENT)
