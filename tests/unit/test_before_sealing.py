"""A master key is the store's before anything is sealed under it; what proves that, and what does not."""

import pytest

from keyfs.broker.before_sealing import demand_right_key
from keyfs.core.names import KeyRef
from keyfs.core.secret import Secret
from keyfs.errors import MasterKeyUnavailable, MasterKeyWrong
from keyfs.seal.pure import PureSealer
from keyfs.testing.builders import AUDIT_LOG, STORAGE, STORAGE_SYM, Keys, in_memory
from keyfs.testing.faults import failing
from keyfs.testing.medium import Medium

BLOB = "alice_storage_sym"


@pytest.fixture
def medium() -> Medium:
    made = Medium()
    keys = in_memory(made)
    for ref in (STORAGE, STORAGE_SYM):
        keys.writer.generate(ref)
    return made


def under_another(medium: Medium) -> Keys:
    return in_memory(medium, sealer=PureSealer(Secret(b"another-" * 4)))


def test_an_empty_key_store_takes_any() -> None:
    demand_right_key(under_another(Medium()).keys, AUDIT_LOG)


@pytest.mark.parametrize("ref", [STORAGE, STORAGE_SYM, AUDIT_LOG, None], ids=str)
def test_the_right_one_is_let_pass_and_another_one_is_not(medium: Medium, ref: KeyRef | None) -> None:
    demand_right_key(in_memory(medium).keys, ref)
    with pytest.raises(MasterKeyWrong):
        demand_right_key(under_another(medium).keys, ref)


def test_a_damaged_key_can_be_rotated_where_another_one_opens(medium: Medium) -> None:
    blob = medium.blobs[BLOB]
    medium.put(BLOB, blob.data[:-1] + bytes([blob.data[-1] ^ 1]))
    demand_right_key(in_memory(medium).keys, STORAGE_SYM)


def test_where_a_service_lets_us_use_no_key_sealing_tells(medium: Medium) -> None:
    keys = in_memory(medium)
    keys.store.before("get", failing(MasterKeyUnavailable("denied")))
    demand_right_key(keys.keys, AUDIT_LOG)
    demand_right_key(keys.keys)
