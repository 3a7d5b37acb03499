"""What every master key provider promises, as tests: subclass `MasterKeyContract` and give it a fixture."""

# ruff: noqa: S101 - these are tests, they only live where other packages can import them

import binascii
import traceback
from collections.abc import Callable
from typing import Final

import pytest

from keyfs.core.secret import Secret
from keyfs.errors import MasterKeyUnavailable
from keyfs.master.encoding import KEY_MIN
from keyfs.master.registry import open_key, open_provider

Put = Callable[[bytes | None], str]
"""Puts a text where one provider looks (None: nothing is there) and returns the URI that names the place."""

CANARY: Final = b"keyfs-contract-canary-encryption"
CANARY_SIGNATURE: Final = b"keyfs-contract-canary-signature-"


def base64(material: bytes) -> bytes:
    """Standard base64 on one line."""
    return binascii.b2a_base64(material, newline=False)


V1_TEXT: Final = base64(CANARY)


def document(encryption: bytes, signature: bytes) -> bytes:
    """A v2 master key as JSON, of two texts."""
    return b'{"encryption":"%b","signature":"%b"}' % (encryption, signature)


V2_DOCUMENT: Final = document(base64(CANARY), base64(CANARY_SIGNATURE))
V2_TEXT: Final = base64(V2_DOCUMENT)
UNUSABLE: Final = {
    "v1": {
        "empty": b"",
        "line break only": b"\n",
        "short": base64(CANARY[:-1]),
        "raw": CANARY,
        "space at the end": V1_TEXT + b" ",
        "no padding": V1_TEXT.rstrip(b"="),
        "not ASCII": V1_TEXT + "é".encode(),
    },
    "v2": {
        "empty": b"",
        "v1 key": V1_TEXT,
        "space inside": V2_TEXT[:20] + b" " + V2_TEXT[20:],
        "no signature": base64(b'{"encryption":"%b"}' % base64(CANARY)),
        "equal keys": base64(document(base64(CANARY), base64(CANARY))),
        "short key": base64(document(base64(CANARY), base64(CANARY[1:]))),
        "inner base64": base64(document(CANARY, CANARY_SIGNATURE)),
        "no end": base64(b'{"encryption":"%b"' % base64(CANARY)),
    },
}
_CASES: Final = [
    pytest.param(layout, text, id=f"{layout}: {name}")
    for layout, texts in UNUSABLE.items()
    for name, text in texts.items()
]


def assert_no_secret(text: str) -> None:
    """No window of a canary key that would help anyone stands in *text*, in any usual notation."""
    window = KEY_MIN // 2
    for key in (CANARY, CANARY_SIGNATURE):
        for form in (key, key.hex().encode(), base64(key), base64(base64(key)), V2_TEXT):
            shown = form.decode()
            assert not any(shown[at : at + window] in text for at in range(len(shown) - window + 1)), form


