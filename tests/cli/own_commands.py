"""A key store with own purposes, at the command line: running commands on it, and looking into it."""

import json
from collections.abc import Mapping
from pathlib import Path

from command_line import Ran, keyfs

from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.layout.base import Part
from keyfs.testing.live import LiveStore

WWW = "tls/www.example.org"
NOTHING: Mapping[str, str] = {}
OK, FINDINGS, SETTINGS, NAME, ABSENT, EXISTS, MATERIAL, UNSEALED, REFUSED = 0, 1, 2, 3, 4, 5, 6, 9, 12


def run(store: LiveStore, *arguments: str, stdin: bytes = b"", more: Mapping[str, str] = NOTHING) -> Ran:
    return keyfs(*arguments, environment={**store.environment, **more}, stdin=stdin)


def done(store: LiveStore, *arguments: str, stdin: bytes = b"", more: Mapping[str, str] = NOTHING) -> bytes:
    ran = run(store, *arguments, stdin=stdin, more=more)
    assert ran.code == OK, ran.err
    return ran.out


def rows(store: LiveStore, *arguments: str) -> list[tuple[str, str | None, str, int]]:
    listed = json.loads(done(store, "list", "--json", *arguments))
    return [(row["purpose"], row["client"], row["version"], row["size"]) for row in listed]


def annex(store: LiveStore) -> Path:
    return store.root.with_name("keys.keyfs") / "own"


def undeclared(store: LiveStore) -> dict[str, str]:
    """The environment of someone who knows nothing of own purposes."""
    return {name: value for name, value in store.environment.items() if name != "KEYFS_CONFIG"}


def part_of(store: LiveStore, label: str, version: str = CURRENT) -> tuple[KeyRef, Part, Path]:
    with store.opened() as (keys, _):
        [ref] = [ref for ref in keys.index.refs() if str(ref) == label]
        part = keys.ring(ref).version(version).part(Half.SECRET)
    return ref, part, annex(store) / part.name.partition("//")[2]
