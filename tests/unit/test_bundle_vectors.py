"""Backups that real Acra tools made: what can be read is what the manifest says, what is broken is named."""

import base64

import pytest
from bundled import BUNDLES, MANIFEST, acra_bundle, exported, lock_of, restore

from keyfs.broker.bundle_check import check_bundle
from keyfs.broker.bundles import read_bundle, write_bundle
from keyfs.core.names import CURRENT
from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, LayoutUnsupported, MaterialCorrupt, UnsealFailed
from keyfs.layout.restoring import v1_names
from keyfs.seal.bundles import Format, Lock, recognise
from keyfs.testing.builders import in_memory
from keyfs.testing.medium import Medium

V1 = [name for name, vector in MANIFEST.items() if vector["gob"]]
V2 = [name for name, vector in MANIFEST.items() if vector["der"]]
WIPED = ["v1-one-private-zeroed", "small-v1-one-private"]
GOOD = [name for name in V1 if name not in WIPED]


@pytest.mark.parametrize("name", [name for name in V1 if MANIFEST[name]["keys"]])
def test_every_content_is_that_of_the_manifest_under_its_name(name: str) -> None:
    form, bundle = acra_bundle(name)
    assert form is Format.ACRA_V1
    assert bundle.left_out == {}
    found = {item.name: item.material.reveal().hex() for key in bundle.keys for item in v1_names(key)}
    assert found == MANIFEST[name]["keys"]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_one_is_without_fault(name: str) -> None:
    _, bundle = acra_bundle(name)
    assert check_bundle(bundle) == []


@pytest.mark.parametrize("name", WIPED)
def test_wiped_keys_are_refused_by_name_and_it_is_said_why(name: str) -> None:
    _, bundle = acra_bundle(name)
    faults = check_bundle(bundle)
    assert len(faults) == sum(1 for key in bundle.keys for version in key.versions for _ in version.halves())
    assert {fault.code for fault in faults} == {"wiped"}
    assert all("acra-keys export with key ids wipes each private key" in fault.message for fault in faults)
    assert f"storage/{'alice1' if 'small' in name else 'alice'}/{CURRENT}" in {f.where for f in faults}
    made = in_memory(Medium())
    report = restore(bundle, made)
    assert {type(error) for error in report.failed.values()} == {MaterialCorrupt}
    assert len(report.failed) == len(bundle.keys)
    assert list(made.keys.rings()) == []


def test_what_acra_backup_leaves_is_named() -> None:
    data = (BUNDLES / "acra-backup-export.dat").read_bytes()
    with pytest.raises(MaterialCorrupt, match=r"32 zero bytes and no backup: acra-backup wipes"):
        recognise(data)


@pytest.mark.parametrize("name", V2)
def test_bundles_of_layout_v2_are_known_for_what_they_are(name: str) -> None:
    assert recognise((BUNDLES / MANIFEST[name]["bundle"]).read_bytes()) is Format.ACRA_V2


@pytest.mark.parametrize("name", GOOD)
def test_a_restored_one_is_exported_again_byte_for_byte(name: str) -> None:
    """Into Acra's own format: history names, both halves and their stamps are those that Acra gave."""
    _, bundle = acra_bundle(name)
    made = in_memory(Medium())
    assert not restore(bundle, made).failed
    sealed, left_out = write_bundle(exported(made), lock_of(name), Format.ACRA_V1)
    assert left_out == {}
    form, again = read_bundle(sealed, lock_of(name))
    found = {item.name: item.material.reveal() for key in again.keys for item in v1_names(key)}
    assert form is Format.ACRA_V1
    assert found == {item.name: item.material.reveal() for key in bundle.keys for item in v1_names(key)}


@pytest.mark.parametrize("name", GOOD)
def test_another_key_opens_nothing(name: str) -> None:
    data = (BUNDLES / MANIFEST[name]["bundle"]).read_bytes()
    with pytest.raises(UnsealFailed, match="sealed under another key"):
        read_bundle(data, Lock(Secret(bytes(32))))
    with pytest.raises(InvalidSettings, match="has 32 bytes, not 31"):
        read_bundle(data, Lock(Secret(bytes(31))))
    with pytest.raises(InvalidSettings, match="sealed under a key"):
        read_bundle(data, Lock(Secret(b"open sesame"), is_passphrase=True))


def test_the_key_may_be_in_base64_as_acra_backup_prints_it() -> None:
    data = (BUNDLES / "v1-all.dat").read_bytes()
    key = base64.b64encode((BUNDLES / "v1-all.key").read_bytes()) + b"\n"
    assert read_bundle(data, Lock(Secret(key)))[1].count() == acra_bundle("v1-all")[1].count()


@pytest.mark.parametrize("name", V2)
def test_reading_one_of_layout_v2_is_refused_in_words(name: str) -> None:
    with pytest.raises(LayoutUnsupported, match="v2"):
        acra_bundle(name)