class MasterKeyContract:
    """The sentences. A subclass has a fixture `put` that returns a `Put`."""

    def test_a_v1_key_arrives_whole(self, put: Put) -> None:
        """The bytes are those that were encoded; layout v1 has no signature key."""
        key = open_provider(put(V1_TEXT), "v1").fetch()
        assert key.encryption.reveal() == CANARY
        assert key.signature is None
        assert key.warnings == ()

    def test_a_v2_key_arrives_whole(self, put: Put) -> None:
        """Both keys are those that were encoded."""
        key = open_provider(put(V2_TEXT), "v2").fetch()
        assert key.encryption.reveal() == CANARY
        assert key.signature is not None
        assert key.signature.reveal() == CANARY_SIGNATURE

    def test_line_breaks_do_not_matter(self, put: Put) -> None:
        """What `base64` wraps and `echo` ends is the same key."""
        wrapped = V1_TEXT[:10] + b"\r\n" + V1_TEXT[10:] + b"\n"
        assert open_provider(put(wrapped), "v1").fetch().encryption.reveal() == CANARY

    def test_the_same_uri_gives_the_same_key(self, put: Put) -> None:
        """Two fetches, and two providers of one URI, agree."""
        uri = put(V2_TEXT)
        provider = open_provider(uri, "v2")
        assert provider.fetch() == provider.fetch() == open_provider(uri, "v2").fetch()

    def test_copies_are_independent(self, put: Put) -> None:
        """Wiping one caller's key leaves the other's, and later ones, whole."""
        provider = open_provider(put(V2_TEXT), "v2")
        first, second = provider.fetch(), provider.fetch()
        first.wipe()
        assert first.encryption.reveal() == bytes(len(CANARY))
        assert second == provider.fetch()
        assert second.encryption.reveal() == CANARY

    @pytest.mark.parametrize("layout", ["v1", "v2"])
    def test_nothing_there_is_refused(self, put: Put, layout: str) -> None:
        """One line says where it looked."""
        with pytest.raises(MasterKeyUnavailable) as caught:
            open_provider(put(None), layout).fetch()
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(("layout", "text"), _CASES)
    def test_a_bad_text_is_refused_at_once_and_not_repeated(self, put: Put, layout: str, text: bytes) -> None:
        """One line; neither it nor its traceback nor an error behind it holds a part of the value."""
        provider = open_provider(put(text), layout)
        with pytest.raises(MasterKeyUnavailable) as caught:
            provider.fetch()
        assert "\n" not in str(caught.value)
        assert_no_secret("".join(traceback.format_exception(caught.value, chain=True)))
        behind = caught.value.__cause__ or caught.value.__context__
        assert behind is None or isinstance(behind, OSError)

    @pytest.mark.parametrize(("layout", "text"), [("v1", V1_TEXT), ("v2", V2_TEXT)])
    def test_descriptions_hold_no_secret(self, put: Put, layout: str, text: bytes) -> None:
        """`describe` is one line and names the scheme; it and all reprs are free of the key."""
        uri = put(text)
        provider = open_provider(uri, layout)
        key = provider.fetch()
        assert provider.describe().partition(":")[0] == uri.partition(":")[0]
        assert "\n" not in provider.describe()
        assert_no_secret(f"{provider.describe()} {provider!r} {key!r} {key}")


# What a key encryption key unwraps is the raw key or the JSON text, without the base64 around it.
_MATERIAL: Final = {V1_TEXT: CANARY, V2_TEXT: V2_DOCUMENT}
_UNUSABLE_MATERIAL: Final = {
    "v1": {"short": CANARY[:-1], "v2 key": V2_DOCUMENT},
    "v2": {
        "v1 key": CANARY,
        "base64 around it": V2_TEXT + b" ",
        "no end": V2_DOCUMENT[:-1],
        "no signature": b'{"encryption":"%b"}' % base64(CANARY),
        "equal keys": document(base64(CANARY), base64(CANARY)),
        "short key": document(base64(CANARY), base64(CANARY[1:])),
        "inner base64": document(CANARY, CANARY_SIGNATURE),
    },
}


def wrapped(uri: str, text: bytes) -> bytes:
    """The ciphertext, by the key that *uri* names, of what *text* encodes; with line breaks as that."""
    joined = text.translate(None, b"\r\n")
    made = open_key(uri).wrap(Secret(_MATERIAL.get(joined, text)))
    return made if joined == text else made[:30] + b"\r\n" + made[30:] + b"\n"


class WrappedMasterKeyContract(MasterKeyContract):
    """The same for master keys that are kept wrapped. `put` puts the text as `wrapped` makes it."""

    @pytest.mark.parametrize(
        ("layout", "text"),
        [
            pytest.param(layout, text, id=f"{layout}: {name}")
            for layout, texts in _UNUSABLE_MATERIAL.items()
            for name, text in texts.items()
        ],
    )
    def test_a_bad_text_is_refused_at_once_and_not_repeated(self, put: Put, layout: str, text: bytes) -> None:
        """There is no outer base64 to be wrong, so the cases are those of the bytes inside."""
        super().test_a_bad_text_is_refused_at_once_and_not_repeated(put, layout, text)
