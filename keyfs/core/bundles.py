"""A backup in memory: keys with all their versions, opened; and the form in which keyfs writes it down.

The form is MessagePack with named fields, keys in the order of their paths, versions oldest first; what
nobody said of a version is not written. One backup has one form: what is not exactly what `encode` gives is
refused. It is never on a disk without a seal around it (`keyfs.seal.bundles`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec

from keyfs.core.names import GLOBAL, Half, KeyRef, check_client
from keyfs.core.own import OwnKind, OwnSpec, is_own_name
from keyfs.core.purposes import PURPOSES, Purpose, Shape
from keyfs.core.rings import DESTROYED
from keyfs.core.secret import Secret
from keyfs.core.state_records import WHY_LIMIT
from keyfs.errors import InvalidName, LayoutUnsupported, MaterialCorrupt

FORMAT: Final = 1
"""Grows when a reader of the one before would misunderstand."""
SIZE_MAX: Final = 1 << 27
"""How many bytes a bundle may have, sealed or open. All of it is in memory at once."""
_DAMAGED: Final = "the bundle opened, but what it holds is not a backup that keyfs wrote"
_Text = Annotated[str, msgspec.Meta(max_length=512)]
_Reason = Annotated[str, msgspec.Meta(max_length=WHY_LIMIT)]
_BY_NAME: Final = {purpose.name: purpose for purpose in PURPOSES}


@dataclass(frozen=True, slots=True)
class BundledVersion:
    """One version. *id* is what it was called where it was exported; *public_id* that of its public half."""

    id: _Text
    public_id: _Text | None  # None where it is *id*, or there is none
    is_current: bool  # whether it protects new data
    created_ns: int | None  # when it became current; None where nobody knows
    retired_ns: int | None
    secret: Secret | None
    public: Secret | None
    number: _Text = ""  # by which it is known too, current or not; empty in layouts without numbers
    state: int | None = None  # as Acra counts them, 1 to 6; None where nobody said one
    until_ns: int | None = None  # for how long it is said to be valid; None where nobody says
    why: _Reason = ""  # it has this state
    said_ns: int | None = None  # when that was said
    destroy_at_ns: int | None = None  # when it is to be destroyed, if that is planned
    is_forced: bool = False  # and whether that was asked for whatever Acra cannot read then

    @property
    def is_destroyed(self) -> bool:
        """Whether this is what is left of a version that was destroyed: its name and dates."""
        return self.secret is None and self.public is None and self.state == DESTROYED

    def half(self, half: Half) -> Secret | None:
        """The half asked for, if there is one."""
        return self.secret if half is Half.SECRET else self.public

    def halves(self) -> Iterator[tuple[Half, Secret]]:
        """Those there are, the secret one first."""
        for half in (Half.SECRET, Half.PUBLIC):
            material = self.half(half)
            if material is not None:
                yield half, material


@dataclass(frozen=True, slots=True)
class BundledKey:
    """One key: its versions, oldest first; the current one, if there is one, is last.

    What is left of destroyed ones is among them in its place, or first, where only its stamp tells that.
    """

    ref: KeyRef
    versions: tuple[BundledVersion, ...]

    def held(self) -> list[BundledVersion]:
        """The versions that there is material of."""
        return [version for version in self.versions if not version.is_destroyed]

    def wipe(self) -> None:
        """Overwrite all key material."""
        for version in self.versions:
            for _, material in version.halves():
                material.wipe()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole backup. *made_ns* is None in formats that do not say it."""

    layout: str  # of the key store it was made of: what its version ids mean
    made_ns: int | None
    keys: tuple[BundledKey, ...]
    left_out: dict[str, str] = field(default_factory=dict)  # what is no key, by name, and why

    def count(self) -> tuple[int, int, int]:
        """How many keys, versions and halves there are; what was destroyed is none."""
        held = [key.held() for key in self.keys]
        versions = [version for found in held for version in found]
        halves = sum(1 for version in versions for _ in version.halves())
        return sum(1 for found in held if found), len(versions), halves

    def wipe(self) -> None:
        """Overwrite all key material."""
        for key in self.keys:
            key.wipe()


