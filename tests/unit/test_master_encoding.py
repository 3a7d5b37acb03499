"""Acra's decoding rules: what Acra took and refused (the vectors), and what Go's decoders do beyond them."""

import json
import traceback
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, LayoutUnsupported, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode, decode_v1, decode_v2, encode_v1, encode_v2, warnings_for
from keyfs.master.generate import generate
from keyfs.testing.master_contract import base64

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "master_keys.json"
CASES: Final[list[dict[str, Any]]] = json.loads(VECTORS.read_text())["cases"]
# Well-formed keys that are not the store's: Acra takes them and fails at the first blob.
OTHER_KEYS: Final = {
    "33-bytes",
    "wrong-key",
    "hex",
    "v2-wrong-signature-key",
    "v2-wrong-encryption-key",
}
KEY: Final = {"v1": "ok", "v2": "v2-ok"}
A: Final = base64(b"a" * 32).decode()
B: Final = base64(b"b" * 33).decode()
keys = st.binary(min_size=32, max_size=80)


def text_of(case: dict[str, Any]) -> bytes:
    return (case["value"] or "").encode()


def right_key(layout: str) -> MasterKey:
    (text,) = [text_of(case) for case in CASES if case["id"] == KEY[layout]]
    return decode(text, layout)


def v2(document: str) -> bytes:
    return base64(document.encode())


def refusal_of(text: bytes, layout: str) -> str:
    with pytest.raises(MasterKeyUnavailable) as caught:
        decode(text, layout, "the source")
    message = str(caught.value)
    assert message.startswith("the source ")
    assert "\n" not in message
    assert caught.value.__context__ is None
    return message


# --- the vectors ---


def test_the_vectors_cover_what_they_should() -> None:
    assert len(CASES) == 34
    not_ok = {case["id"] for case in CASES if not case["ok"]}
    assert not_ok > OTHER_KEYS


@pytest.mark.parametrize("case", [case for case in CASES if case["ok"]], ids=lambda case: case["id"])
def test_what_acra_took_decodes_to_the_key_of_the_store(case: dict[str, Any]) -> None:
    key = decode(text_of(case), case["store"])
    if case["id"] == "33-bytes-zero":  # the KDF is an HMAC: a zero at the end changes nothing there
        assert key.encryption.reveal() == right_key("v1").encryption.reveal() + b"\0"
    else:
        assert key == right_key(case["store"])
    assert key.warnings == ()


@pytest.mark.parametrize("case", [case for case in CASES if not case["ok"]], ids=lambda case: case["id"])
def test_what_acra_could_not_use_is_refused_or_another_key(case: dict[str, Any]) -> None:
    if case["id"] in OTHER_KEYS:
        assert decode(text_of(case), case["store"]) != right_key(case["store"])
    else:
        refusal_of(text_of(case), case["store"])


@pytest.mark.parametrize(
    ("case_id", "words"),
    [
        ("empty", "is empty"),
        ("space-inside", "not standard base64"),
        ("31-bytes", "31 bytes, 32 is the least"),
        ("v2-raw-key", "a v1 key does not do"),
        ("v2-equal-keys", "equal encryption and signature keys"),
        ("v2-missing-signature", "no key for signature"),
        ("v2-short-encryption", "a key for encryption of 5 bytes"),
        ("v2-inner-no-padding", "member 'encryption' that is not standard base64"),
    ],
)
def test_a_refusal_says_what_is_wrong(case_id: str, words: str) -> None:
    (case,) = [case for case in CASES if case["id"] == case_id]
    assert words in refusal_of(text_of(case), case["store"])


# --- beyond the vectors: Go's base64 ---


@pytest.mark.parametrize(
    "text",
    [A + "A", A[:-1] + "\n=", "\r\n" + A, "\r".join(A)],
    ids=["excess", "break before padding", "break first", "breaks everywhere"],
)
def test_line_breaks_are_skipped_anywhere_and_nothing_else(text: str) -> None:
    if "\n" in text or "\r" in text:
        assert decode_v1(text.encode()).reveal() == b"a" * 32
    else:
        refusal_of(text.encode(), "v1")


@pytest.mark.parametrize("text", [A + A, A + "=", "=" + A, A.replace("=", "=\0"), A.replace("=", "==")])
def test_padding_stands_once_and_at_the_end(text: str) -> None:
    refusal_of(text.encode(), "v1")


def test_bits_behind_the_last_byte_do_not_count() -> None:
    """Go's decoder is not the strict one; neither are the keys people pasted together by hand."""
    assert A.endswith("E=")
    assert decode_v1(A.replace("E=", "F=").encode()).reveal() == b"a" * 32


# --- beyond the vectors: Go's JSON ---


@pytest.mark.parametrize(
    "document",
    [
        f'{{"encryption":"{A}","\u017fignature":"{B}"}}',
        f'{{"x":{"9" * 5000},"encryption":"{A}","signature":"{B}"}}',
        f'{{"x":{{"encryption":null}},"encryption":"{A}","signature":"{B}"}}',
        f'{{"x":"\\ud800","encryption":"{A}","signature":"{B}"}}',
        f'{{"encryption":null,"encryption":"{A}","signature":"{B}"}}',
        f'{{"\\u0065ncryption":"{A}","signature":"{B}"}}',
    ],
    ids=["folded letter", "huge number", "nested name", "half a character", "null first", "escaped name"],
)
def test_what_gos_json_decoder_takes_is_taken(document: str) -> None:
    key = decode_v2(v2(document))
    assert key == MasterKey(Secret(b"a" * 32), Secret(b"b" * 33))


