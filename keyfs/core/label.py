"""What ties a sealed blob to its place in the key store."""

from typing import NamedTuple


class Label(NamedTuple):
    """Where a blob belongs, as each way of sealing wants to know it. A layout makes it."""

    context: bytes  # associated data of Secure Cell
    key_name: (
        str  # Acra's name for the owner's own key in a KMS, such as `acra_alice`; empty where it has none
    )
