"""What an open file shows of the key material behind it: the bytes themselves, or a format view of them."""

from collections.abc import Callable, Mapping
from functools import cache

from keyfs.core.names import Half
from keyfs.core.secret import Secret
from keyfs.core.tree import Node
from keyfs.core.views import View, as_base64, as_hex

Form = Callable[[Secret], bytes]


@cache
def forms() -> Mapping[tuple[View, Half], Form]:
    """How each view is made. The first call imports what handles certificates: most mounts never need it."""
    from keyfs.seal.exchange import fingerprint, pem_fingerprint, private_pem, public_pem  # noqa: PLC0415 - as above

    return {
        **{(View.B64, half): lambda material: as_base64(material.view()) for half in Half},
        **{(View.HEX, half): lambda material: as_hex(material.view()) for half in Half},
        (View.PEM, Half.SECRET): private_pem,
        (View.PEM, Half.PUBLIC): public_pem,
        (View.FP, Half.PUBLIC): lambda public: fingerprint(public).encode() + b"\n",
        (View.FP, Half.SECRET): lambda pem: pem_fingerprint(pem).encode() + b"\n",
    }


def shown(node: Node, material: Secret) -> Secret:
    """The bytes of *node*, made from the half that it shows. *material* is taken over.

    Raises:
        MaterialCorrupt: it is no key of its kind.
        KeyNotFound: a fingerprint of what has no public half that can be seen.
    """
    if node.view is None:
        return material
    with material:
        return Secret(forms()[node.view, node.half](material))
