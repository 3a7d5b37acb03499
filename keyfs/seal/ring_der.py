"""The DER of Acra's key rings and exports (layout v2), exactly as Acra writes and accepts it.

INTEGER where Acra's schema says ENUMERATED. Elements that stand behind the known ones in a SEQUENCE are
ignored, bytes behind the container are not. Source: Acra key store v2, "DER structure".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from keyfs.core.rings import KeyData, Ring, RingKey
from keyfs.errors import RingInvalid
from keyfs.seal.der_times import time_ns_of, utc_time
from keyfs.seal.signature import Signature

RING_TYPE: Final = 1
EXPORT_TYPE: Final = 4
VERSION: Final = 2

_SEQUENCE: Final = b"\x30"
_SET: Final = b"\x31"
_PAYLOAD_DATA: Final = 3  # which element of a payload is its content
_KEY_ELEMENTS: Final = 5  # of a version that are known,
_DATA: Final = 4  # and which of them is its material
_MATERIAL_TAGS: Final = (b"\x81", b"\x82", b"\x83")
_Scalar = TypeVar("_Scalar", int, bytes, ObjectIdentifier)


@asn1.sequence
class _One:  # what holds a SEQUENCE of anything,
    item: asn1.TLV


@asn1.sequence
class _Many:  # and the same with that taken apart
    items: list[asn1.TLV]


@asn1.sequence
class _Bag:
    items: asn1.SetOf[asn1.TLV]


@asn1.sequence
class _Payload:
    type: int
    version: int
    modified: asn1.UTCTime
    data: asn1.TLV


@asn1.sequence
class _Signature:
    algorithm: ObjectIdentifier
    signature: bytes


@asn1.sequence
class _Container:
    payload: asn1.TLV
    signatures: asn1.SetOf[_Signature]


@asn1.sequence
class _Data:
    format: int
    public: Annotated[bytes | None, asn1.Implicit(1)]
    private: Annotated[bytes | None, asn1.Implicit(2)]
    symmetric: Annotated[bytes | None, asn1.Implicit(3)]


@asn1.sequence
class _Key:
    seqnum: int
    state: int
    since: asn1.UTCTime
    until: asn1.UTCTime
    data: asn1.SetOf[_Data]


@asn1.sequence
class _Ring:
    purpose: bytes
    keys: list[asn1.TLV]
    current: int


@dataclass(frozen=True, slots=True)
class Container:
    """A signed container whose signatures nobody has looked at yet. *payload* is what they sign."""

    payload: bytes
    type: int
    version: int
    modified_ns: int
    data: bytes  # DER
    signatures: tuple[Signature, ...]


def parse_container(der: bytes) -> Container:
    """The parts of a container.

    Raises:
        RingInvalid: it is none, or bytes follow it.
    """
    try:
        payload, signatures = _elements(asn1.decode_der(asn1.TLV, der), 2)[:2]
        kind, version, modified, data = _elements(payload, 4)[:4]
        return Container(
            asn1.encode_der(payload),
            _scalar(int, kind),
            _scalar(int, version),
            time_ns_of(modified),
            asn1.encode_der(data),
            tuple(_parsed_signature(item) for item in _elements(signatures, 0, _SET)),
        )
    except ValueError as exc:
        raise _malformed(exc) from exc


def encode_payload(kind: int, modified_ns: int, data: bytes) -> bytes:
    """What is to be signed: *data*, which is DER, as a content of this type."""
    return asn1.encode_der(
        _Payload(type=kind, version=VERSION, modified=utc_time(modified_ns), data=_tlv(data))
    )


def payload_with(payload: bytes, data: bytes) -> bytes:
    """A payload that was parsed, with other *data*; all else in it as it was read."""
    items = _elements(_tlv(payload), _PAYLOAD_DATA + 1)
    items[_PAYLOAD_DATA] = _tlv(data)
    return asn1.encode_der(_sequence(items))


def encode_container(payload: bytes, signatures: tuple[Signature, ...]) -> bytes:
    """A payload with its signatures."""
    signed = [
        _Signature(algorithm=ObjectIdentifier(item.algorithm), signature=item.value) for item in signatures
    ]
    return asn1.encode_der(_Container(payload=_tlv(payload), signatures=asn1.SetOf(signed)))


def parse_ring(der: bytes) -> Ring:
    """The ring in the data of a container.

    Raises:
        RingInvalid: there is none.
    """
    try:
        return _ring_of(asn1.decode_der(asn1.TLV, der))
    except ValueError as exc:
        raise _malformed(exc) from exc


def encode_ring(ring: Ring) -> bytes:
    """The data of a container. Versions that were not changed are written as they were read."""
    keys = [_tlv(key.raw or _encoded_key(key)) for key in ring.keys]
    known = asn1.encode_der(_Ring(purpose=ring.purpose, keys=keys, current=ring.current))
    if not ring.rest:
        return known
    return asn1.encode_der(_sequence([*_elements(_tlv(known), 0), *map(_tlv, ring.rest)]))


def resealed(key: RingKey, reseal: Callable[[KeyData], KeyData]) -> RingKey:
    """The version with other material; *reseal* is told each, and returns as many parts as there were.

    All else stays as it was read: dates as they were written, elements that nobody knows.

    Raises:
        What *reseal* raises.
    """
    items = _elements(_tlv(key.raw), _KEY_ELEMENTS)
    found = asn1.SetOf([_resealed_data(item, reseal) for item in _elements(items[_DATA], 0, _SET)])
    items[_DATA] = _tlv(_inside(asn1.encode_der(_Bag(items=found))))
    return _parsed_key(_sequence(items))


def _ring_of(tlv: asn1.TLV) -> Ring:
    purpose, keys, current, *rest = _elements(tlv, 3)
    return Ring(
        _scalar(bytes, purpose),
        tuple(_parsed_key(item) for item in _elements(keys, 0)),
        _scalar(int, current),
        tuple(asn1.encode_der(item) for item in rest),
    )


def _parsed_key(tlv: asn1.TLV) -> RingKey:
    seqnum, state, since, until, data = _elements(tlv, _KEY_ELEMENTS)[:_KEY_ELEMENTS]
    return RingKey(
        _scalar(int, seqnum),
        _scalar(int, state),
        time_ns_of(since),
        time_ns_of(until),
        tuple(_parsed_data(item) for item in _elements(data, 0, _SET)),
        asn1.encode_der(tlv),
    )


def _parsed_data(tlv: asn1.TLV) -> KeyData:
    """Each of the three may be absent; what stands out of order is behind the known ones, and ignored."""
    kind, *items = _elements(tlv, 1)
    found: list[bytes | None] = []
    for tag in _MATERIAL_TAGS:
        is_there = bool(items) and items[0].tag_bytes == tag
        found.append(bytes(items.pop(0).data) if is_there else None)
    return KeyData(_scalar(int, kind), *found)


def _resealed_data(tlv: asn1.TLV, reseal: Callable[[KeyData], KeyData]) -> asn1.TLV:
    old = _parsed_data(tlv)
    known = 1 + sum(part is not None for part in (old.public, old.private, old.symmetric))
    new = _elements(_tlv(asn1.encode_der(_encoded_data(reseal(old)))), known)
    return _sequence([*new, *_elements(tlv, known)[known:]])


def _parsed_signature(tlv: asn1.TLV) -> Signature:
    algorithm, value = _elements(tlv, 2)[:2]
    return Signature(_scalar(ObjectIdentifier, algorithm).dotted_string, _scalar(bytes, value))


def _encoded_key(key: RingKey) -> bytes:
    return asn1.encode_der(
        _Key(
            seqnum=key.seqnum,
            state=key.state,
            since=utc_time(key.since_ns),
            until=utc_time(key.until_ns),
            data=asn1.SetOf([_encoded_data(item) for item in key.data]),
        )
    )


def _encoded_data(item: KeyData) -> _Data:
    return _Data(format=item.format, public=item.public, private=item.private, symmetric=item.symmetric)


def _elements(tlv: asn1.TLV, at_least: int, tag: bytes = _SEQUENCE) -> list[asn1.TLV]:
    """What is in a SEQUENCE, or a SET in whatever order.

    Raises:
        ValueError: it is another type, or has fewer elements.
    """
    if tlv.tag_bytes != tag:
        raise ValueError(f"a tag is {tlv.tag_bytes.hex()} where {tag.hex()} belongs")
    sequence = _tlv(_SEQUENCE + asn1.encode_der(tlv)[1:])
    found = asn1.decode_der(_Many, asn1.encode_der(_One(item=sequence))).items
    if len(found) < at_least:
        raise ValueError(f"{len(found)} elements where {at_least} belong")
    return found


def _scalar(kind: type[_Scalar], tlv: asn1.TLV) -> _Scalar:
    found: _Scalar = tlv.parse(kind)
    return found


def _sequence(items: list[asn1.TLV]) -> asn1.TLV:
    return _tlv(_inside(asn1.encode_der(_Many(items=items))))


def _inside(der: bytes) -> bytes:
    return asn1.encode_der(asn1.decode_der(_One, der).item)


def _tlv(der: bytes) -> asn1.TLV:
    return asn1.decode_der(asn1.TLV, der)


def _malformed(exc: ValueError) -> RingInvalid:
    return RingInvalid(f"it is no key ring as Acra writes them: {exc}")