def test_broken_utf_8_in_an_unknown_member_is_ignored() -> None:
    document = b'{"x":"\xff","encryption":"%b","signature":"%b"}' % (A.encode(), B.encode())
    assert decode_v2(base64(document)).encryption.reveal() == b"a" * 32


@pytest.mark.parametrize(
    "document",
    [
        f'{{"encryption":"{A}","signature":"{B}","x":NaN}}',
        f'{{"encryption":"{A}","signature":"{B}","x":Infinity}}',
        f'{{"encryption":"{A}","signature":"{B}",}}',
        f'{{"encryption":"{A}","signature":"{B}"}}{{}}',
        f'{{"encryption":5,"encryption":"{A}","signature":"{B}"}}',
        f'{{"encryption":"?","encryption":"{A}","signature":"{B}"}}',
        f'{{"encryption":"{A}","encryption":null,"signature":"{B}"}}',
        f'{{"encryption":"{A}","signature":{{}}}}',
        f'{{"encryption":"{A}","signature":["{B}"]}}',
        f'{{"encryption":"{A}","signature":"é{B}"}}',
        f'\ufeff{{"encryption":"{A}","signature":"{B}"}}',
        '{"x":' * 100_000,
        "null",
        '"text"',
    ],
    ids=range(14),
)
def test_what_gos_json_decoder_refuses_is_refused(document: str) -> None:
    refusal_of(v2(document), "v2")


# --- warnings ---


def test_hex_gets_a_warning_even_when_wrapped() -> None:
    text = (b"6b" * 16 + b"\n") * 2
    (line,) = warnings_for(text, MasterKey(decode_v1(text), None))
    assert "64 hex digits" in line
    assert "48 bytes" in line


def test_a_v2_key_for_a_v1_store_is_refused() -> None:
    text = generate("v2").encode()
    with pytest.raises(MasterKeyUnavailable, match="the source is a v2 master key"):
        decode(text, "v1", "the source")


def test_a_good_key_gets_none() -> None:
    assert decode(generate("v1").encode(), "v1").warnings == ()
    assert decode(generate("v2").encode(), "v2").warnings == ()


# --- encoding ---


@given(keys)
def test_a_v1_key_survives_the_round_trip(material: bytes) -> None:
    assert decode_v1(encode_v1(Secret(material))).reveal() == material


@given(keys, keys)
def test_a_v2_key_survives_the_round_trip(encryption: bytes, signature: bytes) -> None:
    key = MasterKey(Secret(encryption), Secret(signature))
    if encryption == signature:
        with pytest.raises(InvalidMaterial):
            encode_v2(key)
    else:
        assert decode_v2(encode_v2(key)) == key


def test_what_would_be_refused_is_not_encoded() -> None:
    good, short = Secret(b"a" * 32), Secret(b"b" * 31)
    with pytest.raises(InvalidMaterial):
        encode_v1(short)
    for bad in (MasterKey(good, None), MasterKey(good, good), MasterKey(good, short), MasterKey(short, good)):
        with pytest.raises(InvalidMaterial):
            encode_v2(bad)


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_generated_keys_have_32_bytes_and_differ(layout: str) -> None:
    first, second = (decode(generate(layout).encode(), layout) for _ in range(2))
    assert first != second
    assert len(first.encryption) == 32
    assert (first.signature is None) == (layout == "v1")


def test_no_key_is_generated_for_an_unknown_layout() -> None:
    with pytest.raises(LayoutUnsupported):
        generate("v3")


def test_a_master_key_shows_nothing_and_can_be_wiped() -> None:
    key = decode(generate("v2").encode(), "v2")
    assert repr(key) == "MasterKey(encryption=<Secret 32 bytes>, signature=<Secret 32 bytes>, warnings=())"
    key.wipe()
    assert key == MasterKey(Secret(bytes(32)), Secret(bytes(32)))


# --- anything ---

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(A) | st.just(B),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["encryption", "Signature", "x"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=10,
)
texts = (
    st.binary(max_size=200)
    | st.binary(max_size=200).map(base64)
    | json_like.map(lambda value: base64(json.dumps(value).encode()))
)


@given(texts, st.sampled_from(["v1", "v2"]))
@example(b"", "v2")
@example(base64(b"[" * 5000), "v2")
def test_any_bytes_give_a_key_or_one_error_that_does_not_hold_them(text: bytes, layout: str) -> None:
    refused: MasterKeyUnavailable | None = None
    try:
        key = decode(text, layout, "the source")
        assert len(key.encryption) >= 32
        assert (key.signature is None) == (layout == "v1")
    except MasterKeyUnavailable as exc:
        refused = exc
    if refused is not None:
        assert refused.__context__ is None
        shown = "".join(traceback.format_exception(refused))
        assert len(text) < 8 or text.decode("latin-1") not in shown
