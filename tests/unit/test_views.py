"""Format views: what they are called, how long they are, and that openssl takes what they hold."""

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.broker.viewing import shown
from keyfs.core.names import Half, KeyRef
from keyfs.core.purposes import PURPOSES, STORAGE, STORAGE_SYM, Purpose
from keyfs.core.secret import Secret
from keyfs.core.stamps import format_stamp
from keyfs.core.tree import ROTATE, key_label, view_node
from keyfs.core.views import View, parse_view_label, parse_views, valid_views, view_label, view_size
from keyfs.errors import InvalidSettings, MaterialCorrupt
from keyfs.seal.containers import CURVE_ORDER, encode_private, encode_public, parse_public
from keyfs.seal.keypair import generate_pair, public_from_private

PAIR = KeyRef(STORAGE, "alice")
SYMMETRIC = KeyRef(STORAGE_SYM, "alice")
EVERY_VIEW = [
    (purpose, half, view) for purpose in PURPOSES for half in Half for view in valid_views(purpose, half)
]
versions = st.just("current") | st.integers(0, (1 << 62)).map(format_stamp) | st.integers(1, 999).map(str)
scalars = st.integers(1, CURVE_ORDER - 1) | st.integers(1, 1 << 16) | st.just(CURVE_ORDER - 1)


def view(ref: KeyRef, half: Half, form: View, material: bytes) -> bytes:
    return shown(view_node(ref, "current", half, form), Secret(material)).reveal()


# --- names ---


@given(version=versions)
@pytest.mark.parametrize(("purpose", "half", "form"), EVERY_VIEW)
def test_a_label_of_a_view_goes_round(purpose: Purpose, half: Half, form: View, version: str) -> None:
    assert parse_view_label(view_label(version, half, form), purpose) == (version, half, form)


@given(version=versions, half=st.sampled_from(Half))
@pytest.mark.parametrize("purpose", PURPOSES, ids=str)
def test_no_key_is_called_like_a_view(purpose: Purpose, version: str, half: Half) -> None:
    assert parse_view_label(key_label(version, half), purpose) is None
    assert parse_view_label(ROTATE, purpose) is None


@given(label=st.text(alphabet="current.pubhexfb640123T:-", max_size=20))
def test_a_name_means_one_view_or_none(label: str) -> None:
    parsed = parse_view_label(label, STORAGE)
    assert parsed is None or view_label(*parsed) == label


@pytest.mark.parametrize(
    "label",
    [
        "current.pub.fp",
        "current.PEM",
        "current.",
        ".pem",
        ".pub.pem",
        "current.pem.pem.",
        "pem",
        "current.b64 ",
    ],
)
def test_what_names_no_view(label: str) -> None:
    assert parse_view_label(label, STORAGE) is None


def test_only_pairs_have_forms_of_pairs() -> None:
    assert parse_view_label("current.pem", STORAGE_SYM) is None
    assert parse_view_label("current.fp", STORAGE_SYM) is None
    assert parse_view_label("current.pub.hex", STORAGE_SYM) is None
    assert parse_view_label("current.hex", STORAGE_SYM) == ("current", Half.SECRET, View.HEX)


# --- what an option says ---


@pytest.mark.parametrize(
    ("text", "views"),
    [
        ("", set()),
        ("none", set()),
        ("all", set(View)),
        ("b64", {View.B64}),
        ("pem,fp", {View.PEM, View.FP}),
        (" hex , hex ,", {View.HEX}),
    ],
)
def test_a_list_of_views(text: str, views: set[View]) -> None:
    assert parse_views(text) == views


@pytest.mark.parametrize("text", ["base64", "B64", "b64 hex", "all,hex", "none,hex", "b64;hex", "jwk"])
def test_a_view_that_there_is_not_is_named(text: str) -> None:
    with pytest.raises(
        InvalidSettings, match=r"^there is no view .*: use b64, hex, pem, fp, or all or none$"
    ):
        parse_views(text)


# --- what they hold ---


@given(material=st.binary(min_size=1, max_size=200))
@pytest.mark.parametrize("half", Half)
def test_texts_have_one_line_and_the_length_that_stat_says(half: Half, material: bytes) -> None:
    b64, as_hex = view(PAIR, half, View.B64, material), view(PAIR, half, View.HEX, material)
    assert base64.b64decode(b64, validate=False) == material
    assert bytes.fromhex(as_hex.decode()) == material
    for form, text in ((View.B64, b64), (View.HEX, as_hex)):
        assert text.endswith(b"\n")
        assert text.count(b"\n") == 1
        assert len(text) == view_size(form, half, len(material))


@given(scalar=scalars)
def test_pems_and_fingerprints_have_the_length_that_stat_says(scalar: int) -> None:
    private = bytes(encode_private(scalar))
    public = public_from_private(Secret(private))
    for half, form, material in (
        (Half.SECRET, View.PEM, private),
        (Half.PUBLIC, View.PEM, public),
        (Half.PUBLIC, View.FP, public),
    ):
        text = view(PAIR, half, form, material)
        assert len(text) == view_size(form, half, len(material))
        assert text.endswith(b"\n")
        assert not text.endswith(b"\n\n")


def test_an_uncompressed_public_half_has_the_same_views_as_the_compressed_one() -> None:
    _, public = generate_pair()
    pem = view(PAIR, Half.PUBLIC, View.PEM, public)
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    uncompressed = bytes(encode_public(der[-65:]))
    assert parse_public(uncompressed)[0] == 4
    for form in (View.PEM, View.FP):
        assert view(PAIR, Half.PUBLIC, form, uncompressed) == view(PAIR, Half.PUBLIC, form, public)


@pytest.mark.parametrize("form", [View.PEM, View.FP])
def test_what_is_no_key_has_no_form_of_one(form: View) -> None:
    for material in (b"", b"k" * 45, generate_pair()[0].reveal()):
        with pytest.raises(MaterialCorrupt):
            view(PAIR, Half.PUBLIC, form, material)


def test_what_was_opened_for_a_view_is_wiped() -> None:
    secret = Secret(b"k" * 32)
    shown(view_node(SYMMETRIC, "current", Half.SECRET, View.HEX), secret)
    assert secret.reveal() == bytes(32)


def openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(["openssl", *arguments], capture_output=True, check=True).stdout


@pytest.mark.parametrize("scalar", [1, 255, 1 << 200, CURVE_ORDER - 1, None])
def test_openssl_verifies_with_the_public_view_what_it_signed_with_the_private_one(
    tmp_path: Path, scalar: int | None
) -> None:
    private = generate_pair()[0].reveal() if scalar is None else bytes(encode_private(scalar))
    public = public_from_private(Secret(private))
    key, pub, signature = tmp_path / "key.pem", tmp_path / "pub.pem", tmp_path / "signature"
    key.write_bytes(view(PAIR, Half.SECRET, View.PEM, private))
    pub.write_bytes(view(PAIR, Half.PUBLIC, View.PEM, public))
    openssl("dgst", "-sha256", "-sign", key, "-out", signature, __file__)
    assert openssl("dgst", "-sha256", "-verify", pub, "-signature", signature, __file__) == b"Verified OK\n"
    assert openssl("pkey", "-in", key, "-pubout") == pub.read_bytes()
    assert b"prime256v1" in openssl("pkey", "-in", key, "-check", "-noout", "-text")
    fingerprint = hashlib.sha256(openssl("pkey", "-in", key, "-pubout", "-outform", "DER")).hexdigest()
    assert view(PAIR, Half.PUBLIC, View.FP, public).decode() == f"{fingerprint}\n"
