"""From the bytes of a bundle, of whichever format, to the backup in it, and back."""

from collections.abc import Iterable

from keyfs.core import bundles, gob
from keyfs.core.bundles import Bundle
from keyfs.core.purposes import Purpose
from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, UnsealFailed
from keyfs.layout import v1_bundles, v2_bundles
from keyfs.seal.bundles import Format, Lock, open_bundle, recognise, seal_bundle
from keyfs.seal.exports import encode_rings, parse_rings


def read_bundle(data: bytes, lock: Lock, declared: Iterable[Purpose] = ()) -> tuple[Format, Bundle]:
    """What a bundle is, and the backup in it.

    Args:
        data: all of it.
        lock: what opens it.
        declared: own purposes that are known here.

    Raises:
        InvalidSettings: it wants another kind of lock.
        UnsealFailed: wrong key, wrong passphrase or damage.
        MaterialCorrupt: it is no bundle, or holds no backup.
        LayoutUnsupported: a later keyfs wrote it.
    """
    form = recognise(data)
    with open_bundle(data, lock) as payload:
        if form is Format.KEYFS:
            return form, bundles.decode(payload, declared)
        if form is Format.ACRA_V2:
            return form, v2_bundles.from_rings(parse_rings(payload))
        return form, v1_bundles.from_records(gob.decode(payload.reveal()))


def write_bundle(bundle: Bundle, lock: Lock, form: Format) -> tuple[bytes, dict[str, str]]:
    """The sealed bundle, proved to open again, and what cannot be in one of this format, with the reason.

    Raises:
        InvalidSettings: this format knows no passphrases, or nothing is left for it.
        MaterialCorrupt: it would be too large.
        UnsealFailed: it does not open to what was sealed.
    """
    if form is Format.KEYFS:
        with bundles.encode(bundle) as payload:
            return _sealed(payload, lock, form, bundle), {}
    payload, left_out = _acra_payload(bundle, form)
    with payload:
        return _sealed(payload, lock, form, bundle), left_out


def _acra_payload(bundle: Bundle, form: Format) -> tuple[Secret, dict[str, str]]:
    """What is to be sealed, and what is not in it."""
    if form is Format.ACRA_V2:
        rings, left_out = v2_bundles.to_rings(bundle)
        if rings:
            return encode_rings(rings), left_out
    else:
        records, left_out = v1_bundles.to_records(bundle)
        if records:
            return Secret(gob.encode(records)), left_out
    raise InvalidSettings("none of these keys can be in a bundle of Acra's: leave out --format acra")


def _sealed(payload: Secret, lock: Lock, form: Format, bundle: Bundle) -> bytes:
    sealed = seal_bundle(payload, lock, form, bundle.made_ns or 0)
    with open_bundle(sealed, lock) as proof:
        if proof != payload:
            raise UnsealFailed("the new bundle does not open to what was sealed: it was not written")
    return sealed
