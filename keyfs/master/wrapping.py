"""Wrapping a master key: no wrapped text leaves here that was not seen to open to the same key again."""

import binascii
from typing import Final

from keyfs.custody import wipe_immutable
from keyfs.errors import MasterKeyUnavailable
from keyfs.master.base import KeyEncryptionKey, MasterKey
from keyfs.master.encoding import KEY_MIN, decode, decode_unwrapped, encode_unwrapped
from keyfs.master.generate import generate

# Nonce and tag of AES-GCM around the shortest key. No key service wraps in fewer bytes.
_WRAPPED_MIN: Final = 12 + KEY_MIN + 16


def new_key(layout: str) -> MasterKey:
    """A new master key for a key store of *layout* ("v1" or "v2"), in memory of its own.

    Raises:
        LayoutUnsupported: any other layout.
    """
    text = generate(layout)
    encoded = text.encode("ascii")
    try:
        return decode(encoded, layout)
    finally:
        wipe_immutable(text)
        wipe_immutable(encoded)


def wrap(key: KeyEncryptionKey, master_key: MasterKey) -> bytes:
    """One line of text, without its end, that *key* has just opened to *master_key* again.

    Raises:
        MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings: as `KeyEncryptionKey.wrap` and `unwrap`;
            or what comes back is another key.
    """
    layout = "v1" if master_key.signature is None else "v2"
    with encode_unwrapped(master_key) as material:
        text = key.wrap(material)
    with key.unwrap(text) as opened:
        again = decode_unwrapped(opened, layout, f"what {key.describe()} wrapped just now")
    is_same = again == master_key
    again.wipe()
    if not is_same:
        raise MasterKeyUnavailable(
            f"{key.describe()} opens what it has just wrapped to another key: nothing was kept; ask whoever "
            f"runs that service"
        )
    return text


def refuse_wrapped(key: KeyEncryptionKey, master_key: MasterKey, source: str) -> None:
    """Refuse a *master_key* that is no key, but the text of one that *key* has wrapped already.

    Such a text is base64 of many bytes, as a v1 master key is, and lies where one would. Wrapped once more it
    would open, and seal with bytes that are no secret.

    Args:
        key: what is going to wrap.
        master_key: what is going to be wrapped.
        source: where it comes from, in words, for the error.

    Raises:
        MasterKeyUnavailable: it is wrapped already.
        KeyServiceUnavailable, InvalidSettings: as `KeyEncryptionKey.unwrap`.
    """
    if master_key.signature is not None or len(master_key.encryption) < _WRAPPED_MIN:
        return
    text = binascii.b2a_base64(master_key.encryption.view(), newline=False)
    try:
        key.unwrap(text).wipe()
    except MasterKeyUnavailable:  # as it should be
        return
    finally:
        wipe_immutable(text)
    raise MasterKeyUnavailable(
        f"{source} holds no master key, but one that {key.describe()} has wrapped already; name it as what "
        f"opens it: --master-key {key.describe()}"
    )
