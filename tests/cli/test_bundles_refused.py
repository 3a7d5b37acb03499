"""What `keyfs export`, `verify` and `import` refuse, in one line, before anything is written."""

import os
from pathlib import Path

import pytest
from bundle_site import BROKEN, BUNDLES, EXISTS, FAULTS, NOT_FOUND, UNSUPPORTED, USAGE, Site, new_site
from copied_stores import files_in, new_directory


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return new_site(tmp_path)


@pytest.mark.parametrize("taken", ["bundle", "key"])
def test_what_is_there_is_never_overwritten_unasked(site: Site, taken: str) -> None:
    path = site.bundle if taken == "bundle" else site.key
    path.write_bytes(b"precious")
    ran = site.export()
    assert ran.code == EXISTS
    assert "--force" in ran.refusal()
    assert path.read_bytes() == b"precious"
    assert not (site.key if taken == "bundle" else site.bundle).exists()


def test_a_place_that_is_none_is_refused(site: Site, tmp_path: Path) -> None:
    for bundle in (tmp_path / "nowhere" / "x", tmp_path):
        assert Site(site.place, bundle).export().code == USAGE
    assert site.export("--key-file", site.bundle).code == USAGE


def test_an_empty_key_store_gives_no_bundle(tmp_path: Path, site: Site) -> None:
    empty = Site(new_directory(site.place, tmp_path / "empty"), tmp_path / "empty.bundle")
    assert empty.export().code == NOT_FOUND
    assert not empty.bundle.exists()
    assert not empty.key.exists()


def test_a_passphrase_on_the_command_line_is_refused_and_not_repeated(site: Site) -> None:
    ran = site.export("--passphrase-from", "correct-horse")
    assert ran.code == USAGE
    assert "horse" not in ran.refusal()
    for empty in ("env:NO_SUCH_NAME", f"file:{os.devnull}"):
        assert site.export("--passphrase-from", empty).refusal().endswith("is empty")
    assert site.export("--passphrase-from", "env:X", "--format", "acra", X="y").code == USAGE
    assert site.export("--passphrase-from", "env:X", "--key-file", "k", X="y").code == USAGE
    assert not site.bundle.exists()


def test_what_is_no_bundle_is_named_before_its_key_is_looked_for(site: Site) -> None:
    for content, why in (
        (b"", "it is empty"),
        (b"no bundle", "it is no backup bundle"),
        (bytes(32), "acra-backup"),
    ):
        site.bundle.write_bytes(content)
        for ran in (site.verify(), site.restore()):
            assert ran.code == BROKEN
            assert ran.refusal().startswith(f"{site.bundle}: ")
            assert why in ran.refusal()


def test_a_key_that_is_elsewhere_is_asked_for(site: Site, tmp_path: Path) -> None:
    site.export()
    site.key.rename(tmp_path / "elsewhere")
    for ran in (site.verify(), site.restore()):
        assert ran.code == NOT_FOUND
        assert f"there is no {site.key}" in ran.refusal()
        assert "--key-file" in ran.refusal()
    assert site.verify("--key-file", tmp_path / "elsewhere").code == 0
    wrong = site.verify("--passphrase-from", "env:X", X="y")
    assert (wrong.code, wrong.refusal()) == (USAGE, "the bundle is sealed under a key: give --key-file")


def test_a_passphrase_is_asked_for_by_the_name_of_its_option(site: Site, tmp_path: Path) -> None:
    site.export("--passphrase-from", "env:X", X="y")
    (tmp_path / "some.key").write_bytes(bytes(32))
    ran = site.verify("--key-file", tmp_path / "some.key")
    assert ran.refusal() == "the bundle is sealed under a passphrase: give --passphrase-from"
    assert site.verify("--passphrase-from", "env:X", X="z").code == BROKEN


def test_a_flipped_bit_is_found(site: Site) -> None:
    site.export()
    data = bytearray(site.bundle.read_bytes())
    data[-1] ^= 1
    site.bundle.write_bytes(data)
    for ran in (site.verify(), site.restore()):
        assert ran.code == BROKEN
        assert "does not open" in ran.refusal()


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("v1-one-private-zeroed", FAULTS, "wipes each private key"),
        ("small-v1-one-private", FAULTS, "wipes each private key"),
        ("acra-backup-export", BROKEN, "acra-backup wipes"),
    ],
)
def test_acras_broken_bundles_are_refused_by_name(
    site: Site, tmp_path: Path, name: str, code: int, words: str
) -> None:
    key = BUNDLES / f"{name if name != 'acra-backup-export' else 'v1-all'}.key"
    broken = Site(new_directory(site.place, tmp_path / "anew"), BUNDLES / f"{name}.dat")
    verified = broken.verify("--key-file", key)
    assert verified.code == code
    assert words in verified.out.decode() + verified.err
    restored = broken.restore("--key-file", key)
    assert restored.code == BROKEN
    assert words in restored.err
    assert files_in(tmp_path / "anew") == {}


def test_what_is_no_bundle_is_refused_in_one_line(site: Site, tmp_path: Path) -> None:
    for content in (b"", b"x", b"\x00" * 7, b"keyfs bundle 9\n", os.urandom(64)):
        site.bundle.write_bytes(content)
        site.key.write_bytes(bytes(32))
        assert site.verify().code in (BROKEN, UNSUPPORTED)
        assert site.restore().refusal()
    assert Site(site.place, tmp_path / "absent").verify().code == NOT_FOUND
    assert Site(site.place, tmp_path / "source").verify().refusal()


def test_the_key_file_of_another_bundle_opens_nothing(site: Site, tmp_path: Path) -> None:
    site.export()
    other = tmp_path / "other.key"
    for content, code in ((os.urandom(32), BROKEN), (b"short", USAGE), (bytes(5000), USAGE)):
        other.write_bytes(content)
        assert site.verify("--key-file", other).code == code
    assert site.verify("--key-file", tmp_path / "absent").code == NOT_FOUND
