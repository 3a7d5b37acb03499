"""Acra's rules for the text in ACRA_MASTER_KEY, to the letter. Pure: text in, keys out.

Layout v1 wants base64 of 32 or more raw bytes. Layout v2 wants base64 of a JSON object with the members
`encryption` and `signature`, each base64 of 32 or more bytes. Both base64 layers are Go's standard encoding:
alphabet `A-Za-z0-9+/`, padding required, CR and LF skipped anywhere, nothing else skipped.

Errors are raised outside `except` blocks throughout: a decoder's own exception may hold the text it choked
on, and a chained exception would carry that into a traceback.

Keys come out in memory of their own (`keyfs.custody.held`), and no copy of them or of their text stays
elsewhere. What a caller hands in stays the caller's to wipe. For the JSON of layout v2 this is best effort,
see `keyfs.master.go_decoders`; so it is for encoding. No frame that raises has a variable whose repr shows a
part of a key: debuggers and crash reporters print those.
"""

import binascii
from collections.abc import Sized
from typing import Final

from keyfs.core.secret import Secret
from keyfs.custody import held, wipe_immutable
from keyfs.errors import InvalidMaterial, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.go_decoders import (
    LINE_BREAKS,
    Members,
    Text,
    from_base64,
    json_members,
    wipe_members,
)

KEY_MIN: Final = 32
SOURCE: Final = "the master key"
_HEX_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")
_HEX_MIN: Final = 64
_HALVES: Final = ("encryption", "signature")


def decode(text: Text, layout: str, source: str = SOURCE) -> MasterKey:
    """The master key that *text* encodes for *layout* ("v1" or "v2"), with the warnings about it.

    Raises:
        MasterKeyUnavailable: as `decode_v1` and `decode_v2`.
    """
    text = memoryview(text)
    key = decode_v2(text, source) if layout == "v2" else _checked_v1(decode_v1(text, source), source)
    warnings = tuple(f"{source} {line}" for line in warnings_for(text, key))
    return MasterKey(key.encryption, key.signature, warnings)


def decode_unwrapped(material: Secret, layout: str, source: str = SOURCE) -> MasterKey:
    """The master key that a KMS unwrapped: the raw key of layout v1, or the JSON text of layout v2.

    Args:
        material: as it was wrapped, not base64; the caller wipes it.
        layout: "v1" or "v2".
        source: where it came from, in words, for the error.

    Raises:
        MasterKeyUnavailable: as `decode`.
    """
    if layout == "v2":
        return _decode_document(material, source)
    _check_length(material, "key", source, "v1")
    return _checked_v1(held(material.view()), source)


def encode_unwrapped(key: MasterKey) -> Secret:
    """What is to be wrapped, so that `decode_unwrapped` gives *key* again.

    Raises:
        InvalidMaterial: as `encode_v1` and `encode_v2`.
    """
    if key.signature is not None:
        document = _document(key)
        secret = held(document)
        wipe_immutable(document)
        return secret
    _check_encodable(key.encryption)
    return held(key.encryption.view())


def _checked_v1(key: Secret, source: str) -> MasterKey:
    """*key*, unless it is that of the other layout.

    Acra takes the JSON text of a v2 key for a v1 key, and then opens nothing with it.

    Raises:
        MasterKeyUnavailable: it is.
    """
    members = json_members(key) or []
    names = {name.casefold() for name, _ in members}
    wipe_members(members)
    if names.issuperset(_HALVES):
        raise MasterKeyUnavailable(f"{source} is a v2 master key (JSON), but the key store has layout v1")
    return MasterKey(key, None)


def decode_v1(text: Text, source: str = SOURCE) -> Secret:
    """The key in *text*, at full length: 32 bytes or more.

    Args:
        text: standard base64 with padding; CR and LF are skipped.
        source: where the text came from, in words, for the error.

    Raises:
        MasterKeyUnavailable: *text* is empty, not such base64, or encodes fewer than 32 bytes.
    """
    material = _outer_layer(text, source)
    _check_length(material, "key", source, "v1")
    return material


def decode_v2(text: Text, source: str = SOURCE) -> MasterKey:
    """Both keys in *text*, at full length: 32 bytes or more each, not equal.

    As in Go's JSON decoder, unknown members are ignored, member names match in any case, the last of several
    equal names counts (but each must be well-formed), and null stands for an empty key.

    Args:
        text: standard base64 with padding of the JSON object; CR and LF are skipped in both layers.
        source: where the text came from, in words, for the error.

    Raises:
        MasterKeyUnavailable: *text* is empty, not such base64, not one JSON object and nothing else, or a key
            is missing, not text, not base64, shorter than 32 bytes or equal to the other.
    """
    return _decode_document(_outer_layer(text, source), source)


