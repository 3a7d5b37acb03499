"""Which sealer does the work here: the one place that knows the engines."""

from typing import NamedTuple

import cryptography

from keyfs.core.secret import Secret
from keyfs.seal import pure, themis
from keyfs.seal.base import Sealer


class Engine(NamedTuple):
    """One way to compute Secure Cell Seal, as `keyfs doctor` shows it."""

    name: str
    usable: bool
    remark: str


def open_sealer(key: Secret) -> Sealer:
    """A sealer under *key*, symmetric-key mode: libthemis where it loads, else the pure engine.

    Both read and write the same blobs. Prints nothing and warns of nothing where libthemis is missing.

    Args:
        key: 1 byte or more. The sealer keeps a copy, so *key* may be wiped.

    Raises:
        InvalidMaterial: *key* is empty.
    """
    try:
        return themis.ThemisSealer(key)
    except themis.ThemisUnavailable:
        return pure.PureSealer(key)


def open_passphrase_sealer(passphrase: Secret) -> Sealer:
    """As `open_sealer`, in passphrase mode: each call costs a PBKDF2 run.

    Raises:
        InvalidMaterial: *passphrase* is empty.
    """
    try:
        return themis.ThemisPassphraseSealer(passphrase.reveal())
    except themis.ThemisUnavailable:
        return pure.PurePassphraseSealer(passphrase.reveal())


def available_engines() -> list[Engine]:
    """Every engine, the preferred one first, with whether it works here and a one-line remark."""
    try:
        themis.load_themis()
    except themis.ThemisUnavailable as exc:
        first = Engine(themis.ENGINE, usable=False, remark=str(exc))
    else:
        first = Engine(themis.ENGINE, usable=True, remark="libthemis through pythemis")
    return [first, Engine(pure.ENGINE, usable=True, remark=f"cryptography {cryptography.__version__}")]
