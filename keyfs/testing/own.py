"""Purposes that an operator declared, for tests, and key stores that have them."""

import tomllib
from typing import Final

import msgspec

from keyfs.config import FileSettings
from keyfs.core.names import KeyRef
from keyfs.core.purposes import Purpose
from keyfs.layout.joined import JoinedLayout
from keyfs.layout.own import OwnLayout
from keyfs.layout.v1 import LayoutV1
from keyfs.store.base import Store
from keyfs.store.joined import JoinedStore
from keyfs.testing.builders import Keys, on_store

DECLARED: Final = """
[purpose.tls]
kind = "pem"
generate = "ec-p256"

[purpose.cert]
kind = "pem"

[purpose.db]
kind = "password"
generate = 20
history = 2

[purpose.token]
kind = "opaque"
generate = 100
history = 0

[purpose.aes]
kind = "symmetric"
size = 48

[purpose.site]
kind = "opaque"
global = true
"""
"""One of each kind; a table of a configuration file."""


def declared(text: str = DECLARED) -> tuple[Purpose, ...]:
    """The purposes that a configuration file with this text declares."""
    return msgspec.convert(tomllib.loads(text), FileSettings).own_purposes()


PURPOSES: Final = {purpose.name: purpose for purpose in declared()}


def own_ref(name: str, client: str | None = "www.example.org") -> KeyRef:
    """The key of one of the purposes in `DECLARED`."""
    return KeyRef(PURPOSES[name], client)


def with_own(store: JoinedStore | Store, *, undeclared: bool = False) -> Keys:
    """The key store on a joined store, listed; all of `DECLARED` is known, or whatever is there."""
    purposes = () if undeclared else tuple(PURPOSES.values())
    return on_store(store, layout=JoinedLayout(LayoutV1(), OwnLayout(purposes, undeclared=undeclared)))
