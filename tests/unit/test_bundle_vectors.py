"""Backups that real Acra tools made: what can be read is what the manifest says, what is broken is named."""

import base64

import pytest
from bundled import BUNDLES, MANIFEST, acra_bundle, exported, lock_of, restore

from keyfs.broker.bundle_check import check_bundle, demand_keys
from keyfs.broker.bundles import read_bundle, write_bundle
from keyfs.core.names import CURRENT
from keyfs.core.rings import DESTROYED
from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, MaterialCorrupt, UnsealFailed
from keyfs.layout.restoring import v1_names
from keyfs.layout.v2_bundles import to_rings
from keyfs.layout.v2_names import path_of
from keyfs.seal.bundles import Format, Lock, open_bundle, recognise
from keyfs.seal.exports import encode_rings
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


EMPTY = [name for name in V2 if MANIFEST[name]["der"] == "30023100"]


@pytest.mark.parametrize("name", V2)
def test_rings_are_opened_and_packed_again_as_acra_packed_them(name: str) -> None:
    data = (BUNDLES / MANIFEST[name]["bundle"]).read_bytes()
    payload = open_bundle(data, lock_of(name)).reveal()
    assert payload.hex() == MANIFEST[name]["der"]
    _, bundle = acra_bundle(name)
    rings, left_out = to_rings(bundle)
    assert not left_out
    # What a destroyed version leaves, its number and dates, is in no backup.
    assert (encode_rings(rings).reveal() == payload) == (name != "v2-cli-with-destroyed")


@pytest.mark.parametrize("name", [name for name in V2 if MANIFEST[name]["rings"]])
def test_every_key_is_that_of_the_manifest(name: str) -> None:
    _, bundle = acra_bundle(name)
    found = {
        (path_of(key.ref), int(version.number)): (
            version.state,
            *map(hex_of, (version.secret, version.public)),
        )
        for key in bundle.keys
        for version in key.versions
    }
    wanted = {
        (ring["purpose"], key["seqnum"]): (
            key["state"],
            key["private_hex"] or key["symmetric_hex"],
            key["public_hex"],
        )
        for ring in MANIFEST[name]["rings"]
        for key in ring["keys"]
        if key["state"] != DESTROYED
    }
    assert found == wanted
    assert check_bundle(bundle) == []


def hex_of(material: Secret | None) -> str:
    return "" if material is None else material.reveal().hex()


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_one_is_no_backup(name: str) -> None:
    _, bundle = acra_bundle(name)
    with pytest.raises(MaterialCorrupt, match="no keys at all and is no backup: acra-keys export --all"):
        demand_keys(bundle)


@pytest.mark.parametrize("name", [name for name in V2 if name not in EMPTY])
def test_one_of_v2_goes_into_v1_in_order(name: str) -> None:
    _, bundle = acra_bundle(name)
    made = in_memory(Medium())
    assert not restore(bundle, made).failed
    for key in bundle.keys:
        if key.versions[0].secret is not None:
            wanted = [version.secret.reveal() for version in key.versions if version.secret is not None]
            assert made.values(key.ref) == wanted
    assert {row.action.value for row in restore(bundle, made).rows} == {"equal"}


def test_a_changed_one_of_v2_is_refused() -> None:
    data = bytearray((BUNDLES / "v2-api-all-private.dat").read_bytes())
    lock = lock_of("v2-api-all-private")
    for place in (-1, 40, len(data) // 2):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises((UnsealFailed, MaterialCorrupt)):
            read_bundle(bytes(changed), lock)
    with pytest.raises(UnsealFailed):
        read_bundle(bytes(data), lock_of("v2-cli-all-public"))
    with pytest.raises(InvalidSettings, match="JSON"):
        read_bundle(bytes(data), lock_of("v1-all"))