def _decode_document(document: Secret, source: str) -> MasterKey:
    members = json_members(document)
    if members is None:
        raise MasterKeyUnavailable(
            f"{source} is not base64 of a JSON object with the members 'encryption' and 'signature', which a "
            f"v2 key store needs; a v1 key does not do; {_make_one('v2')}"
        )
    try:
        encryption, signature = _halves(members, source)
    finally:
        wipe_members(members)
    if encryption == signature:
        raise MasterKeyUnavailable(f"{source} has equal encryption and signature keys; {_make_one('v2')}")
    return MasterKey(encryption, signature)


def encode_v1(key: Secret) -> bytes:
    """The one-line text that `decode_v1` decodes to *key*.

    Raises:
        InvalidMaterial: *key* is shorter than 32 bytes.
    """
    return _base64_of(key)


def encode_v2(key: MasterKey) -> bytes:
    """The one-line text that `decode_v2` decodes to *key*; member order and spacing are Acra's own.

    Raises:
        InvalidMaterial: a key is shorter than 32 bytes, the signature key is absent, or both are equal.
    """
    document = _document(key)
    text = binascii.b2a_base64(document, newline=False)
    wipe_immutable(document)
    return text


def warnings_for(text: Text, key: MasterKey) -> list[str]:
    """What looks odd about a *text* that decoded to *key*, each as a predicate; no part of the value.

    Acra accepts these values in silence and then fails, or worse, seals with a key nobody meant.
    """
    if key.signature is not None:
        return []
    found = []
    digits = [code for code in text if code not in LINE_BREAKS]
    if len(digits) >= _HEX_MIN and _HEX_DIGITS.issuperset(digits):
        found.append(
            f"is {len(digits)} hex digits, which Acra reads as base64 of {len(key.encryption)} bytes, a "
            f"different key; if a hex key is meant, encode its raw bytes: xxd -r -p | base64 -w0"
        )
    return found


def _outer_layer(text: Text, source: str) -> Secret:
    """The bytes under the outer base64.

    Raises:
        MasterKeyUnavailable: *text* is empty or not standard base64.
    """
    if all(code in LINE_BREAKS for code in text):
        raise MasterKeyUnavailable(
            f"{source} is empty; put the text there that 'keyfs master-key generate' prints"
        )
    material = from_base64(text)
    if material is None:
        raise MasterKeyUnavailable(
            f"{source} is not standard base64 with padding (spaces and the URL-safe alphabet do not pass "
            f"either); raw bytes, as acra-keymaker writes to a file, must be encoded first: base64 -w0 FILE"
        )
    return material


def _halves(members: Members, source: str) -> tuple[Secret, Secret]:
    """The encryption and the signature key among *members*.

    Raises:
        MasterKeyUnavailable: one is missing, malformed or short.
    """
    halves = []
    for half, material in _found_halves(members).items():
        if material is None:
            raise MasterKeyUnavailable(
                f"{source} has a member {half!r} that is not standard base64 text; {_make_one('v2')}"
            )
        _check_length(material, f"key for {half}", source, "v2")
        halves.append(material)
    encryption, signature = halves
    return encryption, signature


def _found_halves(members: Members) -> dict[str, Secret | None]:
    """Both halves, an absent one empty; None for one that has a malformed value, wherever it stands."""
    found: dict[str, Secret | None] = {half: Secret(b"") for half in _HALVES}
    for name, value in members:
        half = name.casefold()
        if found.get(half) is not None:
            found[half] = _half(value)
    return found


def _half(value: object) -> Secret | None:
    if value is None:
        return Secret(b"")
    return from_base64(value) if isinstance(value, str) else None


def _check_length(material: Sized, what: str, source: str, layout: str) -> None:
    if len(material) < KEY_MIN:
        size = f"of {len(material)} bytes, {KEY_MIN} is the least" if material else "with any bytes in it"
        count = "a" if material else "no"
        raise MasterKeyUnavailable(f"{source} has {count} {what} {size}; {_make_one(layout)}")


def _make_one(layout: str) -> str:
    return f"give the key this store was made with, or make one: keyfs master-key generate --layout {layout}"


def _document(key: MasterKey) -> bytes:
    """The JSON text of a v2 key; member order and spacing are Acra's own.

    Raises:
        InvalidMaterial: as `encode_v2`.
    """
    if key.signature is None or key.encryption == key.signature:
        raise InvalidMaterial("a v2 master key has two different keys, for encryption and for signature")
    halves = (_base64_of(key.encryption), _base64_of(key.signature))
    document = b'{"encryption":"%b","signature":"%b"}' % halves
    encryption, signature = halves
    del halves
    wipe_immutable(encryption)
    wipe_immutable(signature)
    return document


def _base64_of(key: Secret) -> bytes:
    _check_encodable(key)
    return binascii.b2a_base64(key.view(), newline=False)


def _check_encodable(key: Secret) -> None:
    if len(key) < KEY_MIN:
        raise InvalidMaterial(f"a master key has {KEY_MIN} bytes or more, not {len(key)}")
