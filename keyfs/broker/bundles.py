"""From the bytes of a bundle, of whichever format, to the backup in it, and back."""

from collections.abc import Iterable

from keyfs.core import bundles, gob
from keyfs.core.bundles import Bundle
from keyfs.core.purposes import Purpose
from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, LayoutUnsupported, UnsealFailed
from keyfs.layout import v1_bundles
from keyfs.seal.bundles import Format, Lock, open_bundle, recognise, seal_bundle


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
        LayoutUnsupported: a later keyfs wrote it; or it is Acra's of layout v2.
    """
    form = recognise(data)
    if form is Format.ACRA_V2:
        raise LayoutUnsupported("it is a bundle of Acra's layout v2, which this keyfs does not read yet")
    with open_bundle(data, lock) as payload:
        if form is Format.KEYFS:
            return form, bundles.decode(payload, declared)
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
            return _sealed(payload, lock, form), {}
    records, left_out = v1_bundles.to_records(bundle)
    if not records:
        raise InvalidSettings("none of these keys can be in a bundle of Acra's: leave out --format acra")
    with Secret(gob.encode(records)) as payload:
        return _sealed(payload, lock, form), left_out


def _sealed(payload: Secret, lock: Lock, form: Format) -> bytes:
    sealed = seal_bundle(payload, lock, form)
    with open_bundle(sealed, lock) as proof:
        if proof != payload:
            raise UnsealFailed("the new bundle does not open to what was sealed: it was not written")
    return sealed
