"""New master keys, in the form that ACRA_MASTER_KEY takes."""

import secrets

from keyfs.core.secret import Secret
from keyfs.errors import LayoutUnsupported
from keyfs.master.base import MasterKey
from keyfs.master.encoding import KEY_MIN, encode_v1, encode_v2


def generate(layout: str) -> str:
    """A new master key for a key store of *layout* ("v1" or "v2"), as one line of base64 without its end.

    Each key is 32 bytes of the system's randomness, as Acra's own tools make it.

    Raises:
        LayoutUnsupported: any other layout.
    """
    if layout == "v1":
        return encode_v1(_fresh()).decode("ascii")
    if layout == "v2":
        return encode_v2(MasterKey(_fresh(), _fresh())).decode("ascii")
    raise LayoutUnsupported(f"key store layout {layout!r} is unknown; this keyfs handles v1 and v2")


def _fresh() -> Secret:
    return Secret(secrets.token_bytes(KEY_MIN))