class _Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version as it is written down: see `BundledVersion`. What has a default came later."""

    id: _Text
    public_id: _Text | None
    is_current: bool
    created_ns: int | None
    retired_ns: int | None
    secret: Secret | None
    public: Secret | None
    number: _Text
    state: int | None
    until_ns: int | None
    why: _Reason = ""
    said_ns: int | None = None
    destroy_at_ns: int | None = None
    is_forced: bool = False


@dataclass(frozen=True, slots=True)
class _Key:
    """A key as it is written down. *own* tells a purpose that was declared from one of Acra's."""

    purpose: _Text
    client: _Text | None
    own: bool
    versions: tuple[_Version, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    format: int
    layout: _Text
    made_ns: int
    keys: tuple[_Key, ...]


@dataclass(frozen=True, slots=True)
class _Head:
    """What every format has; read first."""

    format: int


def encode(bundle: Bundle) -> Secret:
    """The one form of this backup.

    Raises:
        MaterialCorrupt: it would have more than `SIZE_MAX` bytes.
    """
    keys = tuple(_key(key) for key in sorted(bundle.keys, key=lambda key: str(key.ref)))
    buffer = bytearray()
    _ENCODER.encode_into(_Written(FORMAT, bundle.layout, bundle.made_ns or 0, keys), buffer)
    if len(buffer) > SIZE_MAX:
        buffer[:] = bytes(len(buffer))
        raise MaterialCorrupt(
            f"a bundle has at most {SIZE_MAX >> 20} MiB: export one purpose after the other, into several"
        )
    return Secret.adopt(buffer)


def decode(data: Secret, declared: Iterable[Purpose] = ()) -> Bundle:
    """The backup in *data*.

    Args:
        data: what `encode` gave.
        declared: own purposes that are known here; others are taken for opaque ones.

    Raises:
        MaterialCorrupt: it is not what `encode` gives.
        LayoutUnsupported: a later version of keyfs wrote it.
    """
    if len(data) > SIZE_MAX:
        raise MaterialCorrupt(_DAMAGED)
    view = data.view()
    _demand_format(_decoded(_HEAD_DECODER, view).format)
    written: _Written = _decoded(_DECODER, view)
    own = {(purpose.name, purpose.is_global): purpose for purpose in declared}
    bundle = Bundle(written.layout, written.made_ns, tuple(_read(key, own) for key in written.keys))
    if len({key.ref for key in bundle.keys}) != len(bundle.keys):
        raise MaterialCorrupt(_DAMAGED)
    with encode(bundle) as again:
        if again != data:
            raise MaterialCorrupt(_DAMAGED)
    return bundle


def _demand_format(number: int) -> None:
    if number > FORMAT:
        raise LayoutUnsupported(
            f"the bundle has format {number}, this keyfs reads {FORMAT}: a later keyfs wrote it, use that"
        )
    if number != FORMAT:
        raise MaterialCorrupt(_DAMAGED)


def _decoded(decoder: "msgspec.msgpack.Decoder[Any]", view: memoryview) -> Any:  # noqa: ANN401 - by decoder
    try:
        return decoder.decode(view)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        pass
    raise MaterialCorrupt(_DAMAGED)  # outside the handler: an error there may hold a part of the data


def _key(key: BundledKey) -> _Key:
    versions = tuple(_Version(**_fields_of(version)) for version in key.versions)
    return _Key(key.ref.purpose.name, key.ref.client, key.ref.purpose.own is not None, versions)


def _fields_of(version: BundledVersion | _Version) -> dict[str, Any]:
    return {name: getattr(version, name) for name in _Version.__struct_fields__}


def _read(key: _Key, own: dict[tuple[str, bool], Purpose]) -> BundledKey:
    is_global = key.client is None
    purpose = _own_purpose(key.purpose, own, is_global=is_global) if key.own else _BY_NAME.get(key.purpose)
    if purpose is None or purpose.is_global != is_global:
        raise MaterialCorrupt(_DAMAGED)
    try:
        client = None if key.client is None else check_client(purpose, key.client)
    except InvalidName as exc:
        raise MaterialCorrupt(_DAMAGED) from exc
    return BundledKey(
        KeyRef(purpose, client), tuple(BundledVersion(**_fields_of(version)) for version in key.versions)
    )


def _own_purpose(name: str, own: dict[tuple[str, bool], Purpose], *, is_global: bool) -> Purpose | None:
    if name in _BY_NAME or name == GLOBAL or not is_own_name(name):
        return None
    opaque = Purpose(name, Shape.OWN, is_global, own=OwnSpec(OwnKind.OPAQUE))
    return own.get((name, is_global), opaque)


def _from_secret(value: object) -> memoryview:
    if isinstance(value, Secret):
        return value.view()
    raise TypeError("key material is a Secret")


def _to_secret(kind: type, value: object) -> Secret:
    if kind is Secret and isinstance(value, bytes):
        return Secret(value)
    raise TypeError("key material is bytes")


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_from_secret)
_HEAD_DECODER: Final = msgspec.msgpack.Decoder(_Head)
_DECODER: Final = msgspec.msgpack.Decoder(_Written, dec_hook=_to_secret)
