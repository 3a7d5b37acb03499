"""Every sealer keeps what `keyfs.testing.sealer_contract` promises, and each opens what another sealed.

ThemisSealer takes part where there is a libthemis. Where there is none, tests/interop/test_themis_bridge.py
runs this file once more, against the real Themis core.
"""

import pytest

from keyfs.core.secret import Secret
from keyfs.errors import UnsealFailed
from keyfs.seal.base import Sealer
from keyfs.seal.cell import parse_passphrase_cell
from keyfs.seal.pure import PurePassphraseSealer, PureSealer
from keyfs.seal.registry import available_engines, open_sealer
from keyfs.seal.themis import ThemisPassphraseSealer, ThemisSealer
from keyfs.testing.sealer_contract import CONTEXT, KEY, PLAINTEXT, PassphraseSealerContract, SealerContract

ENGINES = {engine.name: engine for engine in available_engines()}
THEMIS_IS_HERE = ENGINES["themis"].usable


class TestPureSealer(SealerContract):
    def make_sealer(self, key: bytes) -> Sealer:
        return PureSealer(Secret(key))

    def test_wiping_the_key_does_not_make_it_seal_under_zeros(self) -> None:
        key = Secret(KEY)
        check_wiping_the_key_changes_nothing(PureSealer(key), key)


class TestPurePassphraseSealer(PassphraseSealerContract):
    def make_sealer(self, key: bytes) -> Sealer:
        return PurePassphraseSealer(key)

    def test_it_asks_for_the_rounds_and_the_salt_that_themis_does(self) -> None:
        sealer = PurePassphraseSealer(KEY)
        first, second = (parse_passphrase_cell(sealer.seal(Secret(PLAINTEXT), CONTEXT))[1] for _ in range(2))
        assert first.iterations == second.iterations == 314110
        assert len(first.salt) == len(second.salt) == 16
        assert first.salt != second.salt


class TestThemisSealer(SealerContract):
    __test__ = THEMIS_IS_HERE

    def make_sealer(self, key: bytes) -> Sealer:
        return ThemisSealer(Secret(key))

    def test_wiping_the_key_does_not_make_it_seal_under_zeros(self) -> None:
        key = Secret(KEY)
        check_wiping_the_key_changes_nothing(ThemisSealer(key), key)


class TestThemisPassphraseSealer(PassphraseSealerContract):
    __test__ = THEMIS_IS_HERE

    def make_sealer(self, key: bytes) -> Sealer:
        return ThemisPassphraseSealer(key)


class TestPureAndThemis:
    __test__ = THEMIS_IS_HERE

    @pytest.mark.parametrize("size", [1, 32, 45, 5000])
    def test_each_opens_the_blobs_of_the_other(self, size: int) -> None:
        check_each_opens_the_others_blob(PureSealer(Secret(KEY)), ThemisSealer(Secret(KEY)), size)

    def test_each_opens_the_passphrase_blobs_of_the_other(self) -> None:
        check_each_opens_the_others_blob(PurePassphraseSealer(KEY), ThemisPassphraseSealer(KEY), 32)


def check_each_opens_the_others_blob(one: Sealer, other: Sealer, size: int) -> None:
    plaintext = Secret(b"p" * size)
    assert one.unseal(other.seal(plaintext, CONTEXT), CONTEXT) == plaintext
    assert other.unseal(one.seal(plaintext, CONTEXT), CONTEXT) == plaintext


def check_wiping_the_key_changes_nothing(sealer: Sealer, key: Secret) -> None:
    key.wipe()
    blob = sealer.seal(Secret(PLAINTEXT), CONTEXT)
    assert PureSealer(Secret(KEY)).unseal(blob, CONTEXT).reveal() == PLAINTEXT
    with pytest.raises(UnsealFailed):
        PureSealer(Secret(bytes(len(KEY)))).unseal(blob, CONTEXT)


def test_open_sealer_prefers_themis() -> None:
    assert list(ENGINES) == ["themis", "pure"]
    assert open_sealer(Secret(KEY)).engine == ("themis" if THEMIS_IS_HERE else "pure")


def test_the_pure_engine_is_usable_everywhere() -> None:
    assert ENGINES["pure"].usable


def test_each_engine_is_remarked_on_in_one_line() -> None:
    assert all(engine.remark and "\n" not in engine.remark for engine in ENGINES.values())


def test_a_blob_of_one_mode_does_not_open_in_the_other() -> None:
    blob = PureSealer(Secret(KEY)).seal(Secret(PLAINTEXT), CONTEXT)
    with pytest.raises(UnsealFailed):
        PurePassphraseSealer(KEY).unseal(blob, CONTEXT)
