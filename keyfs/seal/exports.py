"""Acra's bundle of layout v2: a signed container around a Secure Cell around key rings with opened keys.

Its secret file is a JSON object of two fresh keys. Source: Acra key store v2, "export / import".
"""

import base64
import json
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.hazmat import asn1

from keyfs.core.rings import Ring
from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, MaterialCorrupt, RingInvalid, UnsealFailed
from keyfs.seal.registry import open_sealer
from keyfs.seal.ring_der import (
    EXPORT_TYPE,
    VERSION,
    encode_container,
    encode_payload,
    encode_ring,
    parse_container,
    parse_ring,
)
from keyfs.seal.signature import Signer, verify

CONTEXT: Final = b"AKSv2 keystore: exported key rings"
KEY_SIZE: Final = 32
_REFUSAL: Final = "the bundle does not open: it is damaged, or sealed under another key"
_NO_RINGS: Final = "the bundle opened, but what it holds are no key rings that Acra wrote"


class _Keys(msgspec.Struct):
    encryption: bytes
    signature: bytes


@asn1.sequence
class _Export:
    rings: asn1.SetOf[asn1.TLV]


def new_secret() -> Secret:
    """The content of the secret file of a new bundle."""
    keys = {
        name: base64.b64encode(secrets.token_bytes(KEY_SIZE)).decode() for name in ("encryption", "signature")
    }
    return Secret(json.dumps(keys, separators=(",", ":")).encode())


def seal_export(payload: Secret, secret: Secret, now_ns: int) -> bytes:
    """The bundle of what `encode_rings` gave."""
    keys = _keys(secret)
    with Secret(keys.encryption) as encryption, Secret(keys.signature) as signature:
        cell = open_sealer(encryption).seal(payload, CONTEXT)
        signed = encode_payload(EXPORT_TYPE, now_ns, asn1.encode_der(cell))
        return encode_container(signed, (Signer(signature).sign(CONTEXT, signed),))


def open_export(data: bytes, secret: Secret) -> Secret:
    """What `parse_rings` reads, out of a bundle whose signature and seal hold.

    Raises:
        InvalidSettings: *secret* is not the content of such a secret file.
        UnsealFailed: another key, or damage.
        MaterialCorrupt: it is no bundle.
    """
    keys = _keys(secret)
    try:
        container = parse_container(data)
        cell = asn1.decode_der(bytes, container.data)
    except (RingInvalid, ValueError):
        raise MaterialCorrupt("it is no bundle of layout v2 that Acra wrote") from None
    if (container.type, container.version) != (EXPORT_TYPE, VERSION):
        raise MaterialCorrupt("it is no bundle, but another file of an Acra key store")
    with Secret(keys.encryption) as encryption, Secret(keys.signature) as signature:
        try:
            verify([Signer(signature)], CONTEXT, container.payload, container.signatures)
            return open_sealer(encryption).unseal(cell, CONTEXT)
        except (RingInvalid, UnsealFailed):
            raise UnsealFailed(_REFUSAL) from None


def encode_rings(rings: Sequence[Ring]) -> Secret:
    """Key rings with opened keys, as Acra packs them."""
    tlvs = [asn1.decode_der(asn1.TLV, encode_ring(ring)) for ring in rings]
    return Secret(asn1.encode_der(_Export(rings=asn1.SetOf(tlvs))))


def parse_rings(payload: Secret) -> list[Ring]:
    """The key rings in a bundle.

    Raises:
        MaterialCorrupt: there are none.
    """
    try:
        found = asn1.decode_der(_Export, payload.reveal()).rings.as_list()
        return [parse_ring(asn1.encode_der(ring)) for ring in found]
    except (RingInvalid, ValueError):
        pass
    raise MaterialCorrupt(_NO_RINGS)  # outside the handler: an error there may tell of what is inside


def _keys(secret: Secret) -> _Keys:
    try:
        found = msgspec.json.decode(secret.view(), type=_Keys)
    except (msgspec.MsgspecError, ValueError):
        found = None
    if found is None or min(len(found.encryption), len(found.signature)) < KEY_SIZE:
        raise InvalidSettings(
            "the key file of this bundle is a JSON object with two keys, as acra-keys wrote it"
        )
    return found
